"""The table of seeds in docs/language.md, from runs that are finished.

python experiments/language_seeds.py RUN [RUN ...]

For each run of `ontogeny run language`: the stages that the rule found, the step at which each
score has made half of its way, and where it ends. A score's way is from its value where the bigram
score is lowest to its last; for the bigram score it is from the first value to the lowest. Of the
heads' scores that of the best head at each step counts, and the last value is the median of nine.
How far the ICL score changes over each stage is measured once more, on 8,192 rows, the same at both
ends. In order means that the bigrams, the previous-token head and the induction head make half of
their way in three stages, one after another, and that the ICL score falls in the last of these by
more than three standard errors.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from ontogeny.analysis.reading import read_curves
from ontogeny.metrics import average
from ontogeny.problems import trained
from ontogeny.problems.language_data import Language, source_of
from ontogeny.problems.language_metrics import icl_places, losses_of
from ontogeny.runs import open_run
from ontogeny.streams import random_stream

FORMED = {
    "previous": "previous_token_score",
    "prefix": "prefix_matching_score",
    "gain": "induction_gain",
}
LAST, ROWS = 9, 8192


def half_way(steps, values, start):
    """The step from which a score stays beyond half of its way, and its last value."""
    begin, end = values[np.searchsorted(steps, start)], np.median(values[-LAST:])
    short = (values - (begin + end) / 2) * np.sign(end - begin) < 0
    return int(steps[np.flatnonzero(short)[-1] + 1]), float(end)


def read(folder):
    """Stages, half-way steps and last values of a run."""
    stages = json.loads((folder / "stages.json").read_text())["stages"]
    curves = read_curves(folder / "measured")
    bigram = curves["bigram_score"]
    steps, score = bigram.steps, bigram.values[:, 0]
    lowest = int(np.argmin(score))
    middle = (score[0] + score[lowest]) / 2
    half, last = {"bigram": int(steps[np.flatnonzero(score <= middle)[0]])}, {}
    for name, key in FORMED.items():
        half[name], last[name] = half_way(steps, curves[key].values.max(axis=1), steps[lowest])
    return stages, half, last


@torch.no_grad()
def icl_changes(folder, stages):
    """How far the ICL score changes over each stage, and the standard errors."""
    run = open_run(folder)
    setting = Language(**run.problem.settings)
    tokens = source_of(setting).held_out(ROWS, random_stream(1, "language seeds"))
    early, late = icl_places(setting.n_ctx)
    scores = []
    for step in (0, *(one["end"] for one in stages)):
        nearest = min(run.checkpoints, key=lambda kept: abs(kept - step))
        losses = losses_of(trained(run.problem, run.checkpoints[nearest]), tokens)
        scores.append(losses[:, late] - losses[:, early])
    changes = [average(after - before) for before, after in pairwise(scores)]
    return [(float(change.values), float(change.stderr)) for change in changes]


def stages_of(stages, half):
    """In which stage each score makes half of its way."""
    return [
        next(i for i, stage in enumerate(stages) if half[name] <= stage["end"])
        for name in ("bigram", "previous", "gain")
    ]


def main(folders):
    """Print the table."""
    half_names = last_names = "previous, prefix, gain"
    print(
        f"| seed | stages: type and end | half: bigram, {half_names} | last: {last_names} "
        "| ICL score, change over each stage | in order |"
    )
    print("| ---: | --- | --- | --- | --- | --- |")
    for folder in folders:
        stages, half, last = read(folder)
        bigram, previous, gain = stages_of(stages, half)
        icl = icl_changes(folder, stages)
        cells = (
            json.loads((folder / "run.json").read_text())["training"]["seed"],
            ", ".join(f"{one['type']} {one['end']:,}" for one in stages),
            ", ".join(f"{step:,}" for step in half.values()),
            ", ".join(f"{value:.2f}" for value in last.values()),
            ", ".join(f"{change:+.2f} ± {stderr:.2f}" for change, stderr in icl),
            "yes" if bigram < previous < gain and icl[gain][0] < -3 * icl[gain][1] else "no",
        )
        print(f"| {' | '.join(map(str, cells))} |".replace("-", "−"))


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
