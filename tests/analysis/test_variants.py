"""What was measured before is told apart by all that differs in its settings."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ontogeny.analysis.variants import read_variants
from ontogeny.records import Chains
from ontogeny.storage import load_records, save_record

SETTINGS = {"nbeta": 10.0, "step_size": 1e-3, "draws": 40, "seed": 0}


@pytest.fixture
def measured(tmp_path):
    """Chains of nβ = 10, and before them others; each excess of the loss says in which folder."""
    others = ({"nbeta": 20.0}, {"seed": 1}, {"seed": 1}, {"draws": 80, "seed": 2})
    folders = {"sample_chains": SETTINGS}
    folders |= {f"earlier-{k + 1}-sample_chains": SETTINGS | o for k, o in enumerate(others)}
    for k, (name, settings) in enumerate(folders.items()):
        flat, blocks = np.zeros((3, 40)), np.zeros((3, 4, 2))
        chains = Chains(0, flat + k, flat, blocks + k, blocks, settings["nbeta"], 1e-3, 1.0, 10)
        save_record(chains, tmp_path / name / "00000000.npz")
        (tmp_path / name / "settings.json").write_text(json.dumps({"settings": settings}))
    return tmp_path


def test_every_earlier_measurement_has_a_line_that_names_what_differs(measured):
    found = read_variants(measured, load_records(Chains, measured / "sample_chains"))
    earlier = {name: float(one.values[0, 0]) for name, one in found.items() if "burn" not in name}
    # The coefficient is nβ times the excess.
    assert earlier == {
        "nβ 20, not 10": 20.0,
        "seed 1, not 0": 20.0,
        "seed 1, not 0 (3)": 30.0,
        "draws 80, not 40; seed 2, not 0": 40.0,
    }


def test_without_settings_the_line_says_only_when(measured):
    (measured / "earlier-1-sample_chains" / "settings.json").unlink()
    found = read_variants(measured, load_records(Chains, measured / "sample_chains"))
    assert "measured before" in found
