r"""Deep linear networks, whose learning coefficient is known.

The network y = W_L ⋯ W₁x learns a teacher T, on inputs uniform in the unit ball and without noise;
with two layers this is reduced-rank regression. The mean over inputs is taken exactly, so the loss
is a function of the weights alone,

$$L(w) = c\,\lVert W_L \cdots W_1 - T \rVert^2, \qquad
c = \frac{1}{(d_\mathrm{in} + 2)\, d_\mathrm{out}},$$

and every example has the same: the teacher itself. From a small start the network learns one mode
of the teacher after another, the strongest first, and in between rests near `saddles`, where its
product is the teacher truncated to some rank. How degenerate a minimum is depends on which of them
it is: the coefficients here say at which point they hold, and `minimum` gives it.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ontogeny.problems.problem import Batch, Problem, Row
from ontogeny.records import CriticalPoint, References


class LearningCoefficient(NamedTuple):
    """A learning coefficient λ and its multiplicity m: F(n) = nL(w*) + λ ln n − (m − 1) ln ln n."""

    value: float
    multiplicity: int


class Layers(nn.Module):
    """W_L ⋯ W₁ with normally distributed entries, in double precision."""

    def __init__(self, widths: Sequence[int], initial_scale: float) -> None:
        super().__init__()
        self.layers = nn.ParameterList(
            initial_scale * torch.randn(out, into, dtype=torch.float64)
            for into, out in pairwise(widths)
        )

    def forward(self) -> Tensor:
        """The product of all layers, output by input."""
        product: Tensor = reduce(lambda below, layer: layer @ below, self.layers)
        return product


def deep_linear(
    widths: Sequence[int], singular_values: Sequence[float] = (), initial_scale: float = 0.0
) -> Problem:
    """A deep linear network and a teacher that stretches each of the first inputs.

    Args:
        widths: Inputs, hidden units of each layer, outputs.
        singular_values: The diagonal of the teacher, the rest of which is zero. Ones, as many as
            its rank, for the teacher that `minimum` is a minimum of.
        initial_scale: Standard deviation of the untrained network's weights; 0 for the origin.

    Returns:
        The problem. Its parameters are `layers.0`, …, outputs by inputs; its outputs are the
        entries of their product; on its data sets `rank_0`, … the teacher is truncated.

    Raises:
        ValueError: There are fewer than two widths, one is no positive whole number, a singular
            value or the scale is impossible, or the teacher has more singular values than its shape
            allows.

    Examples:
        Two layers that are zero miss all of a teacher of rank 2: L = 2 / ((4 + 2) · 3).

        >>> problem = deep_linear([4, 2, 3], singular_values=[1.0, 1.0])
        >>> loss = problem.loss(problem.model(), problem.batch(1, torch.Generator()))
        >>> round(loss.item() * 18, 12)
        2.0
    """
    check_widths(widths, len(singular_values))
    if not all(0 < value < math.inf for value in singular_values):
        raise ValueError(f"singular values must be positive, not {list(singular_values)}")
    if not 0 <= initial_scale < math.inf:
        raise ValueError(f"initial_scale must be at least 0, not {initial_scale}")
    teachers = truncated_teachers(widths, singular_values)

    def drawn_from(teacher: Tensor) -> Callable[[int, torch.Generator], Batch]:
        return lambda n, generator: (teacher.to(generator.device).expand(n, -1, -1),)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        missed: Tensor = model() - batch[0]
        return loss_scale(widths) * missed.square().sum(dim=(1, 2))

    def outputs(model: nn.Module, batch: Batch) -> Tensor:
        product: Tensor = model().flatten()
        return product.expand(len(batch[0]), -1)

    return Problem(
        name=f"{__name__}:deep_linear",
        settings={
            "widths": list(widths),
            "singular_values": list(singular_values),
            "initial_scale": initial_scale,
        },
        model=lambda: Layers(widths, initial_scale),
        batch=drawn_from(teachers[-1]),
        loss=loss,
        outputs=outputs,
        metrics=lambda model, n, seed: describe(model(), teachers, loss_scale(widths)),
        references=lambda batch: known_outputs(teachers, len(batch[0])),
        datasets={f"rank_{r}": drawn_from(one) for r, one in enumerate(teachers)},
        critical_points=saddles(widths, singular_values),
    )


def truncated_teachers(widths: Sequence[int], singular_values: Sequence[float]) -> list[Tensor]:
    """The teacher with only the r largest of its singular values, for each r up to its rank.

    Examples:
        >>> [teacher.diagonal().tolist() for teacher in truncated_teachers([2, 2], [1.0, 3.0])]
        [[0.0, 0.0], [0.0, 3.0], [1.0, 3.0]]
    """
    teachers = [torch.zeros(widths[-1], widths[0], dtype=torch.float64)]
    for place in sorted(range(len(singular_values)), key=lambda i: -abs(singular_values[i])):
        teachers.append(teachers[-1].clone())
        teachers[-1][place, place] = singular_values[place]
    return teachers


def saddles(widths: Sequence[int], singular_values: Sequence[float]) -> tuple[CriticalPoint, ...]:
    """Where the product is the teacher with only its r largest singular values, for each r.

    Each is a saddle of the loss but for the last, and the minimum of the problem on its data set
    `rank_r`, where the teacher is the truncated one; its learning coefficient is that of the most
    degenerate minimum there.

    Args:
        widths: Inputs, hidden units of each layer, outputs.
        singular_values: The teacher's.

    Examples:
        >>> for point in saddles([5, 3, 5], [2.0, 1.0]):
        ...     print(point.name, point.learning_coefficient, point.minimum)
        rank 0 6.5 False
        rank 1 8.0 False
        rank 2 9.5 True
    """
    squares = sorted((value**2 for value in singular_values), reverse=True)
    most = min(len(squares), *widths)
    return tuple(
        CriticalPoint(
            name=f"rank {rank}",
            loss=loss_scale(widths) * sum(squares[rank:]),
            learning_coefficient=linear_learning_coefficient(widths, rank).value,
            minimum=rank == most,
            data=f"rank_{rank}",
        )
        for rank in range(most + 1)
    )


def describe(product: Tensor, teachers: Sequence[Tensor], scale: float) -> list[Row]:
    """What is measured at each checkpoint: the exact loss, the modes, how near each saddle is.

    Args:
        product: W_L ⋯ W₁.
        teachers: The teacher, truncated to each rank.
        scale: c.

    Returns:
        `loss`; `singular_value`, those of the product; `distance_to`, the length of its difference
        from each truncated teacher.
    """
    found = torch.linalg.svdvals(product)
    misses = torch.stack([(product - teacher.to(product.device)).norm() for teacher in teachers])
    return [
        ("loss", ("",), scale * misses[-1:].square()),
        ("singular_value", tuple(str(i + 1) for i in range(len(found))), found),
        ("distance_to", tuple(f"rank {rank}" for rank in range(len(teachers))), misses),
    ]


def known_outputs(teachers: Sequence[Tensor], examples: int) -> References:
    """What the truncated teachers say, and which entry of the product each coordinate is."""
    rows, columns = teachers[0].shape
    places = torch.cartesian_prod(torch.arange(examples), torch.arange(rows), torch.arange(columns))
    values = torch.stack([teacher.flatten().repeat(examples) for teacher in teachers])
    names = tuple(f"rank {rank}" for rank in range(len(teachers)))
    return References(("example", "output", "input"), places.numpy(), names, values.numpy())


def mode_strength(
    steps: Shaped[np.ndarray, " step"], singular_value: float, start: float, rate: float
) -> Float[np.ndarray, " step"]:
    r"""A singular value of two layers' product over training, from a small balanced start.

    Where the singular vectors are those of the teacher and both layers carry the same share of a
    mode, gradient descent on $L = c\,\lVert W_2 W_1 - T \rVert^2$ with learning rate η follows
    $\dot u = 4 c \eta\, u (s - u)$, so that after t steps

    $$u(t) = \frac{s}{1 + (s / u_0 - 1)\, e^{-4 c \eta s t}}.$$

    A mode takes $\ln(s / u_0) / (4 c \eta s)$ steps to be learned to one half: the strongest first.

    Args:
        steps: t.
        singular_value: s, the teacher's.
        start: u₀, that of the product at step 0.
        rate: cη, `loss_scale` times the learning rate.

    Returns:
        u, as steps become small.

    Examples:
        >>> mode_strength(np.array([0.0, np.log(3)]), 1.0, 0.5, rate=0.25).round(9).tolist()
        [0.5, 0.75]

    References:
        A. Saxe, J. McClelland and S. Ganguli, "Exact solutions to the nonlinear dynamics of
        learning in deep linear neural networks" (ICLR 2014), equation 6, with $1/\tau = 2 c \eta$.
    """
    decay = np.exp(-4 * rate * singular_value * np.asarray(steps, dtype=float))
    strength: np.ndarray = singular_value / (1 + (singular_value / start - 1) * decay)
    return strength


def loss_scale(widths: Sequence[int]) -> float:
    """The factor c of the loss: the variance of an input over the number of outputs."""
    return 1 / ((widths[0] + 2) * widths[-1])


def check_widths(widths: Sequence[int], rank: int) -> None:
    """Whether there is such a network with a minimum of such a rank."""
    if len(widths) < 2 or any(int(width) != width or width < 1 for width in widths):
        raise ValueError(
            f"a network needs two widths or more, positive whole numbers, not {list(widths)}"
        )
    if int(rank) != rank:
        raise ValueError(f"a rank is a whole number, not {rank}")
    if not 0 <= rank <= min(widths[0], widths[-1]):
        raise ValueError(f"a teacher from {widths[0]} to {widths[-1]} cannot have rank {rank}")


# Minima ------------------------------------------------------------------------------------------


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


# Learning coefficients ---------------------------------------------------------------------------


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
    pairs = (total**2 - sum(m * m for m in chosen)) / 2
    regular = rank * (widths[0] + widths[-1]) - rank**2
    value = regular / 2 + a * (ell - a) / (4 * ell) - (ell - 1) * total**2 / (4 * ell) + pairs / 2
    return LearningCoefficient(value, a * (ell - a) + 1)


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
