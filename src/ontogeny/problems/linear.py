r"""Deep linear networks, whose learning coefficient is known.

The network y = W_L ⋯ W₁x learns a teacher T, on inputs uniform in the unit ball and without noise;
with two layers this is reduced-rank regression. The mean over inputs is taken exactly, so the loss
is a function of the weights alone,

$$L(w) = c\,\lVert W_L \cdots W_1 - T \rVert^2, \qquad
c = \frac{1}{(d_\mathrm{in} + 2)\, d_\mathrm{out}},$$

and every example has the same: the teacher itself. From a small start the network learns one mode
of the teacher after another, the strongest first, and in between rests near `saddles`, where its
product is the teacher truncated to some rank. Minima of chosen ranks, and their learning
coefficients, are `ontogeny.problems.linear_minima`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ontogeny.problems.linear_minima import check_widths, linear_learning_coefficient
from ontogeny.problems.problem import Batch, Problem, Row
from ontogeny.records import CriticalPoint, References


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
    check_teacher(widths, singular_values)
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
        references=lambda batch: known_outputs(
            {f"rank {r}": one for r, one in enumerate(teachers) if is_single(singular_values, r)},
            len(batch[0]),
        ),
        datasets={f"rank_{r}": drawn_from(one) for r, one in enumerate(teachers)},
        critical_points=saddles(widths, singular_values),
    )


def check_teacher(widths: Sequence[int], singular_values: Sequence[float]) -> None:
    """Whether there is such a network and such a teacher."""
    if not all(0 < one < math.inf for one in singular_values):
        raise ValueError(f"singular values must be positive, not {singular_values}")
    check_widths(widths, len(singular_values))


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
    r"""Where the product is the teacher with only its r largest singular values, for each r.

    Each is a saddle of the loss but for the last, and the minimum of the problem on its data set
    `rank_r`, where the teacher is the truncated one; its learning coefficient is that of the most
    degenerate minimum there.

    Of equally strong modes any combination may be learnt first. A rank that takes only k of b equal
    ones is therefore a whole family of products, of dimension k (b − k), and no one data set has
    its minimum there: it has no learning coefficient, unless the network is too narrow for more.
    Then it is the minimum itself, and the family's directions are flat:
    $\lambda = (r (d_\mathrm{in} + d_\mathrm{out} - r) - k (b - k)) / 2$.

    Args:
        widths: Inputs, hidden units of each layer, outputs.
        singular_values: The teacher's.

    Raises:
        ValueError: There is no such network, or no such teacher.

    Examples:
        >>> for point in saddles([5, 3, 5], [2.0, 1.0]):
        ...     print(point.name, point.learning_coefficient, point.minimum)
        rank 0 6.5 False
        rank 1 8.0 False
        rank 2 9.5 True
        >>> [point.learning_coefficient for point in saddles([5, 3, 5], [2.0, 2.0])]
        [6.5, None, 9.5]
    """
    check_teacher(widths, singular_values)
    strengths = sorted(singular_values, reverse=True)
    most = min(len(strengths), *widths)
    points = []
    for rank in range(most + 1):
        coefficient: float | None = linear_learning_coefficient(widths, rank).value
        single, minimum = is_single(strengths, rank), rank == most
        if not single:
            equal, kept = (some.count(strengths[rank]) for some in (strengths, strengths[:rank]))
            regular = rank * (widths[0] + widths[-1] - rank)
            coefficient = (regular - kept * (equal - kept)) / 2 if minimum else None
        points.append(
            CriticalPoint(
                name=f"rank {rank}",
                loss=loss_scale(widths) * sum(value**2 for value in strengths[rank:]),
                learning_coefficient=coefficient,
                minimum=minimum,
                data=f"rank_{rank}" if single else "",
            )
        )
    return tuple(points)


def is_single(singular_values: Sequence[float], rank: int) -> bool:
    """Whether one product only is the best of a rank, and not a family of them.

    Examples:
        >>> [is_single([3.0, 1.0, 3.0], rank) for rank in range(4)]
        [True, False, True, True]
    """
    strengths = sorted(singular_values, reverse=True)
    return not 0 < rank < len(strengths) or strengths[rank - 1] != strengths[rank]


def nearest_of_rank(
    product: Float[Tensor, "d_out d_in"], teachers: Sequence[Tensor], rank: int
) -> Float[Tensor, "d_out d_in"]:
    r"""The truncated teacher, or the nearest of the family that equally strong modes make of it.

    With B the entries of the product in the directions of the equal modes, the family is
    that of all projections Q of rank k in place of the truncated teacher's own, times s. As
    $\lVert B - sQ \rVert^2 = \lVert B \rVert^2 - 2s \operatorname{tr}(BQ) + s^2 k$, the nearest one
    projects on the k largest eigenvectors of $(B + B^T) / 2$.

    Args:
        product: W_L ⋯ W₁.
        teachers: The teacher, truncated to each rank.
        rank: Which.
    """
    kept, strengths = teachers[rank].diagonal(), teachers[-1].diagonal()
    equal = strengths == kept[kept > 0].min() if rank else kept > 0
    count = int((kept > 0)[equal].sum())
    if count == int(equal.sum()):
        return teachers[rank]
    places = equal.nonzero()
    block = product[places, places.T]
    directions = torch.linalg.eigh(block + block.T).eigenvectors[:, -count:]
    nearest = teachers[rank].clone()
    nearest[places, places.T] = strengths[equal][0] * directions @ directions.T
    return nearest


def describe(product: Tensor, teachers: Sequence[Tensor], scale: float) -> list[Row]:
    """What is measured at each checkpoint: the exact loss, the modes, how near each saddle is.

    Args:
        product: W_L ⋯ W₁.
        teachers: The teacher, truncated to each rank.
        scale: c.

    Returns:
        `loss`; `singular_value`, those of the product; `distance_to`, the length of its difference
        from each truncated teacher, the `nearest_of_rank` where there are several.
    """
    found = torch.linalg.svdvals(product)
    teachers = [teacher.to(product.device) for teacher in teachers]
    nearest = [nearest_of_rank(product, teachers, rank) for rank in range(len(teachers))]
    misses = torch.stack([(product - one).norm() for one in nearest])
    return [
        ("loss", ("",), scale * misses[-1:].square()),
        ("singular_value", tuple(str(i + 1) for i in range(len(found))), found),
        ("distance_to", tuple(f"rank {rank}" for rank in range(len(teachers))), misses),
    ]


def known_outputs(teachers: Mapping[str, Tensor], examples: int) -> References:
    """What some teachers say, and which entry of the product each coordinate is."""
    rows, columns = next(iter(teachers.values())).shape
    places = torch.cartesian_prod(torch.arange(examples), torch.arange(rows), torch.arange(columns))
    values = torch.stack([teacher.flatten().repeat(examples) for teacher in teachers.values()])
    labels = ("example", "output", "input")
    return References(labels, places.numpy(), tuple(teachers), values.numpy())


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
        start: u₀, that of the product at step 0; nothing grows from 0.
        rate: cη, `loss_scale` times the learning rate.

    Returns:
        u, as steps become small.

    Raises:
        ValueError: The singular value or the rate is not positive, or the start is negative.

    Examples:
        >>> mode_strength(np.array([0.0, np.log(3)]), 1.0, 0.5, rate=0.25).round(9).tolist()
        [0.5, 0.75]
        >>> mode_strength(np.array([0.0, 1e9]), 1.0, 0.0, rate=0.25).tolist()
        [0.0, 0.0]

    References:
        A. Saxe, J. McClelland and S. Ganguli, "Exact solutions to the nonlinear dynamics of
        learning in deep linear neural networks" (ICLR 2014), equation 6, with $1/\tau = 2 c \eta$.
    """
    if not (0 < singular_value < math.inf and 0 <= start < math.inf and 0 < rate < math.inf):
        raise ValueError(
            f"a mode has a positive singular value, a start of at least 0 and a positive rate, not "
            f"{singular_value}, {start} and {rate}"
        )
    if start == 0:
        return np.zeros(np.shape(steps))
    decay = np.exp(-4 * rate * singular_value * np.asarray(steps, dtype=float))
    strength: np.ndarray = singular_value / (1 + (singular_value / start - 1) * decay)
    return strength


def loss_scale(widths: Sequence[int]) -> float:
    """The factor c of the loss: the variance of an input over the number of outputs."""
    return 1 / ((widths[0] + 2) * widths[-1])
