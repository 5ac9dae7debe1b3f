"""How often the 90 % interval of a milestone holds the true one, and how often one is missed.

python benchmarks/coverage.py [CURVES] [lr_seed1_llc.csv]

The curves are no Gaussian processes: sums of logistic rises and falls with plateaus between them,
straight pieces with corners, bumps on a slow rise, monotone cubic pieces. A true milestone is a turning point, or the
place where the slope is smallest between two rises or two falls if it is less than a fifth of
the steepest slope on either side, that parts changes of more than four standard errors of a
value. One that is not found counts as not covered. With the authors' file, whole chains of their
own curve are picked with replacement: then a true milestone is what all ten chains show.
"""

import csv
import sys
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.interpolate import PchipInterpolator

from ontogeny.analysis import find_milestones, find_stages
from ontogeny.analysis.milestones import holds
from ontogeny.records import Curve

END = np.log1p(500_000)
FINE = np.linspace(0, END, 4001)
NBETA = 66.6667
FIRST_SEED = 5000  # others were looked at while the rule was made
NOISES = ("0", "0.5", "0.95", "unknown", "chains")


@dataclass
class Cell:
    """What happened to the true milestones of one kind of curve and noise."""

    covered: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    missed: int = 0
    extra: int = 0
    curves: int = 0

    def row(self, name):
        """A line of the table."""
        share = np.mean(self.covered)
        return (
            f"{name:22} {len(self.covered):5} {100 * share:6.1f} % {self.missed:6} "
            f"{np.exp(np.median(self.widths)):7.2f} {self.extra / self.curves:9.2f}"
        )


def apart(rng, count, least, low, high):
    """Places that are not too close to each other."""
    while True:
        places = np.sort(rng.uniform(low, high, count))
        if count == 1 or np.diff(places).min() > least:
            return places


def logistic(rng):
    """Rises and falls with plateaus between them."""
    count = rng.integers(2, 6)
    middles = apart(rng, count, 1.2, 2, END - 0.7)
    heights = rng.uniform(10, 60, count) * rng.choice([1, 1, -1], count)
    rates = rng.uniform(2.5, 7, count)
    return lambda x: (heights / (1 + np.exp(-rates * (x[:, None] - middles)))).sum(axis=1)


def slopes(rng):
    """Straight pieces, some flat or nearly so, with corners."""
    count = rng.integers(3, 7)
    corners = np.array([0, *apart(rng, count, 1, 1.5, END - 0.7), END])
    steepness = rng.choice([-1, 0, 0.05, 1, 1], count + 1) * rng.uniform(8, 40, count + 1)
    values = np.append(0, np.cumsum(steepness * np.diff(corners)))
    return lambda x: np.interp(x, corners, values)


def bumps(rng):
    """Bumps and dips on one slow rise."""
    count = rng.integers(1, 4)
    middles = apart(rng, count, 1.5, 3, END - 1)
    heights = rng.uniform(8, 40, count) * rng.choice([-1, 1], count)
    widths = rng.uniform(0.35, 0.9, count)
    rise, start = rng.uniform(20, 80), rng.uniform(5, 9)

    def curve(x):
        each = heights * np.exp(-(((x[:, None] - middles) / widths) ** 2) / 2)
        return rise / (1 + np.exp(start - x)) + each.sum(axis=1)

    return curve


def lopsided(rng):
    """Rises and falls by monotone cubic pieces, steeper on one side of an extremum."""
    inner = apart(rng, rng.integers(1, 5), 1.2, 1.5, END - 0.7)
    changes = rng.choice([-1, 1, 1], len(inner) + 1) * rng.uniform(15, 60, len(inner) + 1)
    return PchipInterpolator([0, *inner, END], np.cumsum([0, *changes]))


FAMILIES = {"logistic": logistic, "slopes": slopes, "bumps": bumps, "lopsided": lopsided}


def checkpoints(rng):
    """From 60 to 500 steps, evenly spaced in log-step or half of them in step."""
    count = int(rng.choice([60, 100, 200, 350, 500]))
    if rng.random() < 0.5:
        return np.unique(np.geomspace(1, 500_000, round(1.12 * count)).astype(int))
    both = [np.geomspace(1, 500_000, count // 2), np.linspace(0, 500_000, count // 2)]
    return np.unique(np.concatenate(both).astype(int))


def chain_noise(rng, points, correlation, count=1):
    """Noise of variance 1 that each point shares with the one before."""
    noise = rng.standard_normal((points, count))
    for i in range(1, points):
        noise[i] = correlation * noise[i - 1] + np.sqrt(1 - correlation**2) * noise[i]
    return noise


def observed(rng, truth, noise):
    """A curve seen through noise, and the standard error of its values."""
    steps = checkpoints(rng)
    x = np.log1p(steps)
    drift = 1.0 if rng.random() < 0.5 else 0.3 + 1.4 * x / END
    stderr = np.exp(rng.uniform(np.log(0.2), np.log(3))) * drift * np.ones(len(x))
    chains = None
    if noise == "chains":
        count = int(rng.choice([4, 8, 10]))
        common = np.sqrt(0.98) * chain_noise(rng, len(x), 0.97, count)
        errors = common + np.sqrt(0.02) * rng.standard_normal((len(x), count))
        chains = truth(x)[:, None] + np.sqrt(count) * stderr[:, None] * errors
        values = chains.mean(axis=1)
    else:
        correlation = 0.0 if noise == "unknown" else float(noise)
        values = truth(x) + stderr * chain_noise(rng, len(x), correlation)[:, 0]
    known = np.full(len(x), np.nan) if noise == "unknown" else stderr
    return Curve("", "", steps, values[:, None], known[:, None], chains=chains), np.median(stderr)


def true_milestones(values, least):
    """Between which places on the fine grid each true milestone is: it may be a whole flat."""
    slope = np.diff(values)
    level = 1e-6 * np.abs(slope).max()
    ends = turning_points(values, least)
    found = []
    for k, (start, end) in enumerate(pairwise(ends)):
        if k:
            found.append(flat_around(np.abs(slope) < level, start))
        found += pauses(values, slope, (start, end), least)
    return sorted((FINE[low], FINE[high]) for low, high in found)


def turning_points(values, least):
    """Ends and extrema between changes of more than a least one."""
    slope = np.diff(values)
    moving = np.flatnonzero(slope)
    turns = moving[1:][slope[moving[1:]] * slope[moving[:-1]] < 0]
    ends = [0, *turns.tolist(), len(values) - 1]
    while len(ends) > 2:
        change = np.abs(np.diff(values[ends]))
        weakest = int(change.argmin())
        if change[weakest] > least:
            break
        first = max(weakest, 1)
        del ends[first : min(weakest + 2, len(ends) - 1)]
    return ends


def flat_around(flat, place):
    """The whole flat that a place is on."""
    low = high = place
    while low > 0 and flat[low - 1]:
        low -= 1
    while high < len(flat) and flat[high]:
        high += 1
    return low, high


def pauses(values, slope, span, least):
    """Flat places on the way up or down, the flattest first."""
    start, end = span
    way = np.sign(values[end] - values[start]) * slope[start:end]
    before, after = np.maximum.accumulate(way), np.maximum.accumulate(way[::-1])[::-1]
    beside = np.minimum(before, after)
    places = start + np.arange(len(way))
    good = (way < 0.2 * beside) & (np.abs(values[places] - values[start]) > least)
    good &= np.abs(values[end] - values[places]) > least
    if not good.any():
        return []
    lowest = int(np.argmin(np.where(good, way, np.inf)))
    same = np.abs(way - way[lowest]) < 1e-6 * beside.max()
    low, high = flat_around(same, lowest)
    here = start + low, start + high
    return [
        *pauses(values, slope, (start, here[0]), least),
        here,
        *pauses(values, slope, (here[1], end), least),
    ]


def score(cell, truths, curve, weak=()):
    """Each true milestone is covered by the interval of the nearest one found, or is not.

    Weak ones may be missed.
    """
    found = [one for one in find_milestones(curve) if holds(one)]
    used = set()
    for low, high in truths:
        places = np.array([np.log1p(one.step) for one in found])
        away = np.abs(places - (low + high) / 2)
        nearest = int(away.argmin()) if len(found) else -1
        bounds = np.log1p([found[nearest].low, found[nearest].high]) if found else (9e9, -9e9)
        covered = bounds[0] <= high + 1e-9 and bounds[1] >= low - 1e-9
        missed = not covered and (not found or away[nearest] > 1.5 * max(np.ptp(bounds), 0.5))
        if missed and (low, high) in weak:
            continue
        if missed:
            cell.missed += 1
        else:
            used.add(nearest)
            cell.widths.append(float(np.ptp(bounds)))
        cell.covered.append(bool(covered))
    cell.extra += len(found) - len(used)
    cell.curves += 1


def simulated(family, noise, curves):
    """What happened to curves of one family."""
    cell = Cell()
    for seed in range(FIRST_SEED, FIRST_SEED + curves):
        rng = np.random.default_rng([seed, list(FAMILIES).index(family)])
        truth = FAMILIES[family](rng)
        curve, stderr = observed(rng, truth, noise)
        score(cell, true_milestones(truth(FINE), 4 * stderr), curve)
    return cell


def resampled(path, curves):
    """What happened to the authors' curve with its chains picked anew."""
    with open(path) as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("chain")]
    losses = np.array([[float(row[name]) for name in names] for row in rows])
    chains = NBETA * (losses - np.array([[float(row["init_loss"])] for row in rows]))
    steps = np.array([int(row["step"]) for row in rows])

    def curve_of(kept):
        unknown = np.full((len(steps), 1), np.nan)
        return Curve("", "", steps, kept.mean(axis=1, keepdims=True), unknown, chains=kept)

    whole = curve_of(chains)
    steady = [one for one in find_milestones(whole) if holds(one)]
    truths = [(np.log1p(one.step), np.log1p(one.step)) for one in steady]
    clear = [
        abs(stage.delta_llc) > 4 * stage.delta_llc_stderr
        for stage in find_stages(whole, None, steady)
    ]
    weak = [place for k, place in enumerate(truths) if not (clear[k] and clear[k + 1])]
    cell = Cell()
    for seed in range(curves):
        picked = np.random.default_rng(seed).integers(len(names), size=len(names))
        score(cell, truths, curve_of(chains[:, picked]), weak)
    return cell


if __name__ == "__main__":
    curves = int(sys.argv[1]) if len(sys.argv) > 1 else 45
    print(
        f"{'curves, noise':22} {'true':>5} {'covered':>8} {'missed':>6} {'high/low':>8} extra/curve"
    )
    cells = []
    for family in FAMILIES:
        for noise in NOISES:
            cells.append(simulated(family, noise, curves))
            print(cells[-1].row(f"{family}, {noise}"), flush=True)
    together = Cell(
        [one for cell in cells for one in cell.covered],
        [one for cell in cells for one in cell.widths],
        sum(cell.missed for cell in cells),
        sum(cell.extra for cell in cells),
        sum(cell.curves for cell in cells),
    )
    print(together.row("all"), flush=True)
    for path in sys.argv[2:]:
        print(resampled(path, curves).row("resampled chains"), flush=True)
