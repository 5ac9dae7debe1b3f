"""What a network is: the size, the spectra and the collapse of its weights, and its curvature."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from ontogeny.metrics.behavior import Estimate, average


def weight_norm(parameters: Iterable[Float[Tensor, "..."]]) -> Float[Tensor, ""]:
    r"""The Euclidean norm $\sqrt{\sum_i w_i^2}$ of all weights together, in double precision.

    Args:
        parameters: Tensors of any shapes.

    Returns:
        The norm; 0 if there are no weights.

    Examples:
        >>> weight_norm([torch.tensor([3.0]), torch.tensor([[4.0]])]).item()
        5.0
    """
    squares = [parameter.detach().double().square().sum() for parameter in parameters]
    return torch.tensor(squares, dtype=torch.float64).sum().sqrt()


def singular_values(matrix: Float[Tensor, "row column"]) -> Float[Tensor, " rank"]:
    """Singular values of a matrix, largest first, in double precision.

    Args:
        matrix: Any matrix; the order of rows and columns does not matter.

    Returns:
        As many as the shorter side is long.

    Examples:
        >>> singular_values(torch.tensor([[0.0, 2.0], [3.0, 0.0]])).round(decimals=9).tolist()
        [3.0, 2.0]
    """
    values: Tensor = torch.linalg.svdvals(matrix.detach().double())
    return values


def principal_coordinates(points: Float[Tensor, "point d"]) -> Float[Tensor, "component point"]:
    r"""Where points are along their principal components, in double precision.

    With the singular values $\sigma_k$ of the centred points and their left vectors $u_k$ these are
    $\sigma_k u_k$, and $\sigma_k^2 / \sum_j \sigma_j^2$ is the share of the variance of each. A
    component has no sign of its own: here its first point lies on the positive side.

    Args:
        points: A point in each row.

    Returns:
        As many components as there are points or dimensions, the one of largest variance first.

    Examples:
        >>> line = torch.tensor([[1.0, 1.0], [1.0, 4.0], [1.0, 1.0]])
        >>> principal_coordinates(line)[0].round(decimals=9).tolist()
        [1.0, -2.0, 1.0]
    """
    points = points.detach().double()
    left, lengths, _ = torch.linalg.svd(points - points.mean(dim=0), full_matrices=False)
    coordinates: Tensor = (left * lengths).T
    return torch.where(coordinates[:, :1] < 0, -coordinates, coordinates)


class EffectiveUnembedding(NamedTuple):
    """A layer norm's affine part and the linear layer after it, as one linear layer.

    Attributes:
        weight: Multiplies the normalized residual stream.
        bias: Added to that.
    """

    weight: Tensor
    bias: Tensor


def effective_unembedding(
    weight: Float[Tensor, "*output d_model"],
    bias: Float[Tensor, "*output"],
    gamma: Float[Tensor, " d_model"],
    beta: Float[Tensor, " d_model"],
) -> EffectiveUnembedding:
    r"""Fold a layer norm's scale and shift into the unembedding that follows.

    $W (\gamma \odot z + \beta) + b = (W \odot \gamma)\, z + (W \beta + b)$.

    Args:
        weight: The unembedding, or one row of it.
        bias: Its bias.
        gamma: The layer norm's scale.
        beta: The layer norm's shift.

    Returns:
        $W \odot \gamma$ and $W \beta + b$.

    Examples:
        >>> w, gamma, beta = torch.tensor([[1.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
        >>> weight, bias = effective_unembedding(w, torch.tensor(0.5), gamma, beta)
        >>> weight.tolist(), bias.item()
        ([3.0, 0.0], 3.5)
    """
    weight, bias, gamma, beta = (t.detach() for t in (weight, bias, gamma, beta))
    return EffectiveUnembedding(weight * gamma, weight @ beta + bias)


def fraction_below(values: Float[Tensor, "..."], threshold: float = 0.1) -> Float[Tensor, ""]:
    r"""The share of entries with $|w| < \mathrm{threshold}$.

    Args:
        values: Weights of any shape.
        threshold: What counts as large, in the unit of the weights.

    Returns:
        A number from 0 to 1; nan if there are no entries.

    Examples:
        >>> fraction_below(torch.tensor([-0.05, 0.0, 0.1, -2.0])).item()
        0.5
    """
    return (values.detach().abs() < threshold).double().mean()


def hessian_product(
    loss: Float[Tensor, ""], parameters: Sequence[Float[Tensor, "..."]]
) -> Callable[[Tensor], Tensor]:
    r"""The map $v \mapsto Hv$, where H holds the second derivatives of a loss.

    $Hv = \nabla_w (\nabla_w \ell \cdot v)$: the gradient is taken once, with its graph, and each
    product differentiates it again, at the price of about two gradients. A fused attention kernel
    has no second derivative; write attention out.

    Args:
        loss: A number computed from the parameters.
        parameters: What to differentiate by. The loss need not depend on all of them.

    Returns:
        A function of a flat vector, with the parameters concatenated in their order. It computes
        in the precision of the parameters and answers in that of the vector. It keeps the graph
        of the loss alive.

    Raises:
        RuntimeError: The loss was computed without gradients, or is linear in every parameter.

    Examples:
        For a quadratic form, H is its matrix.

        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> product = hessian_product(w[0] * w[1] + 3 * w[1] ** 2, [w])
        >>> product(torch.tensor([1.0, 0.0])), product(torch.tensor([0.0, 1.0]))
        (tensor([0., 1.]), tensor([1., 6.]))

    References:
        B. A. Pearlmutter, "Fast exact multiplication by the Hessian" (1994).
    """

    def flat(tensors: Iterable[Tensor]) -> Tensor:
        return torch.cat([tensor.reshape(-1) for tensor in tensors])

    gradient = flat(
        torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    )

    def product(vector: Float[Tensor, " parameter"]) -> Float[Tensor, " parameter"]:
        columns = torch.autograd.grad(
            gradient,
            parameters,
            grad_outputs=vector.to(gradient),
            retain_graph=True,
            materialize_grads=True,
        )
        return flat(columns).to(vector)

    return product


def hessian_trace(
    product: Callable[[Tensor], Tensor], size: int, probes: int, generator: torch.Generator
) -> Estimate:
    r"""The trace of a symmetric matrix, from products with random signs.

    Hutchinson's estimator, the mean over probes of $v^\top H v$ with each $v_i = \pm 1$. It is
    unbiased, and its variance is $2 \sum_{i \ne j} H_{ij}^2$ over the number of probes: a
    diagonal matrix is exact with one.

    Args:
        product: The map $v \mapsto Hv$.
        size: Length of the vectors.
        probes: How many products; at least two for a standard error.
        generator: Where the signs come from, on the CPU.

    Returns:
        The trace and its standard error.

    Raises:
        ValueError: There are no probes.

    Examples:
        >>> curvatures = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        >>> trace = hessian_trace(lambda v: curvatures * v, 3, 2, torch.Generator())
        >>> trace.values.item(), trace.stderr.item()
        (6.0, 0.0)

    References:
        M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix" (1989).
    """
    if probes < 1:
        raise ValueError(f"a trace needs at least one probe, not {probes}")
    samples = []
    for _ in range(probes):
        signs = 2.0 * torch.randint(2, (size,), generator=generator).double() - 1.0
        samples.append(signs @ product(signs))
    return average(torch.stack(samples))


def top_eigenvalues(
    product: Callable[[Tensor], Tensor],
    size: int,
    count: int,
    generator: torch.Generator,
    tolerance: float = 0.01,
) -> Float[Tensor, " count"]:
    r"""The largest eigenvalues of a symmetric matrix, from its products with vectors.

    Restarted Lanczos iteration in double precision until each residual
    $\|H u - \theta u\|$ is below `tolerance` times $|\theta|$, so that an eigenvalue lies within
    that of $\theta$; the error is usually near the square of it. Three eigenvalues of a small
    transformer take 21 products.

    Args:
        product: The map $v \mapsto Hv$.
        size: Length of the vectors.
        count: How many eigenvalues, fewer than `size`.
        generator: Where the starting vector comes from, on the CPU.
        tolerance: Relative residual at which to stop.

    Returns:
        Eigenvalues, largest first, negative ones last.

    Raises:
        ValueError: There are not that many to find, or a product is not finite.
        scipy.sparse.linalg.ArpackError: The iteration did not converge, or the matrix is zero.

    Examples:
        >>> curvatures = torch.arange(100.0, dtype=torch.float64)
        >>> top = top_eigenvalues(lambda v: curvatures * v, 100, 2, torch.Generator(), 1e-6)
        >>> [round(value, 3) for value in top.tolist()]
        [99.0, 98.0]

    References:
        R. B. Lehoucq, D. C. Sorensen and C. Yang, *ARPACK Users' Guide* (1998).
    """
    if not 1 <= count < size:
        raise ValueError(f"need 1 <= count < size, not {count} eigenvalues of {size}")

    def matvec(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        answer = product(torch.from_numpy(vector.reshape(-1).copy()))
        if not answer.isfinite().all():
            raise ValueError("a product with the Hessian is not finite; has training diverged?")
        return answer.numpy()

    values = eigsh(
        LinearOperator((size, size), matvec=matvec, dtype=np.float64),
        k=count,
        which="LA",
        v0=torch.randn(size, generator=generator, dtype=torch.float64).numpy(),
        tol=tolerance,
        return_eigenvectors=False,
        rng=0,  # for fresh directions, where the Krylov space is exhausted early
    )
    return torch.from_numpy(values).sort(descending=True).values


def composition_scores(
    first: Float[Tensor, "head d_model d_model"], second: Float[Tensor, "other d_model d_model"]
) -> Float[Tensor, "head other"]:
    r"""How much of what heads write is read by others: $\|AB\|_F / (\|A\|_F \|B\|_F)$.

    With A the map $W_{OV}$ of an earlier head, as rows in and columns out, and B the transposed map
    $W_{QK}^\top$ of a later one it is K-composition: how much of what the later head's keys are
    made of comes from the earlier head.

    Args:
        first: A for each earlier head.
        second: B for each later head.

    Returns:
        A share for each pair; about $1/\sqrt{d_\mathrm{model}}$ for random maps.

    Examples:
        >>> read = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
        >>> written = torch.tensor([[[0.0, 2.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]])
        >>> composition_scores(written, read)[:, 0].tolist()
        [0.0, 1.0]

    References:
        N. Elhage et al., "A mathematical framework for transformer circuits" (2021).
    """
    product = torch.einsum("aij,bjk->abik", first, second)
    sizes = first.flatten(1).norm(dim=1)[:, None] * second.flatten(1).norm(dim=1)
    shares: Tensor = product.flatten(2).norm(dim=2) / sizes
    return shares
