r"""Rows of the ground-truth suite: what is sampled where, how, and what is known of it.

Each row states a minimum w*, nβ and γ, and has the exact mean of nβ(L(w) − L(w*)) at this very nβ
and γ, the learning coefficient λ that this tends to, and the sampler's estimate.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ontogeny.analysis import estimate_llc
from ontogeny.probes.chains import sample_chains
from ontogeny.probes.oracle import Oracle, sample_oracle
from ontogeny.probes.samplers import Sampler
from ontogeny.problems.exact import (
    monomials,
    monomials_learning_coefficient,
    monomials_llc,
    monomials_stiffness,
    relu_regression,
)
from ontogeny.problems.gibbs import gibbs_llc
from ontogeny.problems.linear import deep_linear
from ontogeny.problems.linear_minima import (
    linear_learning_coefficient,
    local_learning_coefficient,
    minimum,
)
from ontogeny.records import Chains

STEP = 2.0  # ε times the curvature that a chain may meet; it is stable below 4
FRICTION = 3.0  # 2 is critical for a flat direction
CHAINS = 4  # of a row about matrices
LENGTH = 9000.0  # units of time for λ = 1; nβL has about the variance λ, and the mean λ


@dataclass(frozen=True)
class Outcome:
    """One row of the suite; what does not apply is None.

    Attributes:
        name: Of the row.
        point: The minimum w* around which is sampled.
        nbeta: nβ.
        localization: γ.
        exact: The mean of nβ(L(w) − L(w*)) at this nβ and γ.
        exact_stderr: Its standard error, where it comes from a simulation.
        learning_coefficient: λ, which it tends to.
        estimate: The sampler's.
        stderr: Its standard error.
        relative_error: |estimate − exact| / exact, or what else the row asks for.
        bar: What that must not exceed.
        passed: Whether all bars of the row are met.
        note: Why not, and what else to know.
        settings: Of the sampler.
        seconds: What the row took.
    """

    name: str
    point: str = ""
    nbeta: float | None = None
    localization: float | None = None
    exact: float | None = None
    exact_stderr: float | None = None
    learning_coefficient: float | None = None
    estimate: float | None = None
    stderr: float | None = None
    relative_error: float | None = None
    bar: float | None = None
    passed: bool = False
    note: str = ""
    settings: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Row:
    """What is measured by itself, in any process.

    Attributes:
        name: Of the row, and of its outcome.
        measure: Gives the outcome, but for whether it passed.
        quick: Whether it takes seconds.
        group: With which other rows something is concluded of it.
    """

    name: str
    measure: Callable[[], Outcome]
    quick: bool = True
    group: str = ""


# How a row is sampled ----------------------------------------------------------------------------


def sampler_for(
    stiffness: float, nbeta: float, localization: float, chains: int, units: tuple[int, int]
) -> Sampler:
    r"""The settings of every row, but for that on minibatches: one rule.

    With ε = `STEP` / stiffness a flat direction has the frequency $\sqrt{\varepsilon\gamma}$, and
    the inverse of it is the unit of time. The momentum is that share of the velocity which damping
    leaves, $e^{-3\sqrt{\varepsilon\gamma}}$. So a row has as many draws as the square root of the
    ratio of stiffness and γ asks for.

    Args:
        stiffness: The largest curvature of nβL + (γ/2)|w − w*|² that a chain may meet.
        nbeta: nβ.
        localization: γ; where it is 0, the stiffness stands in its place.
        chains: How many.
        units: Of time, for burn-in and after it.

    Examples:
        >>> settings = sampler_for(800.0, 10.0, 1.0, chains=2, units=(2, 10))
        >>> settings.step_size, settings.burn_in, settings.draws
        (0.0025, 40, 240)
    """
    epsilon = STEP / stiffness
    rate = math.sqrt(epsilon * (localization or stiffness))
    block = min(1000, max(1, round(1 / (4 * rate))))
    unit = block * math.ceil(1 / (block * rate))
    return Sampler(
        method="underdamped",
        step_size=epsilon,
        nbeta=nbeta,
        localization=localization,
        momentum=math.exp(-FRICTION * rate),
        chains=chains,
        draws=unit * sum(units),
        burn_in=unit * units[0],
        batch_size=1,
        pairing=block,
        block=block,
    )


def estimated(row: Outcome, chains: Chains, copies: int = 1) -> Outcome:
    """A row with the estimate of chains, and their length."""
    llc = estimate_llc([chains])
    draws = (
        f"{chains.losses.shape[0]} × {chains.losses.shape[1]:,} draws, ε = {chains.step_size:.2g}"
    )
    return replace(
        row,
        nbeta=chains.nbeta,
        localization=chains.localization,
        estimate=float(llc.values[0, 0]) / copies,
        stderr=float(llc.stderr[0, 0]) / copies,
        settings=draws,
        note="; ".join(filter(None, [row.note, *llc.warnings])),
    )


def measure_potential(
    powers: Sequence[Sequence[int]], nbeta: float, localization: float, copies: int, units: int
) -> Outcome:
    """A row about `monomials` at the origin: many copies in one chain."""
    problem = monomials(powers, copies)
    exact = monomials_llc(powers, nbeta, localization)
    stiffness = monomials_stiffness(powers, nbeta, localization)
    settings = sampler_for(
        stiffness, nbeta, localization, chains=1, units=(max(1, units // 20), units)
    )
    row = Outcome(
        "",
        point="0",
        exact=exact,
        learning_coefficient=monomials_learning_coefficient(powers),
    )
    return estimated(row, sample_chains(problem, 0, problem.model().state_dict(), settings), copies)


def measure_linear(
    widths: Sequence[int],
    rank: int,
    ranks: Sequence[int] | None,
    nbeta: float,
    localization: float,
    factor: float = 1.0,
    length: float = LENGTH,
) -> Outcome:
    """A row about `deep_linear` at `minimum`, the first two layers times factor and 1/factor."""
    point = minimum(widths, rank, ranks)
    scales = [factor, 1 / factor] + [1.0] * (len(point) - 2)
    state = {name: s * layer for s, (name, layer) in zip(scales, point.items(), strict=True)}
    size = sum(layer.numel() for layer in point.values())
    sweeps = min(4000, max(100, 800_000 // size))
    gibbs = gibbs_llc(state, nbeta, localization, chains=8, sweeps=sweeps, burn_in=sweeps // 4 * 2)
    units = (8, max(4, math.ceil(length / gibbs.value / CHAINS)))
    settings = sampler_for(gibbs.stiffness, nbeta, localization, CHAINS, units)
    limit = (
        linear_learning_coefficient(widths, rank)
        if ranks is None
        else local_learning_coefficient(widths, rank, ranks)
    )
    row = Outcome(
        "",
        point="layers of rank " + ", ".join(map(str, ranks or [rank] * len(point))),
        exact=gibbs.value,
        exact_stderr=gibbs.stderr,
        learning_coefficient=limit.value,
    )
    problem = deep_linear(widths, [1.0] * rank)
    return estimated(row, sample_chains(problem, 0, state, settings))


def measure_relu(nbeta: float, localization: float) -> Outcome:
    """SGLD on minibatches beside Hamiltonian Monte Carlo on all data, at the teacher."""
    problem = relu_regression()
    state = problem.model().state_dict()
    oracle = Oracle(
        step_size=4e-5, leapfrogs=20, nbeta=nbeta, localization=localization,
        chains=1, draws=1000, burn_in=100, block=50, examples=10_000, data="all",
    )  # fmt: skip
    sgld = Sampler(
        method="sgld", step_size=1.25e-5, nbeta=nbeta, localization=localization,
        chains=2, draws=24_000, burn_in=4000, batch_size=500, pairing=5,
    )  # fmt: skip
    truth = estimated(Outcome(""), sample_oracle(problem, 0, state, oracle))
    row = Outcome(
        "",
        point="the teacher",
        exact=truth.estimate,
        exact_stderr=truth.stderr,
        note="the exact answer is that of Hamiltonian Monte Carlo, 20 leapfrogs",
    )
    return estimated(row, sample_chains(problem, 0, state, sgld))


# The table ---------------------------------------------------------------------------------------

# Powers; all at nβ = 1000 / ln 1000 and without localization.
POTENTIALS = ([[2]], [[2], [2]], [[2], [2], [2]], [[4]], [[4], [2]])

# k of f = w₁^k₁ w₂^k₂ and nβ at γ = 1, as small as a tenth from λ allows; copies, units of time.
CROSSINGS = (
    ((1, 1), 10**8.2, 2000, 3),
    ((1, 2), 10**3.5, 4000, 6),
    ((1, 3), 10**3.5, 4000, 8),
    ((2, 2), 10**15.8, 3600, 3),
    ((2, 3), 10**7.5, 4000, 6),
    ((3, 3), 10**23.5, 4800, 3),
)

# Widths, rank of the teacher, ranks of the two layers; all at nβ = 1e8 and γ = 300.
PAIRS = (
    ((5, 3, 5), 0, ((0, 0), (3, 0))),
    ((4, 3, 8), 0, ((0, 0), (3, 0))),
    ((5, 4, 5), 0, ((0, 0), (4, 0))),
    ((5, 3, 5), 1, ((1, 1), (3, 1))),
)

# Widths, rank, nβ, γ; at the most degenerate minimum, nβ such that a tenth from λ is not exceeded.
DEEP: tuple[tuple[tuple[int, ...], int, float, float], ...] = (
    ((10, 10, 10, 10), 0, 3790.0, 1.0),
    ((10, 10, 10, 10), 5, 32_800.0, 8.0),
    ((4, 8, 8, 4), 2, 3160.0, 8.0),
    ((20, 10, 5, 10, 20), 2, 32_800.0, 8.0),
    ((6, 6, 6, 6, 6), 3, 32_800.0, 4.0),
    ((20, 10, 20), 4, 56_200.0, 8.0),
    ((8, 5, 5, 21, 26, 15, 18), 3, 2.05e6, 1024.0),
    ((22, 5, 23, 5, 18), 5, 2.94e6, 1024.0),
    ((11, 8, 7, 7, 5, 6, 9), 3, 2640.0, 4.0),
    ((6, 22, 20, 8, 24, 6), 4, 3790.0, 16.0),
    ((11, 21, 8, 5), 0, 50.5, 1.0),
    ((7, 6, 14, 9, 17), 6, 698_000.0, 1024.0),
    ((12, 6, 24), 6, 1e6, 512.0),
    ((15, 54, 17, 14, 23, 59), 9, 1.49e7, 1024.0),
    ((7, 31, 50, 55, 5, 43, 57), 4, 3.52e6, 1024.0),
    ((29, 25, 22, 12, 8, 21, 26), 1, 56_200.0, 8.0),
    ((8, 7, 11, 5, 9, 9, 5), 5, 19_100.0, 128.0),
    ((11, 28, 14, 8, 8, 25), 1, 115_000.0, 8.0),
    ((6, 8, 8, 10), 0, 4530.0, 1.0),
    ((8, 10, 22), 7, 698_000.0, 512.0),
    ((60, 40, 30, 50), 19, 768_000.0, 32.0),
    ((100, 60, 120), 30, 2e8, 300.0),
    ((200, 50, 200), 48, 1.97e8, 512.0),
    ((300, 200, 250), 100, 1e9, 512.0),
    ((200, 200, 200, 200), 137, 4.04e8, 512.0),
)

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


def dashed(widths: Sequence[int]) -> str:
    """Widths as they are written."""
    return "-".join(map(str, widths))


def table() -> Iterator[Row]:
    """The rows of the suite, in order."""
    for powers in POTENTIALS:
        terms = (f"w{i}^{row[0]}" for i, row in enumerate(powers, start=1))
        name = f"½({' + '.join(terms)})"
        nbeta = 1000 / math.log(1000)
        yield Row(name, partial(measure_potential, powers, nbeta, 0.0, copies=1000, units=1000))
    for k, nbeta, copies, units in CROSSINGS:
        powers = [[2 * one for one in k]]
        measure = partial(measure_potential, powers, nbeta, 1.0, copies, units)
        yield Row(f"crossing {k[0]}, {k[1]}", measure, quick=k in [(1, 2), (2, 3)])
    for widths, rank, pair in PAIRS:
        for ranks in pair:
            name = f"reduced rank {dashed(widths)}, rank {rank}, layers {ranks[0]} and {ranks[1]}"
            measure = partial(measure_linear, widths, rank, ranks, 1e8, 300.0)
            group = f"{dashed(widths)}, rank {rank}"
            yield Row(name, measure, quick=group in ["5-3-5, rank 0", "4-3-8, rank 0"], group=group)
    for layers, rank, nbeta, localization in DEEP:
        name = f"deep linear {dashed(layers)}, rank {rank}"
        measure = partial(
            measure_linear, layers, rank, None, nbeta, localization, 1.0, 1.4 * LENGTH
        )
        yield Row(name, measure, quick=localization > 100 > max(layers), group="deep linear")
    for factor in FACTORS:
        measure = partial(measure_linear, (60, 45, 30), 24, None, 1e9, 100.0, factor, 8 * LENGTH)
        yield Row(f"layers rescaled by {factor:g}", measure, quick=False, group="rescaling")
    relu = partial(measure_relu, 10_000 / math.log(10_000), 100.0)
    yield Row("ReLU 10-20-20-10", relu, quick=False)


ROWS = tuple(table())
