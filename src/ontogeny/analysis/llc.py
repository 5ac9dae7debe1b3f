r"""The local learning coefficient, with its error, from the losses along the chains.

The estimate at a checkpoint w* is $\hat\lambda = n\beta\,(\mathbb{E}[L(w)] - L(w^*))$: the mean is
over the draws after burn-in of the chains that did not fail, and L(w*) over the minibatches of some
of these draws: what they have in common drops out, and the error of L(w*) is part of every chain's
own.
"""

from collections.abc import Sequence

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Bool, Float

from ontogeny.records import Chains, Curve


def estimate_llc(chains: Sequence[Chains], burn_in: int | None = None) -> Curve:
    r"""The local learning coefficient at each checkpoint.

    $\hat\lambda = n\beta\, \overline{L(w) - L(w^*)}$, the mean of the excess of the loss over that
    of the checkpoint, as `excess` pairs them.

    Args:
        chains: One record for each checkpoint, in any order, all with the same settings.
        burn_in: How many draws of each chain to leave out; by default what the settings said.

    Returns:
        The curve `llc`, with the estimate of each chain. A failed chain is nan, is left out of the
        value and is named in a warning; where every chain failed the value is nan. The standard
        error is that of `mean_stderr`, the error of L(w*) included, and nan where fewer than two
        draws are left.

    Raises:
        ValueError: There are no chains, two are of one checkpoint, their settings differ, or
            burn-in leaves no draw.

    Examples:
        >>> losses, ones = np.array([[1.0, 1.2, 1.4, 1.2, 1.4]]), np.ones((1, 5))
        >>> blocks, ones_too = losses[..., None], ones[..., None]
        >>> one = Chains(0, losses, ones, blocks, ones_too, 10.0, 1e-3, 1.0, burn_in=1)
        >>> estimate_llc([one]).values.round(6).tolist()
        [[3.0]]

    References:
        E. Lau et al., "The local learning coefficient: a singularity-aware complexity measure"
        (AISTATS 2025), definition 2.
    """
    chains, warnings = checked(chains)
    values, stderrs, by_chain = [], [], []
    for one in chains:
        draws, good = kept_draws(one, burn_in), ~failed_chains(one)
        means = np.where(good, draws.mean(axis=1), np.nan)
        by_chain.append(one.nbeta * means)
        values.append(one.nbeta * means[good].mean() if good.any() else np.nan)
        stderrs.append(one.nbeta * mean_stderr(draws[good]))
    return Curve(
        name="llc",
        unit="",
        steps=np.array([one.step for one in chains]),
        values=np.array(values)[:, None],
        stderr=np.array(stderrs)[:, None],
        chains=np.stack(by_chain),
        warnings=warnings,
    )


def llc_by_position(chains: Sequence[Chains], burn_in: int | None = None) -> Curve:
    """The local learning coefficient of the loss at each position.

    The chains follow the mean loss; only what is averaged along them is the loss at one position.
    So the mean over positions is the local learning coefficient itself.

    Args:
        chains: One record for each checkpoint, in any order, all with the same settings.
        burn_in: How many draws of each chain to leave out, rounded up to a whole number of the
            blocks in which the losses by position are kept; by default what the settings said.

    Returns:
        The curve `llc_by_position`, its items the positions, counted from 1; failed chains are
        treated as in `estimate_llc`.

    Raises:
        ValueError: As for `estimate_llc`.

    Examples:
        >>> blocks = np.array([[[1.0, 3.0], [1.0, 5.0]]])
        >>> losses = blocks.mean(axis=2)
        >>> one = Chains(0, losses, 0 * losses, blocks, 0 * blocks, 10.0, 1e-3, 1.0, burn_in=0)
        >>> llc_by_position([one]).values.tolist(), estimate_llc([one]).values.tolist()
        ([[10.0, 40.0]], [[25.0]])
    """
    chains, warnings = checked(chains)
    values, stderrs = [], []
    for one in chains:
        blocks = kept_blocks(one, burn_in)[~failed_chains(one)]
        means = blocks.mean(axis=(0, 1)) if len(blocks) else np.full(blocks.shape[2], np.nan)
        errors = [mean_stderr(position) for position in np.moveaxis(blocks, 2, 0)]
        values.append(one.nbeta * means)
        stderrs.append(one.nbeta * np.array(errors))
    return Curve(
        name="llc_by_position",
        unit="",
        steps=np.array([one.step for one in chains]),
        values=np.stack(values),
        stderr=np.stack(stderrs),
        items=tuple(str(position) for position in range(1, len(values[0]) + 1)),
        warnings=warnings,
    )


def initial_loss(chains: Sequence[Chains]) -> Curve:
    """The loss L(w*) of the checkpoints themselves, over all minibatches that the chains saw.

    Args:
        chains: One record for each checkpoint, in any order, all with the same settings.

    Returns:
        The curve `initial_loss`; the standard error is that of a mean over independent
        minibatches, common to all checkpoints because they share them.

    Raises:
        ValueError: As for `estimate_llc`.
    """
    chains, warnings = checked(chains)
    draws = [one.initial_losses[~failed_chains(one)].ravel() for one in chains]
    values = [losses.mean() if len(losses) else np.nan for losses in draws]
    stderrs = [
        losses.std(ddof=1) / len(losses) ** 0.5 if len(losses) > 1 else np.nan for losses in draws
    ]
    return Curve(
        name="initial_loss",
        unit="",
        steps=np.array([one.step for one in chains]),
        values=np.array(values)[:, None],
        stderr=np.array(stderrs)[:, None],
        warnings=warnings,
    )


def mean_stderr(draws: Float[np.ndarray, "chain draw"]) -> float:
    """An honest standard error of the mean over chains of correlated draws.

    The largest of several estimates, because each of them misses something. The effective number
    of draws (Vehtari et al. 2021) misses a slow drift that is buried in minibatch noise. The spread
    of means over pieces of the chains (single draws, fifths, halves, whole chains) misses what is
    slower than the piece, and with few pieces it is often small by chance. A maximum of estimates
    errs on the large side.

    Args:
        draws: Draws after burn-in, of the chains that did not fail.

    Returns:
        The standard error, nan from fewer than two draws in all. Where chains are shorter than
        their own correlation time and there are only one or two, no estimate can be honest.

    Examples:
        Chains that disagree: the error is that of two numbers, not of eight.

        >>> round(mean_stderr(np.array([[0.0, 0.1, 0.0, 0.1], [1.0, 1.1, 1.0, 1.1]])), 3)
        0.5
    """
    chains, length = draws.shape
    errors = []
    for pieces in {1, 2, 5, length}:
        size = length // max(pieces, 1)
        if size and chains * pieces > 1:
            means = draws[:, length - size * pieces :].reshape(chains * pieces, size).mean(axis=1)
            errors.append(means.std(ddof=1) / np.sqrt(len(means)))
    if chains and length >= 4:  # the least that ArviZ takes
        errors.append(array_stats.mcse(draws))
    return float(max(errors, default=np.nan))


# Which draws count -------------------------------------------------------------------------------


def failed_chains(chains: Chains) -> Bool[np.ndarray, " chain"]:
    """Which chains diverged, even if only during burn-in.

    A chain failed if a loss is not finite, or if its own estimate exceeds the number of weights by
    more than five times what the minibatches' noise explains: a learning coefficient is at most
    half of it.
    """
    rise = paired_losses(chains).mean(axis=1) - chains.initial_losses.mean(axis=1)
    noise = chains.initial_losses.std(axis=1) / chains.initial_losses.shape[1] ** 0.5
    most = np.inf if chains.parameters is None else chains.parameters
    with np.errstate(invalid="ignore"):
        beyond = chains.nbeta * (rise - 5 * noise) > most
    return np.asarray(~np.isfinite(chains.losses).all(axis=1) | beyond)


def is_lost(chains: Chains) -> bool:
    """Whether the checkpoint has no finite loss, so that no chain can start there."""
    return not np.isfinite(chains.losses[:, 0]).any()


def paired_losses(chains: Chains) -> Float[np.ndarray, "chain pair"]:
    """The losses of the draws that are paired with the checkpoint's."""
    found: np.ndarray = chains.losses[
        :, :: chains.losses.shape[1] // chains.initial_losses.shape[1]
    ]
    return found


def kept_draws(chains: Chains, burn_in: int | None = None) -> Float[np.ndarray, "chain pair"]:
    """The excess L(w) − L(w*) after burn-in, one for each pair, failed chains included.

    Raises:
        ValueError: Burn-in leaves no pair, or is negative.
    """
    first = chains.burn_in if burn_in is None else burn_in
    (draws, pairs) = (chains.losses.shape[1], chains.initial_losses.shape[1])
    left = -(-first * pairs // draws)
    if first < 0 or left >= pairs:
        raise ValueError(f"burn_in ({first}) must leave some of the {draws} draws")
    return excess(chains)[:, left:]


def excess(chains: Chains) -> Float[np.ndarray, "chain pair"]:
    r"""The excess L(w) − L(w*) of a draw that is paired and the draws up to the next pair.

    $(L(w_0) - L(w^*)) + c\, (\overline{L(w_i)} - L(w_0))$: a paired difference is free of what is
    hard or easy about its minibatch, the mean over all draws knows more of the walk. Where chains
    have settled, any c that does not depend on these losses has the right mean; `walk_shares` are
    those that make the error small.
    """
    paired = paired_losses(chains)
    draws = chains.losses.reshape(*paired.shape, -1)
    rest = draws.mean(axis=2) - paired
    found: np.ndarray = paired - chains.initial_losses + walk_shares(chains)[:, None] * rest
    return found


def walk_shares(chains: Chains) -> Float[np.ndarray, " chain"]:
    """The share of the walk in the variance between the draws of a pair, for each chain.

    1 where all minibatches are alike, near 0 where their noise, which is that of the checkpoint's
    losses, is most of what is seen. It is taken from the other chains, lest a high draw raise its
    own weight; a chain without others has 0 unless there is no noise.
    """
    draws = chains.losses.reshape(*chains.initial_losses.shape, -1)
    count, noises = len(draws), chains.initial_losses.var(axis=1)
    if draws.shape[2] < 2:
        return np.ones(count)  # every draw is paired
    with np.errstate(over="ignore"):  # in chains that diverged
        walks = draws.var(axis=2, ddof=1).mean(axis=1)
    good, shares = ~failed_chains(chains), np.zeros(count)
    for i in range(count):
        others = good & (np.arange(count) != i)
        walk = walks[others].mean() if others.any() else 0.0
        shares[i] = np.clip(1 - noises[others].mean() / walk, 0, 1) if walk else noises[i] == 0
    return shares


def kept_blocks(
    chains: Chains, burn_in: int | None = None
) -> Float[np.ndarray, "chain block position"]:
    """The block means of the excess by position in which no draw belongs to burn-in.

    Raises:
        ValueError: There is no such block, or burn-in is negative.
    """
    draws, blocks = chains.losses.shape[1], chains.position_losses.shape[1]
    first = chains.burn_in if burn_in is None else burn_in
    block = -(-first * blocks // draws)
    if block >= blocks or first < 0:
        raise ValueError(f"burn_in ({first}) leaves no whole block of {draws // blocks} draws")
    paired = chains.paired_position_losses
    paired = chains.position_losses if paired is None else paired
    rest = chains.position_losses - paired
    found: np.ndarray = (
        paired - chains.initial_position_losses + walk_shares(chains)[:, None, None] * rest
    )
    return found[:, block:]


def checked(chains: Sequence[Chains]) -> tuple[list[Chains], tuple[str, ...]]:
    """The chains in the order of their steps, and what a reader should know about them.

    Raises:
        ValueError: There are none, two are of one checkpoint, or their settings differ.
    """
    if not chains:
        raise ValueError("there are no chains to estimate from; sample some first")
    ordered = sorted(chains, key=lambda one: one.step)
    steps = [one.step for one in ordered]
    if len(set(steps)) < len(steps):
        raise ValueError("two of these chains are of the same checkpoint; measure each step once")
    settings = {
        (one.nbeta, one.step_size, one.localization, *one.position_losses.shape[::2])
        for one in ordered
    }
    if len(settings) > 1:
        raise ValueError(
            "chains with different settings do not make one curve; their (nbeta, step size, "
            f"localization, chains, positions) are {sorted(settings)}"
        )
    return ordered, tuple(warning for one in ordered for warning in failures(one))


def failures(chains: Chains) -> list[str]:
    """What to say about the failed chains at one checkpoint: nothing, or one sentence."""
    failed, count = np.flatnonzero(failed_chains(chains)), len(chains.losses)
    if is_lost(chains):
        return [f"step {chains.step}: the loss of the checkpoint itself is not finite"]
    if not len(failed):
        return []
    names = ", ".join(map(str, failed))
    rest = "no estimate is left" if len(failed) == count else "they are left out"
    return [f"step {chains.step}: {len(failed)} of {count} chains failed ({names}); {rest}"]
