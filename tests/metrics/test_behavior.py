import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.metrics import average, icl_score, ratio, squared_errors
from ontogeny.streams import random_stream


def test_average_of_four_numbers():
    values, stderr = average(torch.tensor([1.0, 2.0, 3.0, 4.0]))

    assert values.item() == 2.5
    assert stderr.item() == pytest.approx(math.sqrt(5 / 3 / 4), rel=1e-12)


def test_average_keeps_the_other_axes():
    samples = torch.randn(7, 2, 3, generator=random_stream(0, "samples"))
    values, stderr = average(samples)

    assert values.shape == stderr.shape == (2, 3)
    assert torch.equal(values[1, 2], average(samples[:, 1, 2]).values)


def test_average_does_not_lose_small_differences_to_a_large_offset():
    # 2^20 + 1/8 is exact in single precision, but sums of a thousand such numbers are not.
    samples = 2.0**20 + torch.tensor([0.0, 0.125]).repeat(500)
    values, stderr = average(samples)

    assert values.item() == 2.0**20 + 0.0625
    assert stderr.item() == pytest.approx(0.0625 / math.sqrt(999), rel=1e-9)


def test_standard_error_of_one_example_is_unknown():
    values, stderr = average(torch.tensor([[5.0]]))

    assert values.item() == 5.0
    assert math.isnan(stderr.item())


def test_average_refuses_no_examples():
    with pytest.raises(ValueError, match="no average of no examples"):
        average(torch.zeros(0, 3))


def test_standard_error_is_how_far_means_scatter():
    # 2000 experiments of 50 normal samples: the mean of z^2 is that of a squared t with 49
    # degrees of freedom, 49/47, and its variance is 2 * 49^2 * 48 / (47^2 * 45).
    samples = torch.randn(50, 2000, generator=random_stream(0, "scatter"), dtype=torch.float64)
    values, stderr = average(samples)
    squared = (values / stderr).square().mean().item()

    sigma = math.sqrt(2 * 49**2 * 48 / (47**2 * 45) / 2000)
    assert abs(squared - 49 / 47) <= 4 * sigma


def test_standard_error_of_a_ratio_is_how_far_ratios_scatter():
    stream = random_stream(0, "ratios")
    above = 3 + torch.randn(2000, 200, generator=stream)
    below = 5 + torch.randn(2000, 200, generator=stream)
    found = ratio(average(above.T), average(below.T))
    scatter = found.values.std()
    # 200 of the ratios' standard errors are averaged: the scatter of 2,000 is what is uncertain
    assert abs(found.stderr.mean() / scatter - 1) < 4 / (2 * 2000) ** 0.5


def test_squared_errors():
    predictions, targets = torch.tensor([[1.0, -2.0]]), torch.tensor([[4.0, -2.0]])

    assert squared_errors(predictions, targets).tolist() == [[9.0, 0.0]]
    assert squared_errors(targets, predictions).tolist() == [[9.0, 0.0]]


def test_icl_score_is_late_minus_early_and_counts_from_one():
    losses = torch.tensor([[8.0, 4.0, 2.0, 1.0], [10.0, 4.0, 2.0, 1.0]])
    values, stderr = icl_score(losses, early=1, late=4)

    assert values.item() == -8.0
    assert stderr.item() == 1.0


def test_icl_score_error_is_paired():
    # Sequences differ wildly in difficulty, but each improves by exactly 1.
    difficulty = 100 * torch.arange(20.0)[:, None]

    assert icl_score(difficulty + torch.tensor([[1.0, 0.0]]), 1, 2).stderr.item() == 0


@given(seed=st.integers(0, 1000))
def test_icl_scores_add_up(seed):
    losses = torch.rand(5, 8, generator=random_stream(seed, "losses"), dtype=torch.float64)
    parts = icl_score(losses, 1, 4).values + icl_score(losses, 4, 8).values

    assert torch.isclose(parts, icl_score(losses, 1, 8).values)


@pytest.mark.parametrize(("early", "late"), [(0, 4), (4, 4), (5, 4), (1, 9), (-1, 2)])
def test_icl_score_refuses_positions_that_are_not_there(early, late):
    with pytest.raises(ValueError, match="1 <= early < late <= 8"):
        icl_score(torch.zeros(3, 8), early, late)
