"""Can the estimate at a checkpoint be believed? What was seen, and what to try."""

from typing import Literal

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Bool, Float

from ontogeny.analysis.llc import (
    estimate_llc,
    failed_chains,
    failures,
    is_lost,
    kept_draws,
    mean_stderr,
)
from ontogeny.records import Chains, Diagnosis

RHAT_LIMIT = 1.05
ESS_LIMIT = 25  # effective draws for each chain: the mean is then known to a fifth of the spread
DRIFT_LIMIT = 3.0  # standard errors between the halves of the chains
SIGNAL_LIMIT = 2.0  # standard errors from zero
SPIKE_LIMIT = 10.0  # times as far above the median as the 95th percentile: 16 sigma if normal


def diagnose(chains: Chains, burn_in: int | None = None) -> Diagnosis:
    """Judge the estimate of the local learning coefficient at one checkpoint.

    It is suspect if split R-hat exceeds 1.05, or nested R-hat between groups of chains does, if
    there are fewer than 25 effective draws for each chain, or fewer draws after burn-in than flat
    directions take to relax, if R-hat or the effective draws are nan (too few draws, or draws that
    never change), if the first and the second half of the chains differ by more than three
    standard errors, if a draw lies more than ten times as far above the median as the 95th
    percentile does, if the estimate is within two standard errors of zero or negative by more, if
    the precision that was asked for was not reached, or if any chain failed.

    Split R-hat is optimistic where all chains start at the checkpoint: they agree because they have
    not left it. So there is the drift between the halves; and chains in groups with starts of their
    own, if the sampler was asked for them, are compared by nested R-hat.

    Args:
        chains: The chains at one checkpoint.
        burn_in: How many draws of each chain to leave out; by default what the settings said.

    Returns:
        The estimate and its verdict, with reasons in words. R-hat and the effective number of
        draws are of the excess over the checkpoint's loss, nan for fewer than four draws and for an
        excess that never changes; both are blind to what is small beside the minibatch noise, the
        drift is not.

    Raises:
        ValueError: Burn-in leaves no draw.

    Examples:
        >>> losses = np.random.default_rng(0).normal(1.3, 0.1, (4, 200))
        >>> ones, blocks = np.ones_like(losses), losses[..., None]
        >>> one = Chains(0, losses, ones, blocks, 0 * blocks, 10.0, 1e-3, 1.0, burn_in=0)
        >>> diagnose(one).verdict, diagnose(one).reasons
        ('ok', ())
    """
    llc = estimate_llc([chains], burn_in)
    value, stderr = float(llc.values[0, 0]), float(llc.stderr[0, 0])
    failed = failed_chains(chains)
    draws = kept_draws(chains, burn_in)[~failed]
    kept = chains.losses.shape[1] - (chains.burn_in if burn_in is None else burn_in)
    rhat, ess, drift = split_rhat(draws), effective_draws(draws), drift_of(draws)
    nested = nested_rhat(chains, burn_in)
    reasons = tuple(
        [f"{seen}; {failure_advice(chains)}" for seen in failures(chains)]
        + mixing_reasons(rhat, ess, len(draws))
        + length_reasons(kept, chains.relaxation if len(draws) else np.nan)
        + group_reasons(nested)
        + drift_reasons(drift)
        + spike_reasons(draws)
        + signal_reasons(value, stderr)
        + precision_reasons(value, stderr, chains)
    )
    verdict: Literal["ok", "suspect", "failed"] = "suspect" if reasons else "ok"
    return Diagnosis(
        step=chains.step,
        llc=value,
        stderr=stderr,
        rhat=rhat,
        ess=ess,
        chains=len(chains.losses),
        failed=tuple(int(i) for i in np.flatnonzero(failed)),
        verdict="failed" if failed.all() else verdict,
        reasons=reasons,
        draws=chains.losses.shape[1],
        relaxation=chains.relaxation,
        drift=drift,
        nested_rhat=nested,
        below=float((draws < 0).mean()) if draws.size else np.nan,
        distance=mean_of(chains.distances, ~failed, last=True),
        drift_ratio=mean_of(chains.drift_ratios, ~failed),
        acceptance=mean_of(chains.acceptances, ~failed),
    )


def is_precise(chains: Chains, precision: float) -> bool:
    """Whether nothing is gained by longer chains: the estimate is known well enough, or lost.

    Args:
        chains: The chains at one checkpoint.
        precision: The standard error that is wanted, as a share of the estimate.

    Returns:
        True if the standard error is that small, the chains do not drift and are longer than flat
        directions take to relax, or if all failed.
    """
    failed = failed_chains(chains)
    if failed.all():
        return True
    if length_reasons(chains.losses.shape[1] - chains.burn_in, chains.relaxation):
        return False
    draws = kept_draws(chains)[~failed]
    error, value = mean_stderr(draws), abs(float(draws.mean()))
    return error <= precision * value and abs(drift_of(draws)) <= DRIFT_LIMIT


def mean_of(
    values: Float[np.ndarray, "chain block"] | None,
    good: Bool[np.ndarray, " chain"],
    last: bool = False,
) -> float:
    """The mean over the good chains and their blocks, or over their last ones; nan of nothing."""
    if values is None or not good.any():
        return np.nan
    return float(values[good, -1 if last else 0 :].mean())


def split_rhat(draws: Float[np.ndarray, "chain draw"]) -> float:
    """Split R-hat: the spread of all draws over the spread within halves of chains.

    Near 1 where the halves agree; one chain is enough, for it has two. Of plain values, not ranks,
    because the estimate is a mean. nan for fewer than four draws or draws that never change.

    Examples:
        >>> bool(split_rhat(np.linspace(0.0, 1.0, 100)[None]) > 1.5)  # it only rises
        True
    """
    half = draws.shape[1] // 2
    if not len(draws) or half < 2 or np.ptp(draws) == 0:
        return float("nan")
    halves = np.concatenate([draws[:, :half], draws[:, -half:]])
    if not halves.var(axis=1).any():
        return float("inf")
    return float(array_stats.rhat(halves, method="identity"))


def effective_draws(draws: Float[np.ndarray, "chain draw"]) -> float:
    """How many independent draws would know the mean as well, at most the number there are."""
    if not len(draws) or draws.shape[1] < 4 or np.ptp(draws) == 0:
        return float("nan")
    ess = array_stats.ess(draws, method="mean")
    return float(min(ess, draws.size))


def drift_of(draws: Float[np.ndarray, "chain draw"]) -> float:
    """How far the second half of the draws is above the first, in standard errors of that.

    nan for fewer than four draws; where both halves never change, 0 if they are equal.
    """
    half = draws.shape[1] // 2
    if not len(draws) or half < 2:
        return float("nan")
    first, second = draws[:, :half], draws[:, -half:]
    change = float(second.mean() - first.mean())
    error = float(np.hypot(mean_stderr(first), mean_stderr(second)))
    with np.errstate(divide="ignore"):
        return float(np.divide(change, error)) if change else 0.0


def nested_rhat(chains: Chains, burn_in: int | None = None) -> float:
    """Nested R-hat: whether groups of chains that started apart agree; nan if there is one group.

    It is near 1 when the spread of the means of groups is small beside that within groups, infinite
    where nothing varies within them, nan where nothing varies at all. A group with a failed chain
    is left out.

    References:
        C. C. Margossian et al., "Nested R-hat: assessing the convergence of Markov chain Monte
        Carlo when running many short chains" (Bayesian Analysis, 2024).
    """
    members = len(chains.losses) // chains.groups
    whole = ~failed_chains(chains).reshape(chains.groups, members).any(axis=1)
    if chains.groups == 1 or whole.sum() < 2:
        return float("nan")
    good = np.repeat(whole, members)
    groups = np.repeat(np.arange(whole.sum()), members)
    draws = kept_draws(chains, burn_in)[good]
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(array_stats.rhat_nested(draws, groups, method="identity"))


# Reasons, in words -------------------------------------------------------------------------------


def failure_advice(chains: Chains) -> str:
    """What to do about chains that failed."""
    if is_lost(chains):
        return "training diverged before it: leave it out"
    return "lower step_size or nbeta"


def mixing_reasons(rhat: float, ess: float, chains: int) -> list[str]:
    """What R-hat and the effective number of draws say against the estimate."""
    reasons = []
    if chains and (np.isnan(rhat) or np.isnan(ess)):
        reasons.append("too few draws, or draws that never change, to see whether the chains mix")
    if rhat > RHAT_LIMIT:
        reasons.append(
            f"the chains do not agree (R-hat {rhat:.2f}); "
            "try more draws, a longer burn-in or a stronger localization"
        )
    if ess < ESS_LIMIT * chains:
        reasons.append(
            f"only {ess:.0f} effective draws, fewer than {ESS_LIMIT} for each chain; "
            "try more draws or a larger step_size"
        )
    return reasons


def length_reasons(draws: int, relaxation: float) -> list[str]:
    """Whether chains are so short that they may agree because none has moved in flat directions.

    Without localization nothing is said: where the loss bounds every direction, none is flat.
    """
    if not draws < relaxation < np.inf:
        return []
    return [
        f"{draws:,} draws after burn-in, and flat directions need {relaxation:,.0f} to relax; "
        "try more draws or a stronger localization"
    ]


def group_reasons(nested: float) -> list[str]:
    """Whether groups of chains that started apart disagree."""
    if not nested > RHAT_LIMIT:
        return []
    return [
        f"groups of chains that started apart do not agree (nested R-hat {nested:.2f}); "
        "try more draws, a longer burn-in or a stronger localization"
    ]


def drift_reasons(drift: float) -> list[str]:
    """Whether the loss is still on its way: first half of the chains against the second."""
    if not abs(drift) > DRIFT_LIMIT:
        return []
    seen, advice = "is still climbing", "a longer burn-in"
    if drift < 0:
        seen, advice = "still falls", "a stronger localization or a lower nbeta"
    return [
        f"the loss {seen}: the halves of the chains differ by more than {DRIFT_LIMIT:.0f} "
        f"standard errors; try {advice}"
    ]


def spike_reasons(draws: Float[np.ndarray, "chain draw"]) -> list[str]:
    """Whether single draws stand far above all others, as when a step is almost too long."""
    if not draws.size:
        return []
    median, usual = np.quantile(draws, [0.5, 0.95])
    spikes = int((draws - median > SPIKE_LIMIT * (usual - median)).sum())
    if not spikes or usual == median:
        return []
    return [f"the loss spikes in {spikes} draws, up to {draws.max():.3g}; lower step_size or nbeta"]


def signal_reasons(llc: float, stderr: float) -> list[str]:
    """Whether the estimate is negative, or lost in its own error."""
    if llc < -SIGNAL_LIMIT * stderr:
        return [
            f"negative by more than {SIGNAL_LIMIT:.0f} standard errors: not a minimum at this "
            "resolution; try a stronger localization, or read it as far from equilibrium"
        ]
    if abs(llc) <= SIGNAL_LIMIT * stderr and stderr > 0:
        return [
            f"the signal is below the noise: {llc:.2g} with a standard error of {stderr:.2g}; try "
            "more draws or chains, or a larger nbeta"
        ]
    return []


def precision_reasons(llc: float, stderr: float, chains: Chains) -> list[str]:
    """Whether the draws ended before the estimate was as precise as asked."""
    if not stderr > chains.precision * abs(llc) > 0:
        return []
    return [
        f"asked for a standard error of {chains.precision:.2g} of the estimate, reached "
        f"{stderr / abs(llc):.2g} in {chains.losses.shape[1]:,} draws; allow more draws"
    ]
