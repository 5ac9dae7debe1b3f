"""Ten runs of a small system: is every critical point it passes found by the stage rule, in order?

python benchmarks/small_systems.py [superposition|linear] [--preset quick] [--seeds 10] [--folder F]
python benchmarks/small_systems.py superposition --seeds 1 --starts  # from near each critical point
python benchmarks/small_systems.py superposition --seeds 5 --via 2++++ 3+++  # past these saddles

A run *rests* at a known critical point where that is the nearest for at least a fifth of a unit of
log-step and was closer than a tenth of a unit of weights. Each rest between the first and the last
should have one milestone inside it. Any other milestone is spurious.
"""

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from ontogeny.analysis import read_run
from ontogeny.analysis.milestones import holds
from ontogeny.plans import measure_as_planned, train_as_planned
from ontogeny.presets import SYSTEMS
from ontogeny.problems.superposition import superposition
from ontogeny.problems.superposition_landscape import critical_points

NEAR, LONG = 0.1, 0.2
JITTER = 1e-6  # with which runs past a saddle begin, large enough to set them apart


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
    """The rests, the milestones in each inner one, and how many milestones are spurious."""
    visited = rests(report)
    steps = [one.step for one in report.milestones if holds(one)]
    within = [[s for s in steps if first <= s <= last] for _, first, last, _ in visited[1:-1]]
    matched = sum(bool(one) for one in within)
    return visited, within, len(steps) - matched


def plans(system, preset, seeds, starts, saddles):
    """The name and the plan of each run."""
    for saddle in saddles:
        for seed in range(seeds):
            plan = SYSTEMS[system](preset, seed)
            own = {**plan.problem.settings, "start": saddle, "jitter": JITTER}
            name = f"{system}-{preset}-via-{saddle}-seed{seed}"
            yield name, replace(plan, problem=superposition(**own))
    for start in starts:
        for seed in range(seeds):
            where = {"start": start} if start else {}
            name = f"{system}-{preset}{f'-from-{start}' if start else ''}-seed{seed}"
            yield name, SYSTEMS[system](preset, seed, **where)


def measure(name, plan, root):
    """Run a plan, and print what became of it."""
    wall = time.perf_counter()
    train_as_planned(plan, root / name)
    measure_as_planned(root / name)
    report = read_run(root / name)
    wall = time.perf_counter() - wall
    visited, inner, spurious = judge(report)
    exact = {point.name: point.loss for point in report.critical_points}
    path = " → ".join(name for name, *_ in visited)
    off = max((abs(loss / exact[name] - 1) for name, *_, loss in visited if exact[name]), default=0)
    found = sum(bool(one) for one in inner)
    print(
        f"{name}: {path}; {found} of {len(inner)} inner rests found at "
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
    parser.add_argument("--starts", nargs="*", help="critical points to begin near; all if none")
    parser.add_argument("--via", nargs="+", default=[], help="saddles to pass on the way")
    given = parser.parse_args()
    starts = [] if given.via else [""]
    if given.starts is not None:
        starts = given.starts or [point.name for point in critical_points()]
    count = 0
    for system in [given.system] if given.system else ["superposition", "linear"]:
        for name, plan in plans(system, given.preset, given.seeds, starts, given.via):
            measure(name, plan, given.folder)
            count += 1
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used) / count
    print(f"{cpu:.0f} s of CPU for each run")
