"""The critical point that a run of the toy model of superposition passes, known or not.

ontogeny run superposition --folder RUN
python experiments/find_saddle.py RUN STEP

Takes damped Newton steps towards a vanishing gradient from the checkpoint nearest to STEP,
and prints where that ends: how far away it is, its loss, its gradient, the curvatures that are
negative and how many are zero, and the features.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from ontogeny.problems.superposition_landscape import population_loss
from ontogeny.runs import open_run

FLAT = 1e-4  # curvatures below are those of turns and of features that are given up
STEPS, SHARE = 100, 0.5


def loss(x):
    """The mean loss over all inputs, by weights and biases in one row."""
    return population_loss(x[:-1], x[-1])


def critical_point_near(x):
    """Where Newton's method comes to rest, with the curvatures and directions there."""
    slope = torch.func.grad(loss)
    for _ in range(STEPS):
        curvatures, directions = torch.linalg.eigh(torch.func.hessian(loss)(x).view(x.numel(), -1))
        along = directions.T @ slope(x).flatten()
        steep = curvatures.abs() > FLAT
        step = directions[:, steep] @ (along[steep] / curvatures[steep])
        x = x - SHARE * step.view_as(x)
    return x, slope(x).norm().item(), curvatures.numpy()


if __name__ == "__main__":
    run, wanted = open_run(Path(sys.argv[1])), int(sys.argv[2])
    step = min(run.checkpoints, key=lambda kept: abs(kept - wanted))
    state = run.checkpoints[step]
    begin = torch.cat([state["weights"], state["bias"][None]])
    end, slope, curvatures = critical_point_near(begin)
    print(f"step {step}, loss {loss(begin):.6f}; {torch.dist(begin, end):.3f} away is a point")
    print(f"with loss {loss(end):.8f} and gradient {slope:.1g}")
    print("negative curvatures:", curvatures[curvatures < -FLAT].round(5).tolist())
    print("flat directions:", int((np.abs(curvatures) <= FLAT).sum()))
    x, y, bias = end.numpy()
    order = np.argsort(np.arctan2(y, x))
    for name, values in (
        ("direction", np.degrees(np.arctan2(y, x))),
        ("length", np.hypot(x, y)),
        ("bias", bias),
    ):
        print(f"{name:>10}", *(f"{value:9.4f}" for value in values[order]))
