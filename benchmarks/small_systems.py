"""Ten runs of a small system: is every critical point it passes found by the stage rule, in order?

python benchmarks/small_systems.py [superposition|linear] [--preset quick] [--seeds 10] [--folder F]

A run *rests* at a known critical point where that is the nearest for at least a fifth of a unit of
log-step and was closer than a fifth of a unit of weights. Each rest between the first and the last
should have one milestone inside it; a milestone in no rest, or a second in the same, is spurious.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from ontogeny.analysis import read_run
from ontogeny.analysis.milestones import holds
from ontogeny.plans import measure_as_planned, train_as_planned
from ontogeny.presets import SYSTEMS

NEAR, LONG = 0.2, 0.2


def rests(report):
    """Name, first step, last step, and the loss where it was nearest, for each rest in order."""
    distance, loss = report.curves["distance_to"], report.curves["loss"].values[:, 0]
    nearest = distance.values.argmin(axis=1)
    edges = np.flatnonzero(np.diff(nearest)) + 1
    found = []
    for rows in np.split(np.arange(len(nearest)), edges):
        away = distance.values[rows, nearest[rows[0]]]
        rows_near = rows[away < NEAR]
        if not len(rows_near):
            continue
        name, best = distance.items[nearest[rows[0]]], rows[away.argmin()]
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], distance.steps[rows_near[-1]], loss[best])
        else:
            steps = distance.steps[rows_near]
            found.append((name, steps[0], steps[-1], loss[best]))
    return [
        one
        for i, one in enumerate(found)
        if np.log1p(one[2]) - np.log1p(one[1]) > LONG or i == len(found) - 1
    ]


def judge(report):
    """The rests, the milestones in each inner one, and how many milestones are in none."""
    visited = rests(report)
    steps = [one.step for one in report.milestones if holds(one)]
    inner = [[s for s in steps if first <= s <= last] for _, first, last, _ in visited[1:-1]]
    matched = sum(bool(one) for one in inner)
    return visited, inner, len(steps) - matched


def measure(system, preset, seeds, root):
    """Run some seeds of a system, and print what became of each."""
    for seed in range(seeds):
        folder = root / f"{system}-{preset}-seed{seed}"
        wall = time.perf_counter()
        train_as_planned(SYSTEMS[system](preset, seed), folder)
        measure_as_planned(folder)
        report = read_run(folder)
        wall = time.perf_counter() - wall
        visited, inner, spurious = judge(report)
        exact = {point.name: point.loss for point in report.critical_points}
        path = " → ".join(name for name, *_ in visited)
        off = max(abs(loss / exact[name] - 1) for name, *_, loss in visited if exact[name])
        found = sum(bool(one) for one in inner)
        print(
            f"{system}, seed {seed}: {path}; {found} of {len(inner)} inner rests found at "
            f"{[one[0] for one in inner if one]}, {spurious} spurious; loss at most "
            f"{100 * off:.2g} % off; {wall:.0f} s",
            flush=True,
        )
        for stage in report.stages:
            one = stage.arrival
            llc = f"LLC {one.llc:.2f} ± {one.llc_stderr:.2f}" if one.llc_step >= 0 else "no LLC"
            print(
                f"    {stage.name} {stage.start}-{stage.end}: {one.point.name} "
                f"({one.distance:.2g} away), {llc}, exact {one.point.learning_coefficient}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("system", nargs="?", choices=["superposition", "linear"])
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    given = parser.parse_args()
    systems = [given.system] if given.system else ["superposition", "linear"]
    for system in systems:
        measure(system, given.preset, given.seeds, given.folder)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used) / given.seeds / len(systems)
    print(f"{cpu:.0f} s of CPU for each run")
