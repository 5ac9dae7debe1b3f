"""How often noise alone makes a milestone: curves without any, seen through noise."""

import numpy as np

from ontogeny.analysis import find_milestones
from ontogeny.records import Curve

CURVES, STEPS = 60, np.unique(np.geomspace(1, 500_000, 120).astype(int))
X = np.log1p(STEPS)
TRUTHS = {
    "constant, noise 1": (0 * X, 1.0),
    "line of slope 3, noise 1": (3 * X, 1.0),
    "line of slope 3, noise 3": (3 * X, 3.0),
    "one rise of 50, noise 1": (50 / (1 + np.exp(7 - X)), 1.0),
}

print(f"{'curve':28}  false alarms of {CURVES}")
for name, (truth, size) in TRUTHS.items():
    alarms = 0
    for seed in range(CURVES):
        values = truth + size * np.random.default_rng(seed).normal(size=len(X))
        unknown = np.full((len(X), 1), np.nan)
        alarms += bool(find_milestones(Curve("", "", STEPS, values[:, None], unknown), draws=100))
    print(f"{name:28}  {alarms}")
