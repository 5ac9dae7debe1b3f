"""Effective draws per gradient of the three samplers, each at its best honest setting.

    python benchmarks/samplers.py [RUN STEP]

A setting is honest if its answer is within 3 % of the right one, or within three standard errors of
both, and no chain failed. The right answer is known in closed
form on the stiff quadratic; on the regression transformer it is that of long chains with short
steps and large batches. The transformer is trained for 1,000 steps, where the noise of minibatches
hides what slow directions do, or is a checkpoint of a regression run of yours: a late one is where
samplers differ. All settings make the same number of draws from the same random numbers.
"""

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ontogeny.analysis import diagnose
from ontogeny.probes import Sampler, sample_chains
from ontogeny.probes.samplers import DAMPING, SAMPLERS
from ontogeny.problems import regression, untrained
from ontogeny.problems.exact import quadratic, quadratic_llc
from ontogeny.runs import open_run
from ontogeny.training import Training, train
from ontogeny.workers import threads

MOMENTA = (0.0, 0.5, 0.8, 0.95)


def settings_of_each(common, step_sizes):
    """Every method at every step size; RMSprop-SGLD multiplies its own by up to 10."""
    for step_size in step_sizes:
        yield replace(common, method="sgld", step_size=step_size)
        yield replace(common, method="rmsprop", step_size=step_size * DAMPING)
    for step_size, momentum in product(step_sizes, MOMENTA):
        yield replace(common, method="underdamped", step_size=step_size, momentum=momentum)


def compare(name, problem, state, right, candidates):
    """Print the best honest setting of each method."""
    value, error = right
    best = {}
    for settings in candidates:
        found = diagnose(sample_chains(problem, 0, state, settings))
        off, noise = abs(found.llc - value), 3 * np.hypot(found.stderr, error)
        if found.verdict == "failed" or found.failed or off > max(0.03 * value, noise):
            continue
        ess = found.ess / (settings.chains * (settings.draws - settings.burn_in)) * 1000
        if ess > best.get(settings.method, (0.0,))[0]:
            best[settings.method] = ess, settings, found
    print(f"\n{name} The right answer is {value:.1f} ± {error:.1f}.\n")
    print("| method | ε | momentum | λ̂ | effective draws per 1,000 gradients | beside SGLD |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for method in SAMPLERS:
        if method not in best:
            print(f"| {method} | no honest setting | | | | |")
            continue
        ess, settings, found = best[method]
        ratio = f"{ess / best['sgld'][0]:.1f}" if "sgld" in best else "–"
        momentum = f"{settings.momentum:g}" if method == "underdamped" else ""
        print(
            f"| {method} | {settings.step_size:.1e} | {momentum} | {found.llc:.1f} ± "
            f"{found.stderr:.1f} | {ess:.1f} | {ratio} |"
        )


def stiff_quadratic():
    """1,000 weights whose curvatures span four orders of magnitude."""
    h = np.geomspace(1e-4, 1.0, 1000).tolist()
    problem = quadratic(h)
    common = Sampler(
        nbeta=1000.0, localization=1.0, draws=3000, burn_in=1000, batch_size=1, pairing=1
    )
    right = quadratic_llc(h, common.nbeta, common.localization, step_size=0.0), 0.0
    longest = 4 / (common.nbeta + common.localization)  # beyond it a chain diverges
    candidates = settings_of_each(common, [longest * share for share in (0.03, 0.1, 0.3, 0.9)])
    state = untrained(problem, seed=0).state_dict()
    compare(stiff_quadratic.__doc__, problem, state, right, candidates)


def regression_transformer(folder=None, step=999):
    """The regression transformer at the paper's nβ and γ, batches of 64."""
    with TemporaryDirectory() as own:
        if folder is None:
            run = train(regression(), Path(own) / "run", Training(steps=1000, batch_size=128))
        else:
            run = open_run(Path(folder))
        state = run.checkpoints[int(step)]
    common = Sampler(
        nbeta=66.67, localization=6.67, chains=2, draws=1000, burn_in=500, batch_size=64, pairing=1
    )
    reference = replace(common, method="underdamped", momentum=0.9, step_size=1e-4)
    reference = replace(reference, chains=4, batch_size=512, pairing=10, seed=1)
    found = diagnose(sample_chains(run.problem, 0, state, reference))
    candidates = settings_of_each(common, (1e-4, 3e-4, 1e-3))
    name = f"{regression_transformer.__doc__} Step {int(step):,}."
    compare(name, run.problem, state, (found.llc, found.stderr), candidates)


with threads(1):
    if len(sys.argv) == 1:
        stiff_quadratic()
    regression_transformer(*sys.argv[1:])
