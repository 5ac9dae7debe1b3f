"""Where plain descent goes from near each known critical point of the toy model of superposition.

python experiments/superposition_paths.py [NOISE]

From each point 10 descents of the mean loss over all inputs, 6,000 steps of 0.3, which begin at it
but for noise of standard deviation NOISE (0.001 unless told) on all weights and biases. Prints how
many end where, as rows of a table; and how far at most from there, and from its loss.
"""

import sys
from collections import Counter

import torch

from ontogeny.problems.superposition_distances import distances_to_critical_points
from ontogeny.problems.superposition_landscape import (
    critical_point,
    critical_points,
    population_loss,
)

SEEDS, STEPS, RATE = 10, 6000, 0.3


def starts(name, noise):
    """Weights and biases near a critical point, one for each seed."""
    state = critical_point(name)
    x = torch.cat([state["weights"], state["bias"][None]])
    streams = [torch.Generator().manual_seed(seed) for seed in range(SEEDS)]
    drawn = [torch.randn(3, 6, generator=one, dtype=torch.float64) for one in streams]
    return x + noise * torch.stack(drawn)


if __name__ == "__main__":
    noise = float(sys.argv[1]) if len(sys.argv) > 1 else 1e-3
    points = {point.name: point for point in critical_points()}
    x = torch.cat([starts(name, noise) for name in points])
    slope = torch.func.vmap(torch.func.grad(lambda x: population_loss(x[:2], x[2])))
    for _ in range(STEPS):
        x = x - RATE * slope(x)
    print("| near | minimum | ends of 10 descents | away at most | loss off at most |")
    print("| --- | --- | --- | --- | --- |")
    for point, ends in zip(points.values(), x.split(SEEDS), strict=True):
        count, away, off = Counter(), 0.0, 0.0
        for end in ends:
            far = distances_to_critical_points(end[:2].numpy(), end[2].numpy())
            name = min(far, key=far.get)
            loss = population_loss(end[:2], end[2]).item()
            count[name] += 1
            away, off = max(away, far[name]), max(off, abs(loss / points[name].loss - 1))
        where = ", ".join(f"{name}: {n}" for name, n in count.most_common())
        minimum = "yes" if point.minimum else ""
        print(
            f"| {point.name} | {minimum} | {where} | {away:.1g} | {100 * off:.1g} % |", flush=True
        )
