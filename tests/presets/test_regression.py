"""The plans are what the presets promise."""

import json

import pytest

from ontogeny.plans import plan_as_json
from ontogeny.presets import plan_regression
from ontogeny.probes import measure_curvature, measure_metrics, record_outputs, sample_chains
from ontogeny.training import checkpoint_steps

SIZES = ["quick", "standard", "paper"]


def asked(plan, probe):
    return next((settings, steps) for p, settings, steps in plan.measurements if p is probe)


@pytest.mark.parametrize("size", SIZES)
def test_every_probe_is_asked_at_checkpoints_that_there_will_be(size):
    plan = plan_regression(size, seed=0)
    kept = set(checkpoint_steps(plan.training).tolist())
    for _, _, steps in plan.measurements:
        assert set(steps.tolist()) <= kept


@pytest.mark.parametrize("size", SIZES)
def test_plans_survive_json(size):
    described = plan_as_json(plan_regression(size, seed=3))
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize("size", SIZES)
def test_the_seed_is_that_of_training_and_sampling_and_what_is_measured_on_stays(size):
    plan = plan_regression(size, seed=3)
    assert plan.training.seed == 3
    assert asked(plan, sample_chains)[0].seed == 3
    assert asked(plan, measure_metrics)[0].seed == 0
    assert asked(plan, record_outputs)[0].seed == 0


def test_quick_is_as_dense_as_it_should_be():
    plan = plan_regression("quick", seed=0)
    assert len(asked(plan, sample_chains)[1]) >= 25
    assert len(asked(plan, measure_metrics)[1]) >= 200
    assert len(asked(plan, record_outputs)[1]) >= 200
    curvature, steps = asked(plan, measure_curvature)
    assert len(steps) == 8
    assert curvature.examples == 256
    assert "LR1 and LR2" in plan.notes[0]


def test_paper_is_the_papers():
    plan = plan_regression("paper", seed=1)
    sampler, steps = asked(plan, sample_chains)
    assert len(steps) == 190
    assert (sampler.chains, sampler.draws, sampler.burn_in, sampler.batch_size) == (
        10,
        5000,
        0,
        1024,
    )
    assert sampler.step_size == 3e-4
    assert sampler.nbeta == pytest.approx(2 * 0.01 / 3e-4)
    assert sampler.localization == pytest.approx(2 * 0.001 / 3e-4)
    training = plan.training
    assert (training.steps, training.batch_size, training.learning_rate) == (500_000, 256, 3e-3)
