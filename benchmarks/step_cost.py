"""What a draw of the sampler costs, beside a bare loop that makes the same draws.

The bare loop draws a batch and noise, from one generator, passes forward and backward, moves the
weights in place by stochastic gradient Langevin dynamics and stores the loss: nothing less would
be a chain. Blocks of both alternate in one process on one thread.
"""

import time

import numpy as np
import torch
from language_model import SIZES, language_problem

from ontogeny.probes import Sampler, sample_chains
from ontogeny.problems import trained, untrained
from ontogeny.streams import random_stream
from ontogeny.workers import threads

PAIRS = 30
SETTINGS = Sampler(method="sgld", chains=1, draws=50, burn_in=0, batch_size=32)


def bare_chain(problem, state, settings):
    """The losses along a chain, and nothing else."""
    model, stream = trained(problem, state), random_stream(settings.seed, "bare")
    parameters = list(model.parameters())
    centers = [p.detach().clone() for p in parameters]
    epsilon, nbeta, gamma = settings.step_size, settings.nbeta, settings.localization
    losses = []
    for _ in range(settings.draws):
        loss = problem.loss(model, problem.batch(settings.batch_size, stream)).mean()
        loss.backward()
        with torch.no_grad():
            for p, center in zip(parameters, centers, strict=True):
                noise = torch.empty_like(p).normal_(generator=stream)
                drift = p.grad.mul_(nbeta).add_(p - center, alpha=gamma)
                p.sub_(drift, alpha=epsilon / 2).add_(noise, alpha=epsilon**0.5)
                p.grad = None
        losses.append(loss.detach())
    return torch.stack(losses)


def seconds(work):
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(problem):
    """Milliseconds for a draw in alternated blocks: of the bare loop, and of the sampler."""
    state = untrained(problem, seed=0).state_dict()
    works = (
        lambda: bare_chain(problem, state, SETTINGS),
        lambda: sample_chains(problem, 0, state, SETTINGS),
    )
    for work in works:
        work()
    pairs = []
    for i in range(PAIRS):
        pair = [seconds(work) for work in works[:: (-1) ** i]]
        pairs.append(pair[:: (-1) ** i])
    return np.array(pairs) / SETTINGS.draws * 1e3


def interval_of_median(values):
    """The 95 % bootstrap interval of a median."""
    picks = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    return np.quantile(np.median(values[picks], axis=1), [0.025, 0.975])


with threads(1):
    times = measure(language_problem(SIZES["104k"]))
ratios = times[:, 1] / times[:, 0]
low, high = interval_of_median(ratios)
bare, draw = np.median(times, axis=0)

print(f"Medians of {PAIRS} alternated blocks; the interval is a bootstrap of the ratio's.\n")
print("| parameters, batch | bare step | draw | draw / bare step | 95 % |")
print("|:--|--:|--:|--:|:--|")
print(
    f"| 104k, 32 × 64 tokens | {bare:.1f} ms | {draw:.1f} ms "
    f"| {np.median(ratios):.3f} | {low:.3f} to {high:.3f} |"
)
