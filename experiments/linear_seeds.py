"""The tables of seeds in docs/linear.md, from runs that are finished.

python benchmarks/small_systems.py linear --folder RUNS
python experiments/linear_seeds.py RUNS/linear-quick-seed*

First, for each run of `ontogeny run linear`, from when to when it is near each rank, the milestone
in there, and how many are elsewhere. Then the estimates on the truncated teacher, at the
checkpoint nearest to each rank, beside block Gibbs sampling from the same checkpoint at the same nβ
and γ: the two should be within 3 standard errors and 1 %, and both near λ.
"""

import json
import sys
from pathlib import Path

import numpy as np

from ontogeny.analysis import read_run
from ontogeny.analysis.arrivals import AT_POINTS, find_visits, nearest_row
from ontogeny.analysis.milestones import holds
from ontogeny.problems.gibbs import gibbs_excess
from ontogeny.problems.linear import truncated_teachers
from ontogeny.runs import open_run
from ontogeny.storage import read_json

SWEEPS = 16, 1100
BAR, SHARE, OFF = 3.0, 0.01, 0.1


def plateaus(report):
    """When a run is near each point, and the milestone there; how many are elsewhere; in order?"""
    visits = find_visits(report.curves["distance_to"], report.critical_points)
    milestones = [one.step for one in report.milestones if holds(one)]
    names = [point.name for point in report.critical_points]
    cells, matched = dict.fromkeys(names, "—"), 0
    for visit in visits:
        inside = [f"{step:,}" for step in milestones if visit.first <= step <= visit.last]
        matched += bool(inside)
        there = f"{visit.first:,} – {visit.last:,}"
        cells[visit.point.name] = ": ".join([there, *inside])
    in_order = [visit.point.name for visit in visits] == names
    return [*cells.values(), len(milestones) - matched, "yes" if in_order else "no"]


def estimates(folder, report, nbeta, localization):
    """Estimate, its error, Gibbs, its error and λ, at the checkpoint nearest to each rank."""
    run = open_run(folder)
    distance, llc = report.curves["distance_to"], report.curves[AT_POINTS]
    settings = run.problem.settings
    teachers = truncated_teachers(settings["widths"], settings["singular_values"])
    for rank, point in enumerate(report.critical_points):
        column = llc.items.index(point.name)
        away = distance.values[:, distance.items.index(point.name)]
        measured = np.flatnonzero(np.isfinite(llc.values[:, column]))
        row = min(measured, key=lambda one: away[nearest_row(distance, llc.steps[one])])
        state = run.checkpoints[int(llc.steps[row])]
        gibbs = gibbs_excess(state, teachers[rank], nbeta, localization, SWEEPS)
        found = float(llc.values[row, column]), float(llc.stderr[row, column])
        yield *found, gibbs.value, gibbs.stderr, point.learning_coefficient


def resolution(folder):
    """The nβ and the γ of a run's refined estimates, which must have been made with the same."""
    paths = folder.glob("measured/sample_chains-*/settings.json")
    given = [read_json(path)["settings"] for path in paths]
    ((nbeta, localization),) = {(one["nbeta"], one["localization"]) for one in given}
    return nbeta, localization


def main(folders):
    """Print both tables, and how near the bars the farthest of all estimates are."""
    runs = []
    for folder in folders:
        seed = json.loads((folder / "run.json").read_text())["training"]["seed"]
        runs.append((seed, folder, read_run(folder)))
    names = [point.name for point in runs[0][2].critical_points]
    print(f"| seed | {' | '.join(names)} | spurious | in order |")
    print("| --- |" + " --- |" * (len(names) + 2))
    for seed, _, report in runs:
        print(f"| {seed} | {' | '.join(map(str, plateaus(report)))} |")
    exact = [f"{one.name}, λ = {one.learning_coefficient:g}" for one in runs[0][2].critical_points]
    print(f"\n| seed | {' | '.join(exact)} |")
    print("| --- |" + " --- |" * len(names))
    table = []
    for seed, folder, report in runs:
        table.append(list(estimates(folder, report, *resolution(folder))))
        cells = [f"{value:.2f} ± {error:.2f}; {gibbs:.2f}" for value, error, gibbs, *_ in table[-1]]
        print(f"| {seed} | {' | '.join(cells)} |", flush=True)
    value, error, gibbs, gibbs_error, known = np.moveaxis(np.array(table), 2, 0)
    means = [f"{a:.2f}; {b:.2f}" for a, b in zip(value.mean(0), gibbs.mean(0), strict=True)]
    print(f"| mean | {' | '.join(means)} |")
    both = np.hypot(error, gibbs_error)
    bar = BAR * both + SHARE * gibbs
    print(f"\nof the bar to Gibbs at most {np.max(abs(value - gibbs) / bar):.2f}")
    print(f"off λ at most {100 * np.max(abs(value / known - 1)):.1f} %, the bar is {100 * OFF:g} %")
    print(
        f"z to Gibbs: mean {np.mean((value - gibbs) / both):.2f}, {value.size} estimates, ", end=""
    )
    print(f"spread {np.std((value - gibbs) / both):.2f}; Gibbs' error {gibbs_error.max():.3f}")


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
