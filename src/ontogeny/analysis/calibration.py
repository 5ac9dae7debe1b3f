r"""Which settings of the sampler to use: the rule that proposes them, and the map that checks it.

**The rule.** Along a direction in which the loss has curvature h the sampler sees the curvature
$k = n\beta\, h + \gamma$. With $\lambda_{\max}$, the largest curvature of the loss at the stiffest
checkpoint that was looked at,

$$\gamma = \frac{n\beta\, \lambda_{\max}}{\kappa}, \qquad
\varepsilon = \frac{c}{n\beta\, \lambda_{\max} + \gamma}.$$

κ is the range of curvatures that count: a direction κ times flatter than the stiffest contributes
half of what it would without localization, flatter ones less. c is the share of ε·k = 4, at which
the chain diverges. So three settings become one, nβ, and two numbers without a unit.

**The map.** The rule knows curvatures and nothing else: not how far the loss is from a quadratic,
not the noise of minibatches. So short chains try a grid of ε and nβ around it, with γ following nβ
so that every nβ sees the same range of curvatures. Where ε is too small, chains do not arrive.
Where it is too large, they are too hot, or diverge. In between lies the plateau, on which λ̂ does
not depend on ε.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ontogeny.analysis.diagnostics import DRIFT_LIMIT, diagnose, spike_reasons
from ontogeny.analysis.llc import kept_draws
from ontogeny.records import Calibration, Chains, Setup

DYNAMIC_RANGE = 200.0  # κ: gives the sampler's default γ for the regression transformer
STIFFNESS = 1.0  # c
STEP_FACTORS = (1 / 4, 1 / 2, 1.0, 2.0, 4.0)
NBETA_FACTORS = (1 / 9, 1 / 3, 1.0, 3.0)
AGREEMENT = 0.1  # of λ̂: what two cells of a plateau may differ by, or by
ERRORS = 2.0  # standard errors
IGNORANCE = 0.2  # of the largest λ̂ at an nβ: an error above it says nothing

Cell = tuple[float, float]
Verdict = Literal["ok", "moving", "failed"]


# The rule ----------------------------------------------------------------------------------------


class Proposal(NamedTuple):
    """What the rule proposes.

    Attributes:
        step_size: ε.
        localization: γ.
    """

    step_size: float
    localization: float


def propose_settings(
    curvature: float, nbeta: float, dynamic_range: float = DYNAMIC_RANGE
) -> Proposal:
    r"""Propose ε and γ from the curvature of the loss and nβ.

    $\gamma = n\beta\, \lambda_{\max} / \kappa$ and $\varepsilon = c / (n\beta\, \lambda_{\max} +
    \gamma)$ with c = 1, a quarter of what is stable. Along the stiffest direction SGLD then has a
    variance too large by 1/(1 − c/4), a third; along all others by less, and an underdamped chain
    by nothing. A flat direction relaxes in 2/(εγ) = 2 (κ + 1)/c draws of SGLD, and in (1 − m)/(1 +
    m) times that with momentum m.

    Args:
        curvature: λ_max, the largest eigenvalue of the Hessian of the mean loss.
        nbeta: nβ.
        dynamic_range: κ, how many times flatter than the stiffest a direction may be to count.

    Returns:
        ε and γ.

    Raises:
        ValueError: One of them is not positive.

    Examples:
        >>> propose_settings(curvature=10.0, nbeta=99.0, dynamic_range=99.0)
        Proposal(step_size=0.001, localization=10.0)

    References:
        Epifano (2026) standardises influence functions with the same two numbers, c = 0.2 there.
    """
    numbers = {"the curvature": curvature, "nbeta": nbeta, "the dynamic range": dynamic_range}
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name} must be positive, not {number:g}")
    localization = nbeta * curvature / dynamic_range
    return Proposal(STIFFNESS / (nbeta * curvature + localization), localization)


def cells_around(
    curvature: float, nbeta: float, dynamic_range: float = DYNAMIC_RANGE
) -> dict[Cell, Proposal]:
    """The grid of cells to try: nβ, and ε around what the rule proposes for the nβ asked for.

    ε changes by factors of two and nβ by factors of three; γ follows nβ by the rule.

    Args:
        curvature: λ_max.
        nbeta: The nβ that was asked for; it is one of the rows.
        dynamic_range: κ.

    Returns:
        For each nβ and ε the settings to try, in two digits but for the nβ asked for.

    Examples:
        >>> cells = cells_around(curvature=10.0, nbeta=100.0, dynamic_range=1000.0)
        >>> len(cells), cells[100.0, 0.001].localization, cells[33.0, 0.001].localization
        (20, 1.0, 0.33)
    """
    center = propose_settings(curvature, nbeta, dynamic_range).step_size
    cells = {}
    for factor in NBETA_FACTORS:
        row = nbeta if factor == 1 else two_digits(factor * nbeta)
        pull = two_digits(propose_settings(curvature, row, dynamic_range).localization)
        for size in (two_digits(center * f) for f in STEP_FACTORS):
            cells[row, size] = Proposal(size, pull)
    return cells


def two_digits(number: float) -> float:
    """A number that is short to write.

    Examples:
        >>> two_digits(5.9463e-5), two_digits(666.67)
        (5.9e-05, 670.0)
    """
    return float(f"{number:.2g}")


def plain_number(value: float) -> str:
    """A number as short as it can be written, that a shell and Python read.

    Examples:
        >>> plain_number(5.9e-05), plain_number(66.67), plain_number(0.00037)
        ('5.9e-5', '66.67', '3.7e-4')
    """
    text = f"{value:.4g}" if value >= 0.001 else f"{value:.3e}"
    mantissa, sign, exponent = text.partition("e")
    if not sign:
        return text
    return f"{float(mantissa):g}e{int(exponent)}"


# The map -----------------------------------------------------------------------------------------


def judge(chains: Chains) -> Verdict:
    """Whether a cell can be used at a checkpoint.

    Returns:
        `failed` if a chain diverged or single draws spike, as when a step is almost too long;
        `moving` if the halves of the chains differ by more than three standard errors, or if fewer
        draws follow burn-in than flat directions take to relax; else `ok`. Chains this short are
        not asked for many effective draws.

    Examples:
        >>> rising = np.linspace(0.0, 1.0, 200)[None] * np.ones((2, 1))
        >>> blocks = rising[..., None]
        >>> judge(Chains(0, rising, 0 * rising, blocks, 0 * blocks, 10.0, 1e-3, 1.0, burn_in=0))
        'moving'
    """
    diagnosis = diagnose(chains)
    if diagnosis.failed or spike_reasons(kept_draws(chains)):
        return "failed"
    short = chains.losses.shape[1] - chains.burn_in < chains.relaxation
    return "moving" if short or abs(diagnosis.drift) > DRIFT_LIMIT else "ok"


def find_plateau(
    llc: Float[np.ndarray, "step step_size"],
    stderr: Float[np.ndarray, "step step_size"],
    good: Bool[np.ndarray, " step_size"],
) -> Bool[np.ndarray, " step_size"]:
    """Neighbouring step sizes between which λ̂ does not depend on ε, at any checkpoint.

    Any two of them agree at every checkpoint: their λ̂ differ by no more than two standard errors
    of the difference, or by no more than a tenth of the larger one. Agreement out of ignorance does
    not count: a standard error must be below a fifth of the largest λ̂ among them.

    Args:
        llc: λ̂ at one nβ, for each checkpoint and ε.
        stderr: Their standard errors.
        good: Which ε are good at every checkpoint.

    Returns:
        The longest such run of at least two step sizes, the one of larger ε if two are as long;
        all False if there is none.

    Examples:
        >>> llc = np.array([[3.0, 8.0, 9.9, 10.0, 14.0]])
        >>> find_plateau(llc, np.full((1, 5), 0.1), np.ones(5, bool)).tolist()
        [False, False, True, True, False]
    """
    difference = np.abs(llc[:, :, None] - llc[:, None, :])
    error = np.hypot(stderr[:, :, None], stderr[:, None, :])
    size = np.maximum(np.abs(llc[:, :, None]), np.abs(llc[:, None, :]))
    agree = (difference <= np.maximum(ERRORS * error, AGREEMENT * size)).all(axis=0)
    known = good & (stderr <= IGNORANCE * np.nanmax(np.abs(llc), initial=0.0)).all(axis=0)
    agree &= known[:, None] & known[None, :]
    runs = [
        (end - start, start)
        for start in range(len(good))
        for end in range(start + 2, len(good) + 1)
        if agree[start:end, start:end].all()
    ]
    length, start = max(runs, default=(0, 0))
    places = np.arange(len(good))
    return (places >= start) & (places < start + length)


def choose_cell(
    plateau: Bool[np.ndarray, "nbeta step_size"],
    failed: Bool[np.ndarray, "nbeta step_size"],
    asked: int,
    proposed: int,
) -> tuple[int, int] | None:
    """Choose one cell for the whole run: the largest ε on the plateau but one.

    So twice the step size would still do. If the nβ asked for has no plateau, the nearest nβ that
    has one is taken, the smaller of two as near. If none has, the cell that the rule proposes is
    taken, or the largest ε below it, such that no chain fails there and with the next larger ε.

    Args:
        plateau: Which cells are on the plateau of their nβ.
        failed: Which cells failed at some checkpoint.
        asked: The row of the nβ asked for.
        proposed: The column of the ε that the rule proposes for it.

    Returns:
        Its row and column; None if chains fail in all of these.

    Examples:
        >>> plateau = np.array([[False, True, True, True, False]])
        >>> failed = np.array([[False, False, False, False, True]])
        >>> choose_cell(plateau, failed, asked=0, proposed=2)
        (0, 2)
    """
    for row in sorted(range(len(plateau)), key=lambda row: (abs(row - asked), row)):
        if plateau[row].any():
            return row, int(np.flatnonzero(plateau[row])[-2])
    for column in range(proposed, -1, -1):
        if not failed[asked, column : column + 2].any():
            return asked, column
    return None


def proposed_cell(
    setup: Setup, nbetas: Float[np.ndarray, " nbeta"], step_sizes: Float[np.ndarray, " step_size"]
) -> tuple[int, int]:
    """Row and column of the cell that the rule proposes, or of the one nearest to it."""
    nbeta, stiffest = setup.asked_nbeta, float(setup.eigenvalues.max())
    step_size = propose_settings(stiffest, nbeta, setup.dynamic_range).step_size
    row, column = (
        int(np.abs(np.log(axis / value)).argmin())
        for axis, value in ((nbetas, nbeta), (step_sizes, step_size))
    )
    return row, column


def conclude(setup: Setup, found: Mapping[Cell, Sequence[Chains]]) -> Calibration:
    """Put the chains of all cells on their grid, find the plateau of each nβ, choose one cell.

    Args:
        setup: What the calibration started from.
        found: For each nβ and ε the chains at each checkpoint: a full grid.

    Returns:
        The map with its conclusion.
    """
    nbetas, sizes = (np.array(sorted(set(axis))) for axis in zip(*found, strict=True))
    grid = [[found[nbeta, size] for size in sizes] for nbeta in nbetas]
    one = grid[0][0]
    shape = (len(one), len(nbetas), len(sizes))
    llc, stderr, verdicts = np.empty(shape), np.empty(shape), np.empty(shape, dtype="<U6")
    for place in np.ndindex(shape):
        chains = grid[place[1]][place[2]][place[0]]
        diagnosis = diagnose(chains)
        llc[place], stderr[place], verdicts[place] = diagnosis.llc, diagnosis.stderr, judge(chains)
    good, failed = (verdicts == "ok").all(axis=0), (verdicts == "failed").any(axis=0)
    plateau = np.stack([find_plateau(llc[:, i], stderr[:, i], good[i]) for i in range(shape[1])])
    asked, proposed = proposed_cell(setup, nbetas, sizes)
    row, column = choose_cell(plateau, failed, asked, proposed) or (None, None)
    known = [[cell[0].relaxation for cell in row_cells] for row_cells in grid]
    return Calibration(
        **vars(setup),
        steps=np.array([chains.step for chains in one]),
        nbetas=nbetas,
        step_sizes=sizes,
        localizations=np.array([cells[0][0].localization for cells in grid]),
        llc=llc,
        stderr=stderr,
        verdicts=verdicts,
        relaxations=np.array(known, dtype=float),
        chains=len(one[0].losses),
        draws=one[0].losses.shape[1],
        plateau=plateau,
        row=row,
        column=column,
    )


# In words ----------------------------------------------------------------------------------------


def recommended_settings(calibration: Calibration) -> dict[str, object]:
    """The settings of the sampler to use from now on, by their names.

    Burn-in covers one relaxation of a flat direction, in which what it adds to the loss relaxes
    twice, and three times that follows, at least 300 draws; both in whole blocks of 50.

    Raises:
        ValueError: No cell is recommended.
    """
    row, column = calibration.row, calibration.column
    if row is None or column is None:
        raise ValueError("no settings are recommended: " + explain(calibration))
    burn_in = 50 * math.ceil(max(calibration.relaxations[row, column], 100) / 50)
    momentum = {"momentum": calibration.momentum} if calibration.method == "underdamped" else {}
    return {
        "method": calibration.method,
        **momentum,
        "step_size": float(calibration.step_sizes[column]),
        "nbeta": float(calibration.nbetas[row]),
        "localization": float(calibration.localizations[row]),
        "draws": 4 * burn_in,
        "burn_in": burn_in,
        "batch_size": calibration.batch_size,
    }


def explain(calibration: Calibration) -> str:
    """Why a cell is recommended, in words.

    Returns:
        Sentences: which nβ and why, the plateau, what lies below and above it.
    """
    row, column = calibration.row, calibration.column
    if row is None or column is None:
        return (
            "Chains fail with the step size that the rule proposes, and with all smaller ones. Ask "
            "for a smaller nβ."
        )
    asked = plain_number(calibration.asked_nbeta)
    nbeta, size = (
        plain_number(calibration.nbetas[row]),
        plain_number(calibration.step_sizes[column]),
    )
    if not calibration.plateau[row, column]:
        return (
            "At no nβ do two step sizes agree at every checkpoint, so nothing confirms these "
            f"settings: ε = {size} at nβ = {nbeta} is what the rule proposes, or the largest step "
            "size below it with which no chain fails. Ask for longer chains, larger minibatches or "
            "a smaller dynamic range."
        )
    other = (
        f"At nβ = {asked}, which was asked for, no two step sizes agree at every checkpoint; with "
        f"longer chains or larger minibatches they may. nβ = {nbeta} is the nearest at which some "
        "do."
    )
    first, *_, last = np.flatnonzero(calibration.plateau[row]).tolist()
    low, high = (plain_number(calibration.step_sizes[i]) for i in (first, last))
    return " ".join(
        [
            *([other] if nbeta != asked else []),
            f"At nβ = {nbeta} the estimates at every checkpoint are the same from ε = {low} to "
            f"{high}: the step size does not matter there.",
            *_beyond(calibration, (row, column), first - 1),
            *_beyond(calibration, (row, column), last + 1),
            f"ε = {size} is the largest of them but one, so that there is room above it.",
        ]
    )


def _beyond(calibration: Calibration, chosen: tuple[int, int], column: int) -> list[str]:
    """What is wrong with the cell beside the plateau, if there is one."""
    if not 0 <= column < len(calibration.step_sizes):
        return []
    row = chosen[0]
    verdicts = calibration.verdicts[:, row, column].tolist()
    size = f"At ε = {plain_number(calibration.step_sizes[column])} "
    for verdict, seen in (("failed", "chains fail"), ("moving", "chains have not arrived")):
        if verdict in verdicts:
            return [f"{size}{seen} at step {calibration.steps[verdicts.index(verdict)]:,}."]
    here, there = calibration.llc[:, row, column], calibration.llc[:, row, chosen[1]]
    error = np.hypot(calibration.stderr[:, row, column], calibration.stderr[:, row, chosen[1]])
    worst = int(np.argmax(np.abs(here - there) / error))
    why = "too slow" if column < chosen[1] else "too hot"
    return [
        f"{size}the estimate at step {calibration.steps[worst]:,} is {here[worst]:.3g}, not "
        f"{there[worst]:.3g}: the chains are {why}."
    ]
