"""How often noise alone makes a milestone: curves without any, seen through noise."""

import numpy as np

from ontogeny.analysis import find_milestones
from ontogeny.analysis.milestones import holds
from ontogeny.records import Curve

CURVES, STEPS = 60, np.unique(np.geomspace(1, 500_000, 120).astype(int))
X = np.log1p(STEPS)
TRUTHS = {
    "constant, noise 1": (0 * X, 1.0),
    "line of slope 3, noise 1": (3 * X, 1.0),
    "line of slope 3, noise 3": (3 * X, 3.0),
    "one rise of 50, noise 1": (50 / (1 + np.exp(7 - X)), 1.0),
    "a jump of 60, noise 1": (np.interp(X, [0, 6, 6.5, X[-1]], [0, 0, 60, 60]), 1.0),
    "a jump, then a line, noise 1": (np.interp(X, [0, 6, 6.5, X[-1]], [0, 0, 60, 80]), 1.0),
}


def noise(rng, correlation):
    """Noise of variance 1 that each point shares with the one before."""
    found = rng.normal(size=len(X))
    for i in range(1, len(X)):
        found[i] = correlation * found[i - 1] + np.sqrt(1 - correlation**2) * found[i]
    return found


print(f"{'curve':28} {'standard errors':22} false alarms of {CURVES}")
for name, (truth, size) in TRUTHS.items():
    for known, correlation in (("unknown", 0.0), ("known", 0.0), ("known", 0.95)):
        alarms = 0
        for seed in range(CURVES):
            values = truth + size * noise(np.random.default_rng(seed), correlation)
            stderr = np.full((len(X), 1), size if known == "known" else np.nan)
            found = find_milestones(Curve("", "", STEPS, values[:, None], stderr))
            alarms += any(holds(one) for one in found)
        print(f"{name:28} {known:8} {correlation:<13} {alarms}", flush=True)
