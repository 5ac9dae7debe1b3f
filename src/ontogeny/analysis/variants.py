"""The learning coefficient of one run, read or measured with other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ontogeny.analysis.llc import estimate_llc
from ontogeny.records import Chains, Curve
from ontogeny.storage import differences, load_records, read_json

SYMBOLS = {"nbeta": "nβ", "step_size": "ε", "localization": "γ"}


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
    now = _settings(measured / "sample_chains")
    for folder in sorted(measured.glob("earlier-*-sample_chains")):
        if earlier := load_records(Chains, folder):
            what = _differences(_settings(folder), now)
            # Put aside more than once with the same settings: each has its line.
            name = f"{what} ({folder.name.split('-')[1]})" if what in variants else what
            variants[name] = estimate_llc(earlier, burn_in)
    return variants


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "settings.json"
    found: dict[str, Any] = read_json(path).get("settings", {}) if path.exists() else {}
    return found


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """In which settings of the sampler two measurements differ, in words.

    Examples:
        >>> _differences({"nbeta": 30.0, "seed": 0}, {"nbeta": 66.67, "seed": 1})
        'nβ 30, not 66.67; seed 0, not 1'
    """
    parts = [
        f"{SYMBOLS.get(name, name.replace('_', ' '))} {_in_words(a)}, not {_in_words(b)}"
        for name, a, b in differences(there, here)
        if there and here
    ]
    return "; ".join(parts) or "measured before"


def _in_words(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
