"""The learning coefficient of one run, read or measured with other settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ontogeny.analysis.llc import estimate_llc
from ontogeny.records import Chains, Curve
from ontogeny.storage import load_records


def read_variants(
    measured: Path, chains: Sequence[Chains], burn_in: int | None = None
) -> dict[str, Curve]:
    """The learning coefficient with another burn-in, and as it was measured with other settings.

    Args:
        measured: The folder of the measurements. What `--again` put aside there counts.
        chains: The chains of the run.
        burn_in: Draws that are left out of averages, as for `read_run`.

    Returns:
        Curves, by what is different.
    """
    if not chains:
        return {}
    draws, pairs = chains[0].losses.shape[1], chains[0].initial_losses.shape[1]
    usual = chains[0].burn_in if burn_in is None else burn_in
    variants = {
        f"burn-in of {other:,} draws, not {usual:,}": estimate_llc(chains, other)
        for other in (usual // 2, (usual + draws) // 2)
        if other != usual and other * pairs <= draws * (pairs - 1)  # some pair is left
    }
    for folder in sorted(measured.glob("earlier-*-sample_chains")):
        if earlier := load_records(Chains, folder):
            variants[_differences(earlier[0], chains[0])] = estimate_llc(earlier, burn_in)
    return variants


def _differences(one: Chains, other: Chains) -> str:
    """In which settings of the sampler two measurements differ, in words."""
    settings = {
        "nβ": (one.nbeta, other.nbeta),
        "ε": (one.step_size, other.step_size),
        "γ": (one.localization, other.localization),
    }
    parts = [f"{name} {a:.4g}, not {b:.4g}" for name, (a, b) in settings.items() if a != b]
    return "; ".join(parts) or "measured before, with another seed or length of the chains"
