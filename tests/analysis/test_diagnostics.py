import numpy as np
import pytest
from arviz_stats.base import array_stats

from ontogeny.analysis.diagnostics import diagnose, effective_draws, split_rhat
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
