from dataclasses import replace

import numpy as np
import pytest
from arviz_stats.base import array_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.analysis.llc import (
    estimate_llc,
    excess,
    failed_chains,
    initial_loss,
    kept_draws,
    llc_by_position,
    mean_stderr,
    walk_shares,
)
from ontogeny.records import Chains


def chains_of(losses, step=0, burn_in=0, initial=1.0, nbeta=10.0, block=2, pairing=1):
    """Chains with two positions, whose losses are half and one and a half times the loss."""
    losses = np.asarray(losses, dtype=float)
    initial_losses = np.broadcast_to(np.asarray(initial, dtype=float), losses.shape)[:, ::pairing]
    count = losses.shape[1] // block

    def blocks(whole):
        positions = whole[:, :, None] * np.array([0.5, 1.5])
        return positions.reshape(len(whole), count, -1, 2).mean(axis=2)

    return Chains(
        step=step,
        losses=losses,
        initial_losses=initial_losses,
        position_losses=blocks(losses),
        initial_position_losses=blocks(initial_losses),
        nbeta=nbeta,
        step_size=1e-3,
        localization=1.0,
        burn_in=burn_in,
        paired_position_losses=blocks(losses[:, ::pairing]) if pairing > 1 else None,
    )


def correlated(repeats, chains, draws, time, share, seed=0):
    """Stationary draws of variance 1, a share of it an AR(1) process, the rest white."""
    rng = np.random.default_rng(seed)
    a = np.exp(-1 / time) if time else 0.0
    slow = rng.normal(size=(repeats, chains, draws))
    for i in range(1, draws):
        slow[..., i] = a * slow[..., i - 1] + np.sqrt(1 - a * a) * slow[..., i]
    white = rng.normal(size=slow.shape)
    return np.sqrt(share) * slow + np.sqrt(1 - share) * white


# The estimate ------------------------------------------------------------------------------------


def test_it_is_nbeta_times_the_excess():
    curve = estimate_llc([chains_of([[1.0, 1.2, 1.4, 1.2], [1.4, 1.6, 1.4, 1.6]])])
    assert np.allclose(curve.values, [[3.5]])
    assert np.allclose(curve.chains, [[2.0, 5.0]])
    assert (curve.name, curve.unit, curve.items, curve.warnings) == ("llc", "", ("",), ())


def test_burn_in_never_enters_the_mean():
    losses = np.full((2, 8), 1.3)
    losses[:, :4] = 1e6
    for burned in (chains_of(losses, burn_in=4), chains_of(losses)):
        assert np.allclose(estimate_llc([burned], burn_in=4).values, 3.0)
        assert np.allclose(llc_by_position([burned], burn_in=4).values, [[1.5, 4.5]])
    assert np.allclose(estimate_llc([chains_of(losses, burn_in=4)]).values, 3.0)
    assert np.allclose(llc_by_position([chains_of(losses)], burn_in=3).values, [[1.5, 4.5]])


def test_a_failed_chain_is_excluded_and_named():
    losses = np.array([[1.2] * 6, [1.4] * 6, [9.0, 9.0, np.nan, np.nan, np.nan, np.nan]])
    curve = estimate_llc([chains_of(losses, step=70)])
    assert np.allclose(curve.values, 3.0)
    assert np.allclose(curve.chains, [[2.0, 4.0, np.nan]], equal_nan=True)
    assert curve.warnings == ("step 70: 1 of 3 chains failed (2); they are left out",)
    assert np.allclose(llc_by_position([chains_of(losses)]).values, [[1.5, 4.5]])


def test_a_chain_that_failed_after_its_burn_in_or_during_it_has_failed():
    early = chains_of([[np.nan] * 6, [1.2] * 6], burn_in=4)
    assert np.isnan(estimate_llc([early]).chains[0, 0])


def test_where_all_chains_failed_there_is_no_value():
    good, bad = chains_of([[1.2] * 4] * 2, step=1), chains_of([[1.2] + [np.nan] * 3] * 2, step=2)
    for curve in (estimate_llc([good, bad]), llc_by_position([good, bad])):
        assert np.isfinite(curve.values[0]).all()
        assert np.isnan(curve.values[1]).all()
        assert np.isnan(curve.stderr[1]).all()
        assert curve.warnings == ("step 2: 2 of 2 chains failed (0, 1); no estimate is left",)


def test_checkpoints_come_in_order():
    curve = estimate_llc([chains_of([[s / 10 + 1.0] * 4], step=s) for s in (30, 5, 20)])
    assert curve.steps.tolist() == [5, 20, 30]
    assert np.allclose(curve.values[:, 0], [5, 20, 30])


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 4), st.sampled_from([1, 2, 3, 6]))
def test_positions_average_to_the_whole(chains, blocks, burned, pairing):
    rng = np.random.default_rng(0)
    losses, initial = rng.normal(2.0, 1.0, (2, chains, 6 * (blocks + burned)))
    one = chains_of(losses, initial=0.5 * initial, burn_in=6 * burned, block=6, pairing=pairing)
    assert np.allclose(llc_by_position([one]).values.mean(), estimate_llc([one]).values)
    assert llc_by_position([one]).items == ("1", "2")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate_llc([]), "no chains"),
        (lambda: estimate_llc([chains_of([[1.0] * 4])] * 2), "same checkpoint"),
        (lambda: estimate_llc([chains_of([[1.0] * 4])], burn_in=4), "must leave some"),
        (lambda: estimate_llc([chains_of([[1.0] * 4])], burn_in=-1), "must leave some"),
        (lambda: llc_by_position([chains_of([[1.0] * 4])], burn_in=3), "no whole block of 2"),
        (
            lambda: estimate_llc(
                [chains_of([[1.0] * 4]), chains_of([[1.0] * 4], step=1, nbeta=20.0)]
            ),
            r"different settings.*10\.0.*20\.0",
        ),
    ],
)
def test_what_makes_no_curve_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Which draws are paired with the checkpoint -------------------------------------------------------


def test_where_every_draw_is_paired_the_excess_is_the_difference():
    rng = np.random.default_rng(0)
    losses, initial = rng.normal(2.0, 1.0, (2, 3, 8))
    one = chains_of(losses, initial=initial)
    assert np.array_equal(walk_shares(one), np.ones(3))
    assert np.array_equal(excess(one), losses - initial)
    assert np.isclose(estimate_llc([one], burn_in=3).values, 10 * (losses - initial)[:, 3:].mean())


@pytest.mark.parametrize("pairing", [1, 2, 4, 8])
def test_where_minibatches_are_alike_all_of_the_variance_is_the_walks(pairing):
    losses = np.random.default_rng(0).normal(2.0, 1.0, (3, 16))
    one = chains_of(losses, burn_in=8, pairing=pairing, block=8)
    assert np.array_equal(walk_shares(one), np.ones(3))
    expected = losses.reshape(3, -1, pairing).mean(axis=2) - 1.0
    assert np.allclose(excess(one), expected)
    assert np.isclose(estimate_llc([one]).values, 10 * (losses[:, 8:].mean() - 1.0))


def test_the_share_of_the_walk_by_hand():
    """Draws of a pair differ by 0.4, a variance of 0.08; the checkpoint's losses have 0.01.

    So the share is 7/8, and the excess of a pair is its paired difference and 7/8 of the way from
    the paired draw to the mean of both.
    """
    losses, initial = [[1.0, 1.4, 1.2, 1.6]] * 2, [[0.9, 9.9, 1.1, 9.9]] * 2
    one = chains_of(losses, initial=initial, pairing=2)
    assert np.allclose(walk_shares(one), 7 / 8)
    assert np.allclose(excess(one), 0.1 + 7 / 8 * 0.2)
    assert np.isclose(estimate_llc([one]).values[0, 0], 10 * (0.1 + 7 / 8 * 0.2))


def test_where_only_minibatches_vary_only_paired_draws_count():
    """The checkpoint's losses vary more than the draws of a pair do: no share is negative."""
    one = chains_of([[1.0, 1.1, 3.0, 3.1]] * 2, initial=[[0.5, 0, 2.5, 0]] * 2, pairing=2)
    assert np.array_equal(walk_shares(one), np.zeros(2))
    assert np.allclose(excess(one), 0.5)


def test_a_share_is_that_of_the_other_chains_that_did_not_fail():
    losses, initial = np.random.default_rng(0).normal(2.0, 1.0, (2, 3, 40))
    losses[1, 20:] = np.nan
    shares = walk_shares(chains_of(losses, initial=0.3 * initial, pairing=4, block=4))
    swapped = walk_shares(chains_of(losses[::-1], initial=0.3 * initial[::-1], pairing=4, block=4))
    assert ((shares > 0) & (shares < 1)).all()
    assert np.array_equal(shares, swapped[::-1])
    assert shares[0] != shares[2]  # each from the other


def test_a_noisy_chain_of_few_weights_has_not_failed():
    """Losses of 1,000 at nβ = 10 differ by 5 between the means of all and of paired draws."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5.0, (4, 200))
    one = chains_of(1000.0 + noise, initial=1000.0 + noise, pairing=10, block=10)
    assert not failed_chains(replace(one, parameters=5)).any()
    assert failed_chains(replace(one, losses=one.losses + 100.0, parameters=5)).all()


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("pairing", [1, 2, 5, 10])
def test_any_pairing_has_the_right_mean(noise, pairing):
    """The excess is 0.2; minibatch noise is common to a draw and to the checkpoint's loss there."""
    rng = np.random.default_rng(0)
    walk = 1.2 + 0.3 * correlated(100, 2, 40, 5, 1.0)
    shared = noise * rng.normal(size=walk.shape)
    found = [
        estimate_llc([chains_of(draws, initial=initial, pairing=pairing, block=10)]).values[0, 0]
        for draws, initial in zip(walk + shared, 1.0 + shared, strict=True)
    ]
    assert abs(np.mean(found) - 2.0) <= 4 * np.std(found) / np.sqrt(len(found))


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_the_share_is_worth_what_the_better_of_the_extremes_is(noise):
    """The walk has 0.3. Errors by either extreme are up to ten times as large in variance.

    A ratio of two variances over 200 repetitions is known to a seventh even if they are
    independent, and these are not.
    """
    rng = np.random.default_rng(1)
    walk = 1.2 + 0.3 * correlated(200, 4, 200, 2, 1.0)
    shared = noise * rng.normal(size=walk.shape)
    every = [
        chains_of(draws, initial=initial, pairing=5, block=10)
        for draws, initial in zip(walk + shared, 1.0 + shared, strict=True)
    ]
    paired = np.var([(one.losses[:, ::5] - one.initial_losses).mean() for one in every])
    whole = np.var([one.losses.mean() - one.initial_losses.mean() for one in every])
    found = np.var([kept_draws(one).mean() for one in every])
    assert found <= 1.15 * min(paired, whole)
    assert found <= 0.7 * max(paired, whole)


@pytest.mark.parametrize(("burn_in", "pairs"), [(0, 4), (1, 3), (5, 3), (6, 2), (15, 1)])
def test_a_pair_that_burn_in_cuts_is_burnt_whole(burn_in, pairs):
    losses = np.repeat([[7.0, 5.0, 3.0, 2.0]], 5, axis=1).reshape(1, 20)
    kept = kept_draws(chains_of(losses, pairing=5, block=5), burn_in)
    assert kept.tolist() == [[6.0, 4.0, 2.0, 1.0][4 - pairs :]]
    with pytest.raises(ValueError, match=r"burn_in \(16\) must leave some of the 20 draws"):
        kept_draws(chains_of(losses, pairing=5, block=5), 16)


# Its error ---------------------------------------------------------------------------------------


def test_what_the_minibatches_do_to_both_losses_drops_out():
    """Minibatch noise that the checkpoint's loss shares is no error, what it does not share is."""
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 0.5, (4, 100)), rng.normal(0, 0.1, (4, 100))
    curve = estimate_llc([chains_of(1.3 + shared + own, initial=1.0 + shared)])
    quiet = estimate_llc([chains_of(1.3 + own, initial=1.0)])
    assert np.allclose(curve.values, quiet.values)
    assert np.allclose(curve.stderr, quiet.stderr)


def test_the_error_of_the_initial_loss_counts():
    """Its noise is independent of that of the draws here: variances add, 0.1² + 0.2² over 400."""
    rng = np.random.default_rng(0)
    own, initial = rng.normal(1.3, 0.1, (4, 100)), rng.normal(1, 0.2, (4, 100))
    stderr = estimate_llc([chains_of(own, initial=initial)]).stderr[0, 0]
    expected = 10 * np.hypot(0.1, 0.2) / 20
    assert expected * 0.9 < stderr < 2 * expected  # the largest of several estimates
    found = initial_loss([chains_of(own, initial=initial)])
    assert np.isclose(found.values[0, 0], initial.mean())
    assert np.isclose(found.stderr[0, 0], initial.std(ddof=1) / 20)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 6), st.integers(1, 40), st.floats(0.0, 3.0))
def test_the_error_is_never_below_what_the_chains_say(chains, draws, spread):
    rng = np.random.default_rng(chains * draws)
    sample = rng.normal(size=(chains, draws)) + spread * rng.normal(size=(chains, 1))
    error = mean_stderr(sample)
    assert error >= sample.mean(axis=1).std(ddof=1) / np.sqrt(chains) - 1e-12
    assert error >= sample.std(ddof=1) / np.sqrt(sample.size) - 1e-12
    if draws >= 4:
        assert error >= array_stats.mcse(sample) - 1e-12


@pytest.mark.parametrize(
    ("chains", "draws", "time", "share", "worst"),
    [
        (1, 12, 0, 1.0, 1.0),
        (1, 300, 10, 1.0, 1.15),
        (1, 300, 10, 0.1, 1.15),
        (4, 12, 0, 1.0, 1.0),
        (4, 50, 10, 1.0, 1.15),
        (4, 300, 10, 0.1, 1.0),
        (4, 300, 50, 1.0, 1.15),
        (10, 50, 50, 0.1, 1.15),
    ],
)
def test_the_error_is_honest(chains, draws, time, share, worst):
    """The mean misses the truth, 0, by one stated error in root mean square, or little more.

    `time` is the correlation time in draws. The mean square of 200 normal scores has a standard
    error of 0.1, and of scores with as few degrees of freedom as there are chains about 0.15.
    """
    scores = [
        draw.mean() / mean_stderr(draw) for draw in correlated(200, chains, draws, time, share)
    ]
    assert np.mean(np.square(scores)) <= worst**2 + 4 * 0.15


def test_the_error_shrinks_with_the_draws():
    long, short = (mean_stderr(correlated(1, 4, n, 5, 1.0)[0]) for n in (6400, 400))
    assert 1 / 8 < long / short < 1 / 2  # 1/4, and each is known to about a fifth


def test_too_few_draws_have_no_error_or_a_large_one():
    assert np.isnan(mean_stderr(np.ones((1, 1))))
    assert np.isnan(mean_stderr(np.ones((0, 5))))
    assert np.isclose(mean_stderr(np.array([[0.0], [1.0]])), 0.5)
    assert np.isclose(mean_stderr(np.array([[0.0, 1.0]])), 0.5)


@pytest.mark.parametrize(("highest", "pairing"), [(1e30, 1), (1e30, 2), (1e300, 2)])
def test_a_chain_that_diverged_without_overflow_is_left_out(highest, pairing):
    """With 12 weights no learning coefficient exceeds 6, and no honest chain comes near 12."""
    losses = np.full((3, 8), 1.2)
    losses[1] = np.geomspace(1.2, highest, 8)
    chains = replace(chains_of(losses, pairing=pairing), parameters=12)
    curve = estimate_llc([chains])
    assert np.isclose(curve.values[0, 0], 2.0)
    assert np.isnan(curve.chains[0]).tolist() == [False, True, False]
    assert "1 of 3 chains failed (1)" in curve.warnings[0]
