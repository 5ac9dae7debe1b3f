"""Random numbers depend on seed, role and indices, and on nothing else."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.streams import random_stream

SEEDS = st.integers(min_value=0, max_value=2**63)


@given(seed=SEEDS, index=st.integers(0, 10**9))
def test_a_stream_is_a_pure_function(seed, index):
    first = torch.rand(3, generator=random_stream(seed, "a", index))
    torch.rand(7)
    assert torch.equal(first, torch.rand(3, generator=random_stream(seed, "a", index)))


def test_neighbouring_streams_are_unrelated():
    """200 streams of 500 normals: no correlation beyond 5.5 standard errors."""
    draws = [(0, "a", 1), (0, "a", 11), (0, "a1", 1), (1, "a", 1), (11, "a", 1)]
    draws += [(0, "a", i, j) for i in range(13) for j in range(15)]
    normals = torch.stack([torch.randn(500, generator=random_stream(*d)) for d in draws])
    correlation = torch.corrcoef(normals).fill_diagonal_(0)
    assert correlation.abs().max() < 5.5 / 500**0.5
