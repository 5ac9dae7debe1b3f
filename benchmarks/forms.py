"""How good the forms are: false alarms in random walks, planted forms, forms of a published run.

python benchmarks/forms.py walks 1000
python benchmarks/forms.py planted 400
python benchmarks/forms.py published lr_seed1_ed_pcs_digitised.csv
"""

import sys
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np

from ontogeny.analysis.forms import find_forms
from ontogeny.analysis.nulls import SURROGATES, null_models, surrogate_scores, weigh_forms
from ontogeny.analysis.scores import read_scores

PUBLISHED = (2_500, 34_500, 106_100, 168_900)


def components(walk):
    """Scores on the first three principal components."""
    left, singular, _ = np.linalg.svd(walk - walk.mean(axis=0), full_matrices=False)
    return left[:, :3] * singular[:3]


def even(n):
    """Checkpoints at every hundredth step."""
    return 100 * np.arange(1, n + 1)


def spread(n):
    """Checkpoints evenly spaced in log-step."""
    return np.unique(np.geomspace(1, 500_000, n).astype(int))


def walk(rng, steps, dimensions, seen=components, by_step=False, decay=0.0):
    """A random walk: a kick at each checkpoint, or at each step."""
    sizes = np.sqrt(np.diff(steps, prepend=0)) if by_step else np.ones(len(steps))
    sizes = sizes[:, None] * np.arange(1.0, dimensions + 1) ** -decay
    return seen((rng.normal(size=(len(steps), dimensions)) * sizes).cumsum(axis=0)), steps


def raw(positions):
    """Coordinates as they are, without principal components."""
    return positions


WALKS = {
    "1,000 dimensions, 300 checkpoints": lambda rng: walk(rng, even(300), 1000),
    "30 dimensions, 300 checkpoints": lambda rng: walk(rng, even(300), 30),
    "200 unequal dimensions, 300": lambda rng: walk(rng, even(300), 200, decay=0.5),
    "1,000 dimensions, 60 checkpoints": lambda rng: walk(rng, even(60), 1000),
    "300 dimensions, 2,000 checkpoints": lambda rng: walk(rng, even(2000), 300),
    "1,000 dimensions, log-spaced": lambda rng: walk(rng, spread(200), 1000),
    "1,000 dimensions by step, log-spaced": lambda rng: walk(rng, spread(200), 1000, by_step=True),
    "3 dimensions raw, 300 checkpoints": lambda rng: walk(rng, even(300), 3, raw),
    "3 dimensions raw, 60 checkpoints": lambda rng: walk(rng, even(60), 3, raw),
    "3 dimensions raw, log-spaced": lambda rng: walk(rng, spread(200), 3, raw),
    "3 dimensions raw by step, log-spaced": lambda rng: walk(rng, spread(200), 3, raw, True),
    "2 dimensions raw, 300 checkpoints": lambda rng: walk(rng, even(300), 2, raw),
}


def is_significant(scores, steps, form, seed):
    """Whether a form has p < 0.05, with no more surrogates than the answer needs."""
    above = 0
    for some in surrogate_scores(null_models(scores, steps, seed).brownian, SURROGATES, seed):
        above += int((some >= form.score).sum())
        if 1 + above >= 0.05 * (SURROGATES + 1):
            return False
    return True


def walks(count):
    """False alarms: walks of each kind in turn whose best form has p < 0.05."""
    alarms, drawn, start = Counter(), Counter(), time.perf_counter()
    for i in range(count):
        name = list(WALKS)[i % len(WALKS)]
        scores, steps = WALKS[name](np.random.default_rng(i))
        forms = find_forms(scores, steps)
        best = max(forms, key=lambda form: form.score, default=None)
        alarms[name] += best is not None and is_significant(scores, steps, best, i)
        drawn[name] += 1
        if i % 50 == 49:
            print(f"{sum(alarms.values())} of {i + 1}", file=sys.stderr, flush=True)
    for name in WALKS:
        print(f"{name:40} {alarms[name]:4} of {drawn[name]:4}")
    band = 0.05 + 1.645 * np.sqrt(0.05 * 0.95 / count)
    total = sum(alarms.values())
    print(f"{'all':40} {total:4} of {count:4}: {100 * total / count:.1f} %")
    print(f"with true probability 5 % below {100 * band:.1f} % in 95 of 100 such counts")
    print(f"{time.perf_counter() - start:.0f} s")


def planted(count):
    """Planted forms: straight to a corner, a sharp turn in all planes, away again, with noise."""
    found, drawn = Counter(), Counter()
    for i in range(count):
        rng = np.random.default_rng(i)
        n, noise, kind = (
            (300, 1000)[i % 2],
            (0.005, 0.02)[i // 2 % 2],
            ("white noise", "walk")[i // 4 % 2],
        )
        name = f"{n:5} checkpoints, {kind:11} of {100 * noise:g} % of the path's length"
        steps, corner = even(n), int(n * rng.uniform(0.25, 0.75))
        along = (np.arange(n) - corner) / n
        there, away = turn(rng)
        path = np.minimum(along, 0)[:, None] * there + np.maximum(along, 0)[:, None] * away
        kicks = rng.normal(size=path.shape) * noise
        path += kicks if kind == "white noise" else kicks.cumsum(axis=0) / n**0.5
        near = [
            form
            for form in find_forms(path, steps)
            if abs(form.step - steps[corner]) < 0.1 * steps[corner]
        ]
        best = max(near, key=lambda form: form.score, default=None)
        found[name] += best is not None and is_significant(path, steps, best, i)
        drawn[name] += 1
    for name in sorted(drawn):
        print(f"{name}: {found[name]:4} of {drawn[name]:4}")
    print(f"all: {100 * sum(found.values()) / count:.1f} % of {count}")


def turn(rng):
    """Two directions between which every plane sees a turn by more than 90 degrees."""
    while True:
        there, away = rng.normal(size=(2, 3))
        there, away = there / np.linalg.norm(there), away / np.linalg.norm(away)
        seen = [(there[[i, j]], away[[i, j]]) for i, j in combinations(range(3), 2)]
        if all(a @ b < 0 and min(a @ a, b @ b) > 0.1 for a, b in seen):
            return there, away


def published(path):
    """The forms of the paper's regression run, read off its figure."""
    scores, start = read_scores(Path(path)), time.perf_counter()
    forms = weigh_forms(scores.values, scores.steps).forms
    print(f"{len(scores.steps)} points, {time.perf_counter() - start:.1f} s")
    print("published     found   off        interval      score   p: walk  pulled  phases")
    for step in PUBLISHED:
        form = min(forms, key=lambda form: abs(np.log(form.step / step)))
        p = "  ".join(f"{value:7.3f}" for value in form.p_values.values())
        off = f"{100 * (form.step / step - 1):+.1f} %"
        span = f"{form.low:,} to {form.high:,}"
        print(f"{step:9,} {form.step:9,} {off:>7} {span:>18} {form.score:8.2f}   {p}")
    others = [f.step for f in forms if all(abs(f.step / step - 1) > 0.1 for step in PUBLISHED)]
    print("other forms:", *others)


if __name__ == "__main__":
    what, argument = sys.argv[1:]
    if what == "published":
        published(argument)
    else:
        {"walks": walks, "planted": planted}[what](int(argument))
