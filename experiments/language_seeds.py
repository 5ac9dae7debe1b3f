"""The table of seeds in docs/language.md, from runs that are finished.

python experiments/language_seeds.py RUN [RUN ...]

For each run of `ontogeny run language`: the stages that the rule found, the step at which each
score has made half of its way, and where it ends. A score's way is from its value where the bigram
score is lowest to its last; for the bigram score it is from the first value to the lowest. Of the
heads' scores that of the best head at each step counts, and the last value is the median of nine.
"""

import json
import sys
from pathlib import Path

import numpy as np

from ontogeny.analysis.reading import read_curves

FORMED = {
    "previous": "previous_token_score",
    "prefix": "prefix_matching_score",
    "gain": "induction_gain",
    "icl": "icl_score",
}
LAST = 9


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


def in_order(stages, half):
    """Whether bigrams, previous-token head and induction each have a stage, one after another.

    The fall of the ICL score must be in the stage of induction.
    """
    bigram, previous, gain, icl = (
        next(i for i, stage in enumerate(stages) if half[name] <= stage["end"])
        for name in ("bigram", "previous", "gain", "icl")
    )
    return bigram < previous < gain == icl


def main(folders):
    """Print the table."""
    half_names, last_names = "bigram, previous, prefix, gain, ICL", "previous, prefix, gain, ICL"
    print(f"| seed | stages: type and end | half: {half_names} | last: {last_names} | in order |")
    print("| ---: | --- | --- | --- | --- |")
    for folder in folders:
        stages, half, last = read(folder)
        cells = (
            json.loads((folder / "run.json").read_text())["training"]["seed"],
            ", ".join(f"{one['type']} {one['end']:,}" for one in stages),
            ", ".join(f"{step:,}" for step in half.values()),
            ", ".join(f"{value:.2f}" for value in last.values()).replace("-", "−"),
            "yes" if in_order(stages, half) else "no",
        )
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
