"""Random streams: every random number is a pure function of a seed, a role and some indices."""

import hashlib

import torch


def random_stream(
    seed: int, role: str, *indices: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator that depends on its arguments and on nothing else.

    No state is carried from one call to the next, so nothing needs to be saved: a resumed run, a
    retried unit or another worker draws the same numbers.

    Args:
        seed: The user's seed.
        role: What the numbers are for, such as `"training batch"`; roles never share a stream.
        indices: Which of them, such as a training step, or a chain and a draw.
        device: Where the numbers are drawn; each kind of device has streams of its own.

    Returns:
        A generator on that device, at its start.

    Examples:
        >>> a, b = random_stream(0, "noise", 3), random_stream(0, "noise", 3)
        >>> bool((torch.rand(5, generator=a) == torch.rand(5, generator=b)).all())
        True
    """
    text = f"{seed}/{role}/{'/'.join(map(str, indices))}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little", signed=True))
