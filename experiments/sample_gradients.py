"""How many sample-gradients our chains need, beside the paper's protocol.

    python experiments/sample_gradients.py RUN STEP [STEP ...] [--paper-chains 10]

At each checkpoint of a regression run: the paper's protocol (SGLD, ε = 3e-4, chains of 5,000
draws on minibatches of 1,024, no burn-in), a long reference at the same (nβ, γ), and three
replicates of our own chains with seeds of their own. An error is the distance from the reference,
which has a standard error of its own; the paper's is that of a mean over ten chains, its spread
taken from as many as were run. Noise of the minibatches heats the reference as much as it heats
ours. A forward pass counts as a third of a gradient. Measurements are kept in the run's
folder, so the script goes on where it was interrupted; on one core a checkpoint takes a quarter of
an hour for each chain of the paper's protocol, and half an hour for the rest.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from ontogeny.analysis import estimate_llc
from ontogeny.probes import Sampler, sample_chains
from ontogeny.runs import open_run
from ontogeny.workers import worker_pool

TARGET = {"nbeta": 200 / 3, "localization": 20 / 3}
PAPER = Sampler(
    **TARGET, method="sgld", step_size=3e-4, chains=10, draws=5000, burn_in=0, batch_size=1024,
    pairing=50,
)  # fmt: skip
OURS = Sampler(
    **TARGET, method="underdamped", step_size=1e-4, momentum=0.8, chains=4, draws=2000,
    burn_in=700, batch_size=256, pairing=5,
)  # fmt: skip
REFERENCE = replace(
    OURS, momentum=0.9, chains=2, draws=2400, burn_in=1200, batch_size=512, pairing=10, seed=100
)
REPLICATES = 3


def sample_gradients(settings, chains):
    """Gradients of one example that an estimate costs, burn-in and baseline included."""
    return chains * settings.draws * settings.batch_size * (1 + 1 / (3 * settings.pairing))


def llc_of(run, name, steps, settings, executor):
    """λ̂ of every chain at every step."""
    found = run.measure(sample_chains, steps, settings, name=name, executor=executor)
    return estimate_llc(found).chains


def rms(errors, axis=None):
    """Root mean square."""
    return np.sqrt(np.square(errors).mean(axis=axis))


def main():
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("steps", type=int, nargs="+")
    parser.add_argument("--paper-chains", type=int, default=10)
    given = parser.parse_args()
    run, steps = open_run(given.run), sorted(given.steps)
    paper_settings = replace(PAPER, chains=given.paper_chains)
    with worker_pool() as executor:
        replicates = [
            llc_of(run, f"ours-{seed}", steps, replace(OURS, seed=seed), executor).mean(axis=1)
            for seed in range(REPLICATES)
        ]
        long = llc_of(run, "reference", steps, REFERENCE, executor)
        paper = llc_of(run, "paper_protocol", steps, paper_settings, executor)
    right, paper_error = long.mean(axis=1), paper.mean(axis=1) - long.mean(axis=1)
    if paper.shape[1] > 1:
        paper_error = np.hypot(paper_error, paper.std(axis=1, ddof=1) / PAPER.chains**0.5)
    our_error = rms(replicates - right, axis=0)
    unsure = long.std(axis=1, ddof=1) / long.shape[1] ** 0.5
    print("| step | reference | ± | the paper's protocol | its error | ours | our error |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    columns = right, unsure, paper.mean(axis=1), abs(paper_error), replicates[0], our_error
    for step, *numbers in zip(steps, *columns, strict=True):
        print(f"| {step:,} | " + " | ".join(f"{number:.1f}" for number in numbers) + " |")
    errors = rms(paper_error), rms(our_error)
    costs = [sample_gradients(PAPER, PAPER.chains), sample_gradients(OURS, OURS.chains)]
    for name, error, cost in zip(("the paper's protocol", "ours"), errors, costs, strict=True):
        print(f"{name}: root-mean-square error {error:.1f} with {cost:.3g} sample-gradients")
    reached = f"{costs[0] / costs[1]:.0f} times fewer"
    print(reached if errors[1] <= errors[0] else "ours does not reach the error of the paper's")


if __name__ == "__main__":
    main()
