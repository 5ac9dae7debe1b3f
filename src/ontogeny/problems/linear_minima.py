"""Minima of deep linear networks, chosen by their ranks, and their learning coefficients.

How degenerate a minimum is depends on which of them it is: the coefficients here say at which point
they hold, and `minimum` gives it. The network and its loss are `ontogeny.problems.linear`.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor


class LearningCoefficient(NamedTuple):
    """A learning coefficient λ and its multiplicity m: F(n) = nL(w*) + λ ln n − (m − 1) ln ln n."""

    value: float
    multiplicity: int


def minimum(
    widths: Sequence[int], rank: int, ranks: Sequence[int] | None = None
) -> dict[str, Tensor]:
    r"""The weights at a chosen minimum for the teacher of that many ones.

    By default the most degenerate one, where every layer is $\begin{pmatrix} I_r & 0 \\ 0 & 0
    \end{pmatrix}$. Layers of higher rank are ones elsewhere, too, such that no two layers in a row
    meet there: their product does not change.

    Args:
        widths: Inputs, hidden units of each layer, outputs.
        rank: r, that of the teacher.
        ranks: That of each layer, from the first on; r for all of them by default.

    Returns:
        The state dict, for `deep_linear(widths, [1.0] * rank)`.

    Raises:
        ValueError: There are no layers of such shapes and ranks with such a product.

    Examples:
        A second layer that ignores what the first one says:

        >>> minimum([2, 3, 2], rank=1, ranks=[2, 1])["layers.0"].tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
        >>> minimum([2, 3, 2], rank=1, ranks=[2, 1])["layers.1"].tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    check_widths(widths, rank)
    ranks = [rank] * (len(widths) - 1) if ranks is None else ranks
    if len(ranks) != len(widths) - 1 or min(ranks) < rank:
        raise ValueError(f"{len(widths) - 1} layers with a product of rank {rank}: not {ranks}")
    state, taken = {}, 0  # how many of a layer's inputs the one before it writes to in vain
    for i, ((into, out), its_rank) in enumerate(zip(pairwise(widths), ranks, strict=True)):
        spare = its_rank - rank
        if rank + taken + spare > into or its_rank > out:
            raise ValueError(f"layers of widths {list(widths)} cannot have ranks {list(ranks)}")
        layer = torch.zeros(out, into, dtype=torch.float64)
        layer[:rank, :rank] = torch.eye(rank)
        layer[rank : rank + spare, rank + taken : rank + taken + spare] = torch.eye(spare)
        state[f"layers.{i}"] = layer
        taken = spare
    return state


def linear_learning_coefficient(widths: Sequence[int], rank: int) -> LearningCoefficient:
    r"""The learning coefficient λ of `deep_linear` at its most degenerate minimum, exactly.

    With $M_i$ the widths less the rank r, S the smallest set of ℓ + 1 of them whose sum is
    at least ℓ times its largest and less than ℓ times the smallest of the rest, and
    $a = \sum S - \ell\,(\lceil \sum S / \ell \rceil - 1)$,

    $$\lambda = \frac{r (d_\mathrm{in} + d_\mathrm{out}) - r^2}{2} + \frac{a (\ell - a)}{4 \ell}
    - \frac{\ell (\ell - 1)}{4} \Bigl(\frac{\sum S}{\ell}\Bigr)^2
    + \frac12 \sum_{i < j \in S} M_i M_j, \qquad m = a (\ell - a) + 1.$$

    It is the smallest among the teacher's minima, and so the one that matters as n grows.

    Args:
        widths: Inputs, hidden units of each layer, outputs.
        rank: r, that of the teacher.

    Raises:
        ValueError: A network of these widths cannot have that rank.

    Examples:
        >>> linear_learning_coefficient([5, 3, 5], rank=0)
        LearningCoefficient(value=6.5, multiplicity=2)
        >>> linear_learning_coefficient([4, 8, 8, 4], rank=2)
        LearningCoefficient(value=8.0, multiplicity=1)

    References:
        M. Aoyagi, "Consideration on the learning efficiency of multiple-layered neural networks
        with linear units" (Neural Networks, 2024); for two layers, M. Aoyagi and S. Watanabe,
        "Stochastic complexities of reduced rank regression in Bayesian estimation" (2005).
    """
    check_widths(widths, rank)
    if min(widths) < rank:
        raise ValueError(f"a network of widths {list(widths)} cannot have rank {rank}")
    chosen = narrowest([width - rank for width in widths])
    total, ell = sum(chosen), len(chosen) - 1
    a = total - ell * (math.ceil(total / ell) - 1)
    regular = rank * (widths[0] + widths[-1]) - rank**2
    # Over one denominator, so that it is exact.
    value = ell * (2 * regular - sum(m * m for m in chosen)) + total**2 + a * (ell - a)
    return LearningCoefficient(value / (4 * ell), a * (ell - a) + 1)


def narrowest(spare_widths: Sequence[int]) -> list[int]:
    """The layers that decide: the set S of `linear_learning_coefficient`."""
    widths = sorted(spare_widths)
    for ell in range(1, len(widths)):
        chosen, rest = widths[: ell + 1], widths[ell + 1 :]
        if sum(chosen) >= ell * chosen[-1] and all(sum(chosen) < ell * one for one in rest[:1]):
            return chosen
    raise ValueError(f"no set of layers decides among {spare_widths}")


def local_learning_coefficient(
    widths: Sequence[int], rank: int, ranks: Sequence[int]
) -> LearningCoefficient:
    r"""The learning coefficient of two linear layers at any of their minima: a candidate.

    At a minimum with first layer of rank a, second of rank b and product of rank r,
    from N inputs by H hidden units to M outputs,

    $$\lambda = \tfrac12 \Bigl(Ma + Nb - ab + \min_{0 \le t \le \min(h, n)}
    \bigl[(h - t)(n - t) + tp\bigr]\Bigr), \qquad
    p = M - b,\; n = N - a,\; h = H - a - b + r,$$

    and the multiplicity is the number of t that attain it. With a = b = r it is the proven
    `linear_learning_coefficient`; for other ranks it is a lemma proposed in 2026 and not refereed.

    Args:
        widths: N, H and M.
        rank: r, that of the teacher.
        ranks: a and b.

    Raises:
        ValueError: There is no such minimum.

    Examples:
        Where the first layer is zero too, and where it has full rank:

        >>> local_learning_coefficient([5, 3, 5], rank=0, ranks=[0, 0])
        LearningCoefficient(value=6.5, multiplicity=2)
        >>> local_learning_coefficient([5, 3, 5], rank=0, ranks=[3, 0])
        LearningCoefficient(value=7.5, multiplicity=1)
    """
    if len(widths) != 3:
        raise ValueError(f"known for two layers only, not for {len(widths) - 1}")
    minimum(widths, rank, ranks)  # or there is none
    (n_in, hidden, n_out), (a, b) = widths, ranks
    p, n, h = n_out - b, n_in - a, hidden - a - b + rank
    spare = [(h - t) * (n - t) + t * p for t in range(min(h, n) + 1)]
    least = min(spare)
    return LearningCoefficient((n_out * a + n_in * b - a * b + least) / 2, spare.count(least))


def check_widths(widths: Sequence[int], rank: int) -> None:
    """Whether there is such a network with a minimum of such a rank."""
    if len(widths) < 2 or not all(isinstance(one, Integral) and one > 0 for one in widths):
        raise ValueError(
            f"a network needs two widths or more, positive whole numbers, not {list(widths)}"
        )
    if not isinstance(rank, Integral):
        raise ValueError(f"a rank is a whole number, not {rank}")
    if not 0 <= rank <= min(widths[0], widths[-1]):
        raise ValueError(f"a teacher from {widths[0]} to {widths[-1]} cannot have rank {rank}")
