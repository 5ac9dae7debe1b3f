"""Stages of the paper's own regression run, from the curve that its authors measured.

python experiments/published_curve.py lr_seed1_llc.csv

The file has one row for each checkpoint: `step`, `init_loss`, and `chain0_loss_mean` to
`chain9_loss_mean`, the mean loss of each of the sampler's chains at nβ = 66.6667.
"""

import csv
import sys

import numpy as np

from ontogeny.analysis import find_milestones, find_stages
from ontogeny.records import Curve

NBETA = 66.6667

with open(sys.argv[1]) as file:
    rows = list(csv.DictReader(file))
names = [name for name in rows[0] if name.startswith("chain")]
losses = np.array([[float(row[name]) for name in names] for row in rows])
initial = np.array([float(row["init_loss"]) for row in rows])
chains = NBETA * (losses - initial[:, None])
llc = Curve(
    name="llc",
    unit="",
    steps=np.array([int(row["step"]) for row in rows]),
    values=chains.mean(axis=1, keepdims=True),
    stderr=chains.std(axis=1, ddof=1, keepdims=True) / len(names) ** 0.5,
    chains=chains,
)
milestones = find_milestones(llc)
for milestone in milestones:
    print(milestone)
for stage in find_stages(llc, None, milestones, prefix="LR"):
    change = f"{stage.delta_llc:+.1f} ± {stage.delta_llc_stderr:.1f}"
    print(f"{stage.name} ({stage.type}) {stage.start:>7,} to {stage.end:>7,}: {change}")
