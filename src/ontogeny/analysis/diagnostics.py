"""Can the estimate at a checkpoint be believed? What was seen, and what to try."""

from typing import Literal

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Float

from ontogeny.analysis.llc import estimate_llc, failed_chains, failures, kept_draws, mean_stderr
from ontogeny.records import Chains, Diagnosis

RHAT_LIMIT = 1.05
ESS_LIMIT = 25  # effective draws for each chain: the mean is then known to a fifth of the spread
DRIFT_LIMIT = 3.0  # standard errors between the halves of the chains
NEGATIVE_LIMIT = 2.0  # standard errors below zero
SPIKE_LIMIT = 10.0  # times as far above the median as the 95th percentile: 16 sigma if normal


def diagnose(chains: Chains, burn_in: int | None = None) -> Diagnosis:
    """Judge the estimate of the local learning coefficient at one checkpoint.

    It is suspect if split R-hat exceeds 1.05, if there are fewer than 25 effective draws for each
    chain, if either is nan (too few draws, or draws that never change), if the first and the
    second half of the chains differ by more than three standard errors, if a draw lies more than
    ten times as far above the median as the 95th percentile does, if the estimate is negative by
    more than two standard errors, or if any chain failed.

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
    rhat, ess = split_rhat(draws), effective_draws(draws)
    reasons = tuple(
        [f"{seen}; lower step_size or nbeta" for seen in failures(chains)]
        + mixing_reasons(rhat, ess, len(draws))
        + drift_reasons(draws)
        + spike_reasons(draws)
        + negative_reasons(value, stderr)
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
    )


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


# Reasons, in words -------------------------------------------------------------------------------


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


def drift_reasons(draws: Float[np.ndarray, "chain draw"]) -> list[str]:
    """Whether the loss is still on its way: first half of the chains against the second."""
    half = draws.shape[1] // 2
    if not len(draws) or half < 2:
        return []
    first, second = draws[:, :half], draws[:, -half:]
    change = float(second.mean() - first.mean())
    error = float(np.hypot(mean_stderr(first), mean_stderr(second)))
    if abs(change) <= DRIFT_LIMIT * error:
        return []
    advice = "a longer burn-in" if change > 0 else "a stronger localization or a lower nbeta"
    return [
        f"the loss still {'rises' if change > 0 else 'falls'} between the halves of the chains "
        f"by more than {DRIFT_LIMIT:.0f} standard errors; try {advice}"
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


def negative_reasons(llc: float, stderr: float) -> list[str]:
    """Whether the chains found lower losses than that of the checkpoint."""
    if not llc < -NEGATIVE_LIMIT * stderr:
        return []
    return [
        f"negative by more than {NEGATIVE_LIMIT:.0f} standard errors: not a minimum at this "
        "resolution; try a stronger localization, or read it as far from equilibrium"
    ]
