"""Essential dynamics of a long run from disk to forms: seconds and memory.

python benchmarks/large_run.py FOLDER

Writes 5,000 checkpoints of 81,920 outputs to FOLDER, 1.6 GB, unless they are there; run it again to
measure with nothing of the writing in memory.
"""

import itertools
import resource
import sys
import time
from pathlib import Path

import numpy as np

from ontogeny.analysis import essential_dynamics, osculating_circles, weigh_forms
from ontogeny.analysis.reading import read_outputs
from ontogeny.records import Outputs
from ontogeny.storage import file_of, save_record

CHECKPOINTS, OUTPUTS, SPACING = 5_000, 81_920, 100

folder = Path(sys.argv[1])
if len(list(folder.glob("*.npz"))) < CHECKPOINTS:
    rng = np.random.default_rng(0)
    state = np.zeros(OUTPUTS, np.float32)
    for step in range(SPACING, SPACING * (CHECKPOINTS + 1), SPACING):
        state += rng.standard_normal(OUTPUTS, dtype=np.float32)
        save_record(Outputs(np.array([step]), state[None]), file_of(folder, step, ".npz"))
    sys.exit("written; run again to measure")


def peak():
    """The most memory that this process had so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


print(f"{'started':20} {'':12} {peak():6.2f} GB")
begun = start = time.perf_counter()
outputs = read_outputs(folder)
print(f"{'read from disk':20} {time.perf_counter() - start:10.1f} s {peak():6.2f} GB")
start = time.perf_counter()
trajectory = essential_dynamics(outputs)
print(f"{'components':20} {time.perf_counter() - start:10.1f} s {peak():6.2f} GB")
start = time.perf_counter()
for plane in itertools.combinations(range(3), 2):
    osculating_circles(trajectory.smoothed[:, plane], trajectory.steps)
print(f"{'circles':20} {time.perf_counter() - start:10.1f} s {peak():6.2f} GB")
start = time.perf_counter()
forms = weigh_forms(trajectory.scores, trajectory.steps).forms
print(f"{'forms':20} {time.perf_counter() - start:10.1f} s {peak():6.2f} GB")
print(f"{'all':20} {time.perf_counter() - begun:10.1f} s {peak():6.2f} GB")
print(f"{len(forms)} forms, the least p {min((f.p_value for f in forms), default=1):.3f}")
print("shares", trajectory.explained_variance_ratio.round(4))
