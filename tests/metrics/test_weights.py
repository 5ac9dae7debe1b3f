import math

import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from ontogeny.metrics import (
    effective_unembedding,
    fraction_below,
    hessian_product,
    hessian_trace,
    principal_coordinates,
    singular_values,
    top_eigenvalues,
    weight_norm,
)
from ontogeny.streams import random_stream


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=random_stream(seed, "normal"), dtype=torch.float64)


def symmetric(size, seed=0):
    matrix = normal(size, size, seed=seed)
    return (matrix + matrix.T) / 2


def linear_map(matrix):
    return lambda vector: matrix @ vector


def rotated(eigenvalues, seed=0):
    basis = torch.linalg.qr(normal(len(eigenvalues), len(eigenvalues), seed=seed)).Q
    return basis @ torch.diag(eigenvalues) @ basis.T


# Sizes and spectra ---------------------------------------------------------------------------


def test_weight_norm_of_three_and_four():
    parameters = [nn.Parameter(torch.tensor([[3.0]])), nn.Parameter(torch.tensor([0.0, 4.0]))]
    norm = weight_norm(parameters)

    assert norm.item() == 5.0
    assert not norm.requires_grad


def test_weight_norm_of_nothing():
    assert weight_norm([]).item() == 0


def test_weight_norm_sums_in_double_precision():
    # In single precision 2^24 + 1 = 2^24: the small weights would vanish one by one.
    parameters = [torch.tensor([2.0**12])] + [torch.ones(1)] * 4

    assert weight_norm(parameters).item() == pytest.approx(math.sqrt(2**24 + 4), rel=1e-15)


def test_singular_values_of_a_rotated_rectangle():
    matrix = rotated(torch.tensor([5.0, 3.0, 1.0], dtype=torch.float64))[:, :2]
    values = singular_values(matrix)

    assert values.shape == (2,)
    torch.testing.assert_close(values.square().sum(), matrix.square().sum())
    torch.testing.assert_close(singular_values(matrix.T), values)


def test_the_components_of_an_ellipse_are_its_axes():
    angles = 2 * math.pi * torch.arange(12, dtype=torch.float64) / 12
    ellipse = torch.stack([3 * angles.cos(), angles.sin(), 0 * angles], dim=1)
    turned = ellipse @ torch.linalg.qr(normal(3, 3)).Q + normal(3, seed=1)
    long, short, _ = principal_coordinates(turned)

    torch.testing.assert_close(long, 3 * angles.cos())
    # The first point is at the middle of the short axis, so its sign is that of rounding.
    torch.testing.assert_close(short * short[3].sign(), angles.sin())


def test_components_have_the_sign_of_their_first_point():
    points = normal(9, 4)
    coordinates = principal_coordinates(points)

    assert (coordinates[:, 0] > 0).all()
    torch.testing.assert_close(principal_coordinates(-points), coordinates)
    torch.testing.assert_close(
        coordinates.square().sum(dim=1).sqrt(), singular_values(points - points.mean(dim=0))
    )


def test_effective_unembedding_does_what_the_two_layers_do():
    norm, linear = nn.LayerNorm(6).double(), nn.Linear(6, 3).double()
    with torch.no_grad():
        norm.weight.copy_(normal(6, seed=1))
        norm.bias.copy_(normal(6, seed=2))
        linear.weight.copy_(normal(3, 6, seed=3))
    stream = normal(10, 6)
    normalized = nn.functional.layer_norm(stream, (6,))
    expected = linear(norm(stream)).detach()

    weight, bias = effective_unembedding(linear.weight, linear.bias, norm.weight, norm.bias)
    torch.testing.assert_close(normalized @ weight.T + bias, expected)

    weight, bias = effective_unembedding(linear.weight[0], linear.bias[0], norm.weight, norm.bias)
    torch.testing.assert_close(normalized @ weight + bias, expected[:, 0])


def test_fraction_below():
    assert fraction_below(torch.tensor([[0.05, -0.05], [0.2, -0.2]])).item() == 0.5
    assert fraction_below(torch.tensor([0.1, 0.3]), threshold=0.2).item() == 0.5
    assert math.isnan(fraction_below(torch.zeros(0)).item())


# Curvature -----------------------------------------------------------------------------------


def test_product_of_a_quadratic_is_its_matrix():
    matrix = symmetric(5)
    w = normal(5).requires_grad_()
    product = hessian_product(0.5 * w @ matrix @ w, [w])

    columns = torch.stack([product(e) for e in torch.eye(5, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(columns, matrix)


def tiny_network():
    """A tanh network's loss, its parameters, and its Hessian, one row at a time."""
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    names = [name for name, _ in network.named_parameters()]
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=i))
    inputs, targets = normal(20, 2, seed=10), normal(20, 1, seed=11)

    def loss(flat):
        pieces = flat.split([p.numel() for p in network.parameters()])
        shaped = [
            piece.view(p.shape) for piece, p in zip(pieces, network.parameters(), strict=True)
        ]
        outputs = functional_call(network, dict(zip(names, shaped, strict=True)), inputs)
        return (outputs - targets).square().mean()

    parameters = list(network.parameters())
    flat = torch.cat([p.detach().reshape(-1) for p in parameters])
    return (network(inputs) - targets).square().mean(), parameters, hessian(loss, flat)


def test_product_of_a_network_is_its_explicit_hessian():
    loss, parameters, explicit = tiny_network()
    product = hessian_product(loss, parameters)

    columns = torch.stack([product(e) for e in torch.eye(13, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(columns, explicit)
    assert not columns.requires_grad

    top = top_eigenvalues(product, 13, 3, random_stream(0, "start"), tolerance=1e-10)
    torch.testing.assert_close(top, torch.linalg.eigvalsh(explicit).flip(0)[:3])


def test_product_of_unused_and_linear_parameters_is_zero():
    used, linear, unused = (torch.ones(1, requires_grad=True) for _ in range(3))
    product = hessian_product((used**3 + linear).sum(), [used, linear, unused])

    assert product(torch.ones(3)).tolist() == [6, 0, 0]


def test_product_answers_in_the_precision_of_the_vector():
    w = torch.ones(2, requires_grad=True)
    answer = hessian_product((w**2).sum(), [w])(torch.ones(2, dtype=torch.float64))

    assert answer.dtype == torch.float64
    assert answer.tolist() == [2, 2]


@pytest.mark.parametrize("probes", [1, 5])
def test_trace_of_a_diagonal_is_exact(probes):
    curvatures = torch.tensor([4.0, -1.0, 0.5], dtype=torch.float64)
    trace = hessian_trace(linear_map(torch.diag(curvatures)), 3, probes, random_stream(0, "probes"))

    assert trace.values.item() == 3.5
    assert math.isnan(trace.stderr.item()) if probes == 1 else trace.stderr.item() == 0


def test_trace_is_unbiased_and_its_error_is_right():
    matrix, probes = symmetric(30), 2000
    trace = hessian_trace(linear_map(matrix), 30, probes, random_stream(0, "probes"))

    off_diagonal = matrix - torch.diag(matrix.diagonal())
    variance = 2 * off_diagonal.square().sum().item()
    stderr = math.sqrt(variance / probes)
    assert abs(trace.values.item() - matrix.trace().item()) <= 4 * stderr
    # A nearly normal sample's standard deviation has relative standard error 1/sqrt(2 n).
    assert abs(trace.stderr.item() / stderr - 1) <= 4 / math.sqrt(2 * probes)


def test_trace_needs_a_probe():
    with pytest.raises(ValueError, match="at least one probe"):
        hessian_trace(linear_map(torch.eye(3)), 3, 0, random_stream(0, "probes"))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-8])
def test_eigenvalues_are_within_the_tolerance(tolerance):
    matrix = symmetric(200)
    top = top_eigenvalues(linear_map(matrix), 200, 3, random_stream(0, "start"), tolerance)

    exact = torch.linalg.eigvalsh(matrix).flip(0)[:3]
    torch.testing.assert_close(top, exact, rtol=tolerance, atol=0)


def test_three_outliers_take_few_products():
    bulk = torch.linspace(-1, 1, 997, dtype=torch.float64)
    matrix = torch.cat([bulk, torch.tensor([10.0, 20.0, 50.0], dtype=torch.float64)])
    calls = []

    def product(vector):
        calls.append(1)
        return matrix * vector

    top = top_eigenvalues(product, 1000, 3, random_stream(0, "start"))

    torch.testing.assert_close(top, torch.tensor([50.0, 20.0, 10.0]).double(), rtol=1e-2, atol=0)
    assert len(calls) <= 30


@pytest.mark.parametrize(
    ("eigenvalues", "top"),
    [
        ([-3, -2, -1, -4], [-1, -2, -3]),
        ([5, -100, 1, 2], [5, 2, 1]),
        ([2, 2, 2, 2], [2, 2, 2]),
        ([7] + [0] * 30, [7, 0, 0]),
        ([3, 3, 1] + [0] * 30, [3, 3, 1]),
    ],
)
def test_eigenvalues_of_special_spectra(eigenvalues, top):
    matrix = rotated(torch.tensor(eigenvalues, dtype=torch.float64))
    found = top_eigenvalues(
        linear_map(matrix), len(eigenvalues), 3, random_stream(0, "start"), tolerance=1e-8
    )

    torch.testing.assert_close(found, torch.tensor(top).double(), rtol=1e-6, atol=1e-10)


def test_eigenvalues_repeat_bit_for_bit():
    # A matrix of low rank exhausts the Krylov space, so fresh directions are drawn.
    matrix = rotated(torch.tensor([3.0, 1.0] + [0.0] * 30, dtype=torch.float64))
    first, second = (
        top_eigenvalues(linear_map(matrix), 32, 4, random_stream(0, "start")) for _ in range(2)
    )

    assert torch.equal(first, second)


@pytest.mark.parametrize("count", [0, 3, 4])
def test_eigenvalues_that_are_not_there(count):
    with pytest.raises(ValueError, match=f"not {count} eigenvalues of 3"):
        top_eigenvalues(linear_map(torch.eye(3)), 3, count, random_stream(0, "start"))


def test_a_diverged_network_has_no_eigenvalues():
    with pytest.raises(ValueError, match="not finite; has training diverged"):
        top_eigenvalues(lambda vector: vector * torch.nan, 30, 3, random_stream(0, "start"))
