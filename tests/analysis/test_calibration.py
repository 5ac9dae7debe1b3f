import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.analysis.calibration import (
    cells_around,
    choose_cell,
    conclude,
    explain,
    find_plateau,
    judge,
    plain_number,
    propose_settings,
    recommended_settings,
    two_digits,
)
from ontogeny.problems.exact import quadratic_llc
from ontogeny.records import Chains, Setup
from ontogeny.storage import load_record, save_record

SETUP = Setup(
    curved_steps=np.array([10, 100]),
    eigenvalues=np.array([[1.0], [3.67]]),  # so that the rule proposes ε = 9e-3
    differences=np.zeros(2, bool),
    asked_nbeta=30.0,
    dynamic_range=100.0,
    method="underdamped",
    momentum=0.9,
    batch_size=64,
)
NBETAS, SIZES = (10.0, 30.0), (1e-3, 3e-3, 9e-3, 27e-3)
POSITIVE = st.floats(1e-3, 1e3)


def chains_of(step, nbeta, size, llc, rise=0.0, broken=False):
    """Chains whose estimate is known: its error is 0.1, and it may rise by so much at half-way."""
    noise = np.random.default_rng(step).normal(size=(2, 400))
    noise -= noise.mean()
    losses = (llc + 0.1 * math.sqrt(800) * noise) / nbeta
    losses[:, 200:] += rise / nbeta
    losses[0, 50:] = np.nan if broken else losses[0, 50:]
    blocks = np.zeros((2, 1, 1))
    return Chains(
        step, losses, 0 * losses, blocks, blocks, nbeta, size, nbeta / 50, 0, relaxation=120.0
    )


def a_map(change=None):
    """Estimates of 20 but for the shortest steps; the longest diverge at step 100."""
    found = {}
    for nbeta in NBETAS:
        for size in SIZES:
            llc = 10.0 if size == SIZES[0] else 20.0
            one = {"llc": llc, "broken": False} | (change or {}).get((nbeta, size), {})
            last = one | {"broken": size == SIZES[-1]}
            found[nbeta, size] = [
                chains_of(10, nbeta, size, **one),
                chains_of(100, nbeta, size, **last),
            ]
    return found


# The rule ----------------------------------------------------------------------------------------


@given(POSITIVE, POSITIVE, POSITIVE, POSITIVE)
def test_only_nbeta_times_the_loss_counts(curvature, nbeta, dynamic_range, factor):
    one = propose_settings(curvature, nbeta, dynamic_range)
    other = propose_settings(factor * curvature, nbeta / factor, dynamic_range)
    assert other == pytest.approx(one)


def test_the_proposal_has_the_stated_bias_and_range():
    curvature, nbeta, kappa = 40.0, 50.0, 1000.0
    step_size, localization = propose_settings(curvature, nbeta, kappa)
    stiff, flat = (
        [quadratic_llc([h], nbeta, localization, size) for size in (step_size, 0.0)]
        for h in (curvature, curvature / kappa)
    )
    assert stiff[0] / stiff[1] == pytest.approx(4 / 3)  # SGLD along the stiffest direction
    assert flat[1] == pytest.approx(0.25)  # half of the half that it has without localization
    assert step_size * (nbeta * curvature + localization) == pytest.approx(1)


@pytest.mark.parametrize(
    ("curvature", "nbeta", "kappa", "named"),
    [(0.0, 1.0, 9.0, "curvature"), (1.0, -2.0, 9.0, "nbeta"), (1.0, 1.0, math.inf, "range")],
)
def test_what_is_not_positive_is_refused(curvature, nbeta, kappa, named):
    with pytest.raises(ValueError, match=f"{named} must be positive"):
        propose_settings(curvature, nbeta, kappa)


def test_the_grid_holds_the_proposal_and_follows_nbeta():
    cells = cells_around(37.7, 66.67, 1000.0)
    proposal = propose_settings(37.7, 66.67, 1000.0)
    center = cells[66.67, two_digits(proposal.step_size)]
    assert center.localization == two_digits(proposal.localization)
    ratios = {round(cell.localization / nbeta, 3) for (nbeta, _), cell in cells.items()}
    assert max(ratios) - min(ratios) <= 0.05 * 37.7 / 1000  # two digits
    assert len({size for _, size in cells}) == 5


# The plateau -------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=2, max_size=6), st.floats(-50, 50))
def test_a_constant_estimate_is_one_plateau_between_bad_cells(good, level):
    good = np.array(good)
    error = np.full((3, len(good)), abs(level) / 10)
    found = find_plateau(np.full((3, len(good)), level), error, good)
    runs = [len(run) for run in "".join("x" if g else " " for g in good).split()]
    longest = max(runs, default=0)
    assert found.sum() == (longest if longest >= 2 else 0)
    assert not found[~good].any()


def test_agreement_out_of_ignorance_is_no_plateau():
    llc = np.array([[1.0, -2.0, 3.0, 0.5, 9.0]])
    assert not find_plateau(llc, np.full((1, 5), 10.0), np.ones(5, bool)).any()


def test_of_two_plateaus_that_are_as_long_the_one_of_longer_steps_counts():
    llc = np.array([[10.0, 10.0, 30.0, 30.0]])
    found = find_plateau(llc, np.full((1, 4), 0.1), np.ones(4, bool))
    assert found.tolist() == [False, False, True, True]


def test_a_slope_is_no_plateau_though_neighbours_agree():
    llc = np.array([[10.0, 10.9, 11.8]])  # neighbours within a tenth, the ends not
    assert find_plateau(llc, np.full((1, 3), 0.01), np.ones(3, bool)).sum() == 2


def test_estimates_must_agree_at_every_checkpoint():
    llc = np.array([[10.0, 10.0], [10.0, 20.0]])
    assert not find_plateau(llc, np.full((2, 2), 0.1), np.ones(2, bool)).any()
    assert find_plateau(llc, np.full((2, 2), 4.0), np.ones(2, bool)).all()  # 10 < 2 · 4 · √2


# One cell ----------------------------------------------------------------------------------------


def test_there_is_room_above_the_cell():
    plateau = np.array([[False, True, True, True]])
    assert choose_cell(plateau, ~plateau, asked=0, proposed=3) == (0, 2)


def test_the_nearest_nbeta_with_a_plateau_is_taken():
    plateau = np.array([[False] * 3, [True] * 3, [False] * 3, [True] * 3])
    none = np.zeros((4, 3), bool)
    assert choose_cell(plateau, none, asked=2, proposed=1) == (1, 1)  # the smaller of two as near
    assert choose_cell(plateau, none, asked=3, proposed=1) == (3, 1)


def test_without_a_plateau_the_proposal_is_taken_or_a_smaller_step():
    none, failed = np.zeros((1, 4), bool), np.array([[False, False, False, True]])
    assert choose_cell(none, none, asked=0, proposed=2) == (0, 2)
    assert choose_cell(none, failed, asked=0, proposed=2) == (0, 1)
    assert choose_cell(none, ~none, asked=0, proposed=2) is None


def test_chains_are_judged_by_failures_and_drift():
    assert judge(chains_of(0, 10.0, 1e-3, 20.0)) == "ok"
    assert judge(chains_of(0, 10.0, 1e-3, 20.0, rise=5.0)) == "moving"
    assert judge(chains_of(0, 10.0, 1e-3, 20.0, broken=True)) == "failed"


def test_a_map_is_read(tmp_path):
    found = conclude(SETUP, a_map())
    assert found.nbetas.tolist() == list(NBETAS)
    assert found.step_sizes.tolist() == list(SIZES)
    assert found.llc[0, 1].tolist() == pytest.approx([10.0, 20.0, 20.0, 20.0])
    assert found.verdicts[:, 1].tolist() == [["ok"] * 4, ["ok"] * 3 + ["failed"]]
    assert found.plateau.tolist() == [[False, True, True, False]] * 2
    assert (found.row, found.column) == (1, 1)
    save_record(found, tmp_path / "one.npz")
    again = load_record(type(found), tmp_path / "one.npz")
    assert explain(again) == explain(found)
    assert recommended_settings(again) == recommended_settings(found)


# In words ----------------------------------------------------------------------------------------


def test_the_reason_says_what_lies_beside_the_plateau():
    reason = explain(conclude(SETUP, a_map()))
    assert "the same from ε = 0.003 to 0.009" in reason
    assert re.search(r"At ε = 0.001 the estimate at step 100? is 10, not 20: .* too slow", reason)
    assert "At ε = 0.027 chains fail at step 100." in reason
    assert "ε = 0.003 is the largest of them but one" in reason


def test_the_reason_says_when_another_nbeta_was_taken():
    found = conclude(SETUP, a_map({(30.0, 3e-3): {"llc": 30.0}}))
    assert (found.row, found.column) == (0, 1)
    assert explain(found).startswith("At nβ = 30, which was asked for, no two step sizes agree")
    assert "nβ = 10 is the nearest" in explain(found)


def test_the_reason_says_when_nothing_confirms_the_cell():
    levels = {(nbeta, size): {"llc": size * 1e4} for nbeta in NBETAS for size in SIZES}
    found = conclude(SETUP, a_map(levels))
    assert (found.row, found.column) == (1, 1)
    assert "nothing confirms these settings" in explain(found)


def test_nothing_is_recommended_where_everything_fails():
    broken = {(nbeta, size): {"broken": True} for nbeta in NBETAS for size in SIZES}
    found = conclude(SETUP, a_map(broken))
    assert found.row is None
    with pytest.raises(ValueError, match="Chains fail with the step size"):
        recommended_settings(found)


def test_chains_are_as_long_as_flat_directions_need():
    found = recommended_settings(conclude(SETUP, a_map()))
    assert (found["burn_in"], found["draws"]) == (150, 600)  # of a relaxation of 120 draws
    assert found["momentum"] == 0.9
    overdamped = conclude(replace(SETUP, method="sgld"), a_map())
    assert "momentum" not in recommended_settings(overdamped)


@given(st.floats(1e-9, 1e9))
def test_a_number_as_it_is_written_is_the_number(value):
    assert float(plain_number(value)) == pytest.approx(value, rel=1e-3)
