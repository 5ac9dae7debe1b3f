"""What a draw of the sampler costs, beside a bare forward and backward pass on the same batch."""

import statistics
import time

import torch

from ontogeny.probes import Sampler
from ontogeny.probes.chains import flat_loss, sample_chain, sample_chains
from ontogeny.problems import regression, trained, untrained
from ontogeny.streams import random_stream
from ontogeny.workers import threads

DRAWS, ROUNDS = 40, 7


def seconds(work):
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(batch_size):
    """Milliseconds of a bare pass; ratios of a draw to it, and of paired to unpaired draws."""
    problem = regression()
    state = untrained(problem, seed=0).state_dict()
    settings = Sampler(chains=1, draws=DRAWS, burn_in=0, batch_size=batch_size, block=DRAWS)
    bare_model = trained(problem, state)
    batch = problem.batch(batch_size, random_stream(0, "benchmark"))
    start, evaluate = flat_loss(problem, trained(problem, state))
    nothing = torch.zeros(len(problem.loss(bare_model, batch)[0]))

    def bare():
        for _ in range(DRAWS):
            bare_model.zero_grad()
            problem.loss(bare_model, batch).mean().backward()

    def paired():
        sample_chains(problem, 0, state, settings)

    def unpaired():
        sample_chain(problem, start, evaluate, lambda batch: nothing, settings, 0)

    works = (bare, paired, unpaired)
    for work in works:
        work()
    rounds = [[seconds(work) for work in works] for _ in range(ROUNDS)]
    return (
        statistics.median(once[0] for once in rounds) / DRAWS * 1e3,
        statistics.median(once[1] / once[0] for once in rounds),
        statistics.median(once[1] / once[2] for once in rounds),
    )


print("batch   bare pass   draw / bare pass   paired / unpaired")
with threads(1):
    for batch_size in (64, 128):
        bare, draw, pairing = measure(batch_size)
        print(f"{batch_size:5}   {bare:6.2f} ms   {draw:16.2f}   {pairing:17.2f}")
