"""Principal components of outputs over training, beside those of scikit-learn."""

import statistics
import time
import tracemalloc

import numpy as np
from sklearn.decomposition import PCA

from ontogeny.analysis import essential_dynamics
from ontogeny.records import Outputs

CHECKPOINTS, OUTPUTS, ROUNDS = 400, 20_000, 5


def seconds(work):
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_memory(work):
    """Bytes that it has in use at most, beyond what was there."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


steps = np.arange(CHECKPOINTS)
noise = np.random.default_rng(0).normal(size=(CHECKPOINTS, OUTPUTS))
values = noise.cumsum(axis=0).astype(np.float32)

works = {
    "essential_dynamics": lambda: essential_dynamics(Outputs(steps, values)),
    "PCA, exact": lambda: PCA(4, svd_solver="full").fit_transform(values),
    "PCA, randomized": lambda: PCA(4, svd_solver="randomized", random_state=0).fit_transform(
        values
    ),
}
peaks = {name: peak_memory(work) for name, work in works.items()}
rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(ROUNDS)]
ours = "essential_dynamics"

print(f"{CHECKPOINTS} checkpoints, {OUTPUTS:,} outputs, {values.nbytes / 1e6:.0f} MB")
print("                     seconds   time ratio   peak memory   memory ratio")
for name in works:
    taken = statistics.median(once[name] for once in rounds)
    ratio = statistics.median(once[name] / once[ours] for once in rounds)
    memory, memory_ratio = peaks[name] / 1e6, peaks[name] / peaks[ours]
    print(f"{name:20} {taken:7.2f} {ratio:12.2f} {memory:10.0f} MB {memory_ratio:14.2f}")
