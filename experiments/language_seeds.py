"""The table of seeds in docs/language.md, from runs that are finished.

python experiments/language_seeds.py RUN [RUN ...]

For each run of `ontogeny run language`: the stages that the rule found, the step at which each
score has made half of its way, and where the run ends. A score's way is from its value at the end of
the bigram stage to its last; for the bigram score it is from the first value to the lowest.
"""

import json
import sys
from pathlib import Path

import numpy as np

from ontogeny.analysis.reading import read_curves

FORMED = {
    "previous": ("previous_token_score", max),
    "prefix": ("prefix_matching_score", max),
    "gain": ("induction_gain", max),
    "icl": ("icl_score", min),
}


def half_way(steps, values, start):
    """The first step from which a score stays beyond half of its way, from a step on."""
    first = int(np.searchsorted(steps, start))
    begin, end = values[first], np.median(values[-9:])
    beyond = (values - (begin + end) / 2) * np.sign(end - begin) >= 0
    return int(steps[np.flatnonzero(~beyond)[-1] + 1])


def read(folder):
    """Stages, half-way steps and last values of a run."""
    found = json.loads((folder / "stages.json").read_text())["stages"]
    curves = read_curves(folder / "measured")
    bigram = curves["bigram_score"]
    lowest = int(np.argmin(bigram.values[:, 0]))
    middle = (bigram.values[0, 0] + bigram.values[lowest, 0]) / 2
    half = {"bigram": int(bigram.steps[np.flatnonzero(bigram.values[:, 0] <= middle)[0]])}
    last = {"bigram": float(bigram.values[lowest, 0])}
    for name, (key, best) in FORMED.items():
        curve = curves[key]
        item = int(
            best(range(len(curve.items)), key=lambda k, c=curve: np.median(c.values[-9:, k]))
        )
        half[name] = half_way(curve.steps, curve.values[:, item], bigram.steps[lowest])
        last[name] = float(np.median(curve.values[-9:, item]))
    return found, half, last


def in_order(stages, half):
    """Whether bigrams, previous-token heads and induction each have a stage, in this order."""
    places = [
        next(i for i, stage in enumerate(stages) if half[name] <= stage["end"])
        for name in ("bigram", "previous", "gain")
    ]
    return places[0] < places[1] < places[2] and half["icl"] > stages[places[0]]["end"]


def main(folders):
    """Print the table."""
    print(
        "| seed | stages: end and type | half of the way: bigram, previous, prefix, gain, ICL | last: previous, gain, ICL | in order |"
    )
    print("| ---: | --- | --- | --- | --- |")
    for folder in folders:
        stages, half, last = read(folder)
        ends = ", ".join(f"{one['name']} {one['type']} {one['end']:,}" for one in stages)
        way = ", ".join(f"{half[name]:,}" for name in ("bigram", *FORMED))
        end = ", ".join(f"{last[name]:.2f}" for name in ("previous", "gain", "icl"))
        verdict = "yes" if in_order(stages, half) else "no"
        seed = json.loads((folder / "run.json").read_text())["training"]["seed"]
        print(f"| {seed} | {ends} | {way} | {end} | {verdict} |".replace("-", "−"))


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
