from dataclasses import replace

import numpy as np
import pytest
from arviz_stats.base import array_stats

from ontogeny.analysis.diagnostics import (
    diagnose,
    drift_of,
    effective_draws,
    is_precise,
    nested_rhat,
    split_rhat,
)
from ontogeny.analysis.llc import estimate_llc
from ontogeny.records import Chains


def chains_of(losses, initial_loss=1.0, burn_in=0):
    initial = np.full_like(losses, initial_loss)
    return Chains(
        step=40,
        losses=losses,
        initial_losses=initial,
        position_losses=losses[:, :, None],
        initial_position_losses=initial[:, :, None],
        nbeta=10.0,
        step_size=1e-3,
        localization=1.0,
        burn_in=burn_in,
    )


def healthy(chains=4, draws=300, mean=1.3, seed=0):
    return np.random.default_rng(seed).normal(mean, 0.1, (chains, draws))


def one_reason(losses, **settings):
    diagnosis = diagnose(chains_of(losses, **settings))
    assert diagnosis.verdict == "suspect"
    assert len(diagnosis.reasons) == 1
    return diagnosis.reasons[0]


@pytest.mark.parametrize("chains", [1, 4])
def test_healthy_chains_are_ok(chains):
    diagnosis = diagnose(chains_of(healthy(chains), burn_in=100))
    assert (diagnosis.verdict, diagnosis.reasons, diagnosis.failed) == ("ok", (), ())
    assert (diagnosis.step, diagnosis.chains) == (40, chains)
    curve = estimate_llc([chains_of(healthy(chains), burn_in=100)])
    assert (diagnosis.llc, diagnosis.stderr) == (curve.values[0, 0], curve.stderr[0, 0])


def test_false_alarms_are_rare():
    # Each of the rules has a false alarm rate of well under one per cent on independent draws.
    verdicts = [diagnose(chains_of(healthy(seed=seed))).verdict for seed in range(100)]
    assert verdicts.count("ok") >= 97


def test_a_slow_rise_is_seen():
    losses = healthy() + np.linspace(0, 0.05, 300)
    assert "still climbing" in one_reason(losses)
    assert "longer burn-in" in one_reason(losses)


def test_a_slow_fall_is_seen():
    losses = healthy(mean=1.5) - np.linspace(0, 0.05, 300)
    assert "still falls" in one_reason(losses)


def test_chains_that_disagree_are_seen():
    losses = healthy() + np.array([0.0, 0.0, 0.0, 0.3])[:, None]
    reasons = diagnose(chains_of(losses)).reasons
    assert "chains do not agree (R-hat 1." in reasons[0]
    assert "try more draws" in reasons[0]


def test_chains_shorter_than_flat_directions_take_are_seen():
    chains = replace(chains_of(healthy(), burn_in=100), relaxation=201.0)
    assert "200 draws after burn-in" in diagnose(chains).reasons[0]
    assert diagnose(replace(chains, relaxation=199.0)).verdict == "ok"
    assert diagnose(replace(chains, relaxation=np.inf)).verdict == "ok"  # the loss may pull instead
    assert not is_precise(chains, 0.5)
    assert is_precise(replace(chains, relaxation=199.0), 0.5)


def test_a_checkpoint_without_a_loss_gets_its_own_sentence():
    (reason,) = (r for r in diagnose(chains_of(np.full((4, 300), np.nan))).reasons)
    assert reason == (
        "step 40: the loss of the checkpoint itself is not finite; training diverged before it: "
        "leave it out"
    )


def test_few_effective_draws_are_seen():
    losses = healthy(draws=20)
    assert "effective draws, fewer than 25 for each chain" in one_reason(losses)


def test_a_negative_estimate_is_seen():
    assert "not a minimum at this resolution" in one_reason(healthy(mean=0.9))
    assert "the signal is below the noise" in one_reason(healthy(mean=0.9995))


def test_a_spike_is_seen():
    losses = healthy()
    losses[2, 150] = 1e25
    assert any("spikes in 1 draws, up to 1e+25" in r for r in diagnose(chains_of(losses)).reasons)


def test_a_failed_chain_makes_it_suspect():
    losses = healthy()
    losses[1, 200:] = np.nan
    assert one_reason(losses) == (
        "step 40: 1 of 4 chains failed (1); they are left out; lower step_size or nbeta"
    )
    diagnosis = diagnose(chains_of(losses))
    assert diagnosis.failed == (1,)
    assert diagnosis.chains == 4
    assert diagnosis.llc == diagnose(chains_of(losses[[0, 2, 3]])).llc


def test_all_chains_failed():
    diagnosis = diagnose(chains_of(np.full((3, 8), np.nan)))
    assert diagnosis.verdict == "failed"
    assert diagnosis.failed == (0, 1, 2)
    assert np.isnan([diagnosis.llc, diagnosis.stderr, diagnosis.rhat, diagnosis.ess]).all()
    assert len(diagnosis.reasons) == 1


@pytest.mark.parametrize("losses", [np.full((2, 40), 1.1), np.array([[1.1, 1.2, 1.3]])])
def test_draws_that_say_nothing_are_suspect(losses):
    assert "too few draws, or draws that never change" in one_reason(losses)


def test_halves_without_spread_that_differ_do_not_divide_by_zero():
    assert split_rhat(np.array([[1.0] * 4 + [2.0] * 4])) == np.inf
    assert diagnose(chains_of(np.array([[1.0] * 4 + [2.0] * 4]))).verdict == "suspect"


@pytest.mark.parametrize("seed", range(3))
def test_arviz_gives_the_same_numbers(seed):
    walks = np.cumsum(healthy(seed=seed) - 1.3, axis=1)
    assert np.isclose(split_rhat(walks), array_stats.rhat(walks, method="split"))
    assert np.isclose(effective_draws(walks), array_stats.ess(walks, method="mean"))


def test_there_are_no_more_effective_draws_than_draws():
    alternating = np.tile([1.0, 2.0], 50)[None] + healthy(1, 100)
    assert effective_draws(alternating) == 100


# How the chains moved ----------------------------------------------------------------------------


def test_the_drift_has_a_sign_and_a_scale():
    """A hundred draws of ±0.2 around 0, and a hundred around 1."""
    halves = np.array([[0.2, -0.2] * 50 + [1.2, 0.8] * 50])
    error = np.hypot(0.2 / np.sqrt(99), 0.2 / np.sqrt(99))
    assert drift_of(halves) == pytest.approx(1 / error)
    assert drift_of(-halves) == pytest.approx(-1 / error)
    assert drift_of(halves[:, :100]) == 0
    assert drift_of(np.array([[0.0] * 4 + [1.0] * 4])) == np.inf
    assert np.isnan(drift_of(np.zeros((2, 3))))
    assert np.isnan(drift_of(np.zeros((0, 30))))


def test_a_drift_is_seen_in_its_direction_and_told():
    rising = healthy() + np.linspace(0, 0.05, 300)
    assert diagnose(chains_of(rising)).drift > 3
    assert diagnose(chains_of(rising[:, ::-1].copy())).drift < -3
    assert abs(diagnose(chains_of(healthy())).drift) < 3


def test_the_share_of_draws_below_the_checkpoint_is_after_burn_in():
    losses = np.full((2, 40), 1.2)
    losses[:, :20] = 0.5
    losses[0, 20:25] = 0.9
    assert diagnose(chains_of(losses, burn_in=20)).below == 5 / 40
    assert diagnose(chains_of(losses)).below == 45 / 80


def test_what_stands_beside_the_blocks_is_averaged_over_good_chains():
    losses = healthy(3)
    losses[2, 100:] = np.nan
    numbers = {
        "distances": [[1.0, 2.0], [3.0, 5.0], [9.0, np.nan]],
        "drift_ratios": [[0.1, 0.2], [0.3, 0.4], [9.0, np.nan]],
        "acceptances": [[1.0, 0.5], [0.5, 1.0], [0.0, np.nan]],
    }
    blocks = {name: np.repeat(values, 150, axis=1) for name, values in numbers.items()}
    found = diagnose(replace(chains_of(losses), **blocks, relaxation=70.0))
    assert found.distance == 3.5  # at the end
    assert found.drift_ratio == pytest.approx(0.25)
    assert found.acceptance == pytest.approx(0.75)
    assert (found.draws, found.relaxation) == (300, 70.0)


def test_what_was_not_recorded_is_nan():
    for found in (diagnose(chains_of(healthy())), diagnose(chains_of(np.full((2, 8), np.nan)))):
        numbers = found.distance, found.drift_ratio, found.acceptance, found.nested_rhat
        assert np.isnan(numbers).all()


# Signal, and precision ---------------------------------------------------------------------------


def test_an_estimate_that_is_zero_in_every_draw_is_not_lost_in_noise():
    assert "too few draws, or draws that never change" in one_reason(np.ones((2, 40)))


def test_chains_are_precise_when_their_error_is_a_small_enough_share():
    chains = chains_of(healthy(), burn_in=100)
    curve = estimate_llc([chains])
    share = float(curve.stderr[0, 0] / curve.values[0, 0])
    assert is_precise(chains, 1.001 * share)
    assert not is_precise(chains, 0.999 * share)
    below = replace(chains, losses=2 - chains.losses)  # the excess has the other sign
    assert is_precise(below, 1.001 * share)
    assert not is_precise(below, 0.999 * share)


def test_a_precision_that_was_missed_is_told_with_what_was_reached():
    """300 draws of spread 0.1 in each of 4 chains know a mean of 0.3 to about one per cent."""
    chains = chains_of(healthy())
    curve = estimate_llc([chains])
    share = float(curve.stderr[0, 0] / curve.values[0, 0])
    assert 0.005 < share < 0.02
    for asked in (0.0, 1.01 * share):
        assert diagnose(replace(chains, precision=asked)).reasons == ()
    found = diagnose(replace(chains, precision=0.99 * share))
    assert found.verdict == "suspect"
    assert found.reasons == (
        f"asked for a standard error of {0.99 * share:.2g} of the estimate, reached {share:.2g} in "
        "300 draws; allow more draws",
    )


def test_chains_that_drift_are_not_precise_however_small_their_error():
    rising = chains_of(healthy() + np.linspace(0, 0.2, 300))
    assert estimate_llc([rising]).stderr[0, 0] < 0.5 * estimate_llc([rising]).values[0, 0]
    assert not is_precise(rising, 0.5)
    assert is_precise(chains_of(healthy()), 0.5)


def test_chains_that_failed_gain_nothing_from_more_draws():
    losses = healthy()
    losses[1:] = np.nan
    assert not is_precise(chains_of(losses), 1e-6)
    losses[0] = np.nan
    assert is_precise(chains_of(losses), 1e-6)


# Groups ------------------------------------------------------------------------------------------


def grouped(losses, groups):
    return replace(chains_of(np.asarray(losses, dtype=float)), groups=groups)


def test_nested_rhat_by_hand():
    """Chains of ±1 around 0 and 2, and around 4 and 6.

    The variance within a chain is 4/3 (of four draws, three are free), that of the means in a group
    is 2, and that of the means of the groups, 1 and 5, is 8.
    """
    losses = np.array([0, 2, 4, 6])[:, None] + np.array([1, -1, 1, -1])
    expected = np.sqrt(1 + 8 / (2 + 4 / 3))
    assert nested_rhat(grouped(losses, 2)) == pytest.approx(expected)
    found = diagnose(grouped(losses, 2))
    assert found.nested_rhat == pytest.approx(expected)
    assert any("groups of chains that started apart do not agree" in r for r in found.reasons)


def test_groups_that_differ_more_than_their_chains_do_are_seen():
    apart = np.repeat([0.0, 0.1, -0.1, 0.0], 4)[:, None]
    same = diagnose(grouped(healthy(16), 4))
    assert (same.verdict, same.reasons) == ("ok", ())
    assert 1 <= same.nested_rhat < 1.05
    other = diagnose(grouped(healthy(16) + apart, 4))
    assert other.verdict == "suspect"
    assert other.nested_rhat > 1.05


def test_a_group_with_a_failed_chain_is_left_out():
    losses = healthy(8) + np.repeat([0.0, 0.3, 0.3, 5.0], 2)[:, None]
    losses[7, 50:] = np.nan
    assert nested_rhat(grouped(losses, 4)) == nested_rhat(grouped(losses[:6], 3))
    losses[[1, 3], 50:] = np.nan
    assert np.isnan(nested_rhat(grouped(losses, 4)))


def test_groups_of_one_chain_are_compared_by_their_draws():
    losses = np.array([0, 4])[:, None] + np.array([1, -1, 1, -1])
    assert nested_rhat(grouped(losses, 2)) == pytest.approx(np.sqrt(1 + 8 / (4 / 3)))


@pytest.mark.parametrize("losses", [np.full((4, 40), 1.1), np.full((4, 3), 1.1)])
def test_groups_that_say_nothing_say_nan_without_a_warning(losses):
    found = diagnose(grouped(losses, 2))
    assert np.isnan(found.nested_rhat)
    assert found.verdict == "suspect"


def test_groups_that_stand_still_apart_do_not_agree():
    found = diagnose(grouped(np.repeat([1.1, 1.2], 80).reshape(4, 40), 2))
    assert found.nested_rhat == np.inf
    assert any("groups of chains" in reason for reason in found.reasons)
