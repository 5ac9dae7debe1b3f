"""Stages of the paper's own runs, from the curves that its authors measured.

python experiments/published_curve.py lr_seed1_llc.csv lm_L2_metrics.csv [PICTURE.html]

Each file has one row for each checkpoint. That of the regression run has `step`, `llc_mean`,
`init_loss`, and `chain0_loss_mean` to `chain9_loss_mean`, the mean loss of each of the sampler's
chains at nβ = 66.6667; that of the language model has `step` and `llc_published`. A milestone of
the paper counts as found if its step is inside an interval whose ends differ by less than a
factor 2.5, or if the middle of the interval is within 15 % of it.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from ontogeny.analysis import Report, find_milestones, find_stages, smooth_curve
from ontogeny.analysis.milestones import holds
from ontogeny.records import Curve
from ontogeny.views import plot_stages

NBETA = 66.6667
REGRESSION = (1_000, 40_000, 126_000, 320_000)
LANGUAGE = (900, 6_500, 8_500, 17_000)


def column(rows, name):
    """One column of a table, nan where a cell is empty."""
    return np.array([float(row[name] or "nan") for row in rows])


def read(path):
    """The rows of a table."""
    with open(path) as file:
        return list(csv.DictReader(file))


def with_chains(rows):
    """The regression run's curve with the estimate of each chain."""
    names = [name for name in rows[0] if name.startswith("chain")]
    losses = np.stack([column(rows, name) for name in names], axis=1)
    chains = NBETA * (losses - column(rows, "init_loss")[:, None])
    stderr = chains.std(axis=1, ddof=1) / len(names) ** 0.5
    return curve_of(rows, chains.mean(axis=1), stderr, chains)


def curve_of(rows, values, stderr=None, chains=None):
    """A curve over the steps of a table."""
    stderr = np.full(len(values), np.nan) if stderr is None else stderr
    steps = column(rows, "step").astype(int)
    return Curve("llc", "", steps, values[:, None], stderr[:, None], chains=chains)


def agrees(milestone, step):
    """Whether a published milestone is found."""
    inside = milestone.low <= step <= milestone.high < 2.5 * milestone.low
    return inside or abs(np.log(milestone.low * milestone.high) / 2 - np.log(step)) < 0.15


def show(name, curve, published, prefix):
    """Print what is found beside what was published."""
    smooth = smooth_curve(curve)
    milestones = find_milestones(smooth)
    stages = find_stages(curve, None, milestones, prefix, smooth)
    print(f"\n{name}")
    for one in milestones:
        paper = [step for step in published if agrees(one, step)]
        print(
            f"{one.kind:8} {one.step:>8,}  {one.low:>8,} to {one.high:>8,}  "
            f"probability {one.probability:.2f}  paper: {paper[0] if paper else '-'}"
        )
    for stage in stages:
        change = f"{stage.delta_llc:+.1f} ± {stage.delta_llc_stderr:.1f}"
        print(f"{stage.name} ({stage.type}) {stage.start:>7,} to {stage.end:>7,}: {change}")
    missed = [step for step in published if not any(agrees(one, step) for one in milestones)]
    extra = sum(holds(one) and not any(agrees(one, s) for s in published) for one in milestones)
    print(f"not found: {missed or 'none'}; more: {extra}")
    grid = np.unique(np.round(smooth.steps).astype(int), return_index=True)
    mean, error = smooth.mean[grid[1], None], smooth.stderr[grid[1], None]
    return Report(
        name,
        curves={"llc": curve},
        smooth_llc=Curve("llc", "", grid[0], mean, error),
        milestones=milestones,
        stages=stages,
    )


if __name__ == "__main__":
    regression, language = read(sys.argv[1]), read(sys.argv[2])
    stderr = with_chains(regression).stderr[:, 0]
    llc = column(regression, "llc_mean")
    pictures = [
        show("regression, values alone", curve_of(regression, llc), REGRESSION, "LR"),
        show("regression, standard errors", curve_of(regression, llc, stderr), REGRESSION, "LR"),
        show("regression, ten chains", with_chains(regression), REGRESSION, "LR"),
        show(
            "language model, values alone",
            curve_of(language, column(language, "llc_published")),
            LANGUAGE,
            "LM",
        ),
    ]
    if len(sys.argv) > 3:
        parts = [
            plot_stages(report).to_html(full_html=False, include_plotlyjs=k == 0)
            for k, report in enumerate(pictures)
        ]
        Path(sys.argv[3]).write_text("\n".join(parts))
