"""The plans of the systems whose critical points are known are what the presets promise."""

import json
from dataclasses import replace

import pytest
import torch

from ontogeny.analysis import read_run
from ontogeny.plans import measure_as_planned, plan_as_json, train_as_planned
from ontogeny.presets import plan_linear, plan_superposition
from ontogeny.presets.superposition import NEAR
from ontogeny.probes import Sampler, sample_chains
from ontogeny.problems import untrained
from ontogeny.problems.superposition_distances import distances_to_critical_points
from ontogeny.problems.superposition_landscape import critical_points
from ontogeny.training import checkpoint_steps

SIZES = ["quick", "standard", "paper"]
STARTS = [(plan_linear, "rank 0"), (plan_superposition, "0++++++")]
each_plan = pytest.mark.parametrize("make", [plan_linear, plan_superposition])


@each_plan
@pytest.mark.parametrize("size", SIZES)
def test_everything_is_asked_at_checkpoints_that_there_will_be(size, make):
    plan = make(size, seed=3)
    kept = set(checkpoint_steps(plan.training).tolist())
    for *_, steps in (*plan.measurements, *plan.refined):
        assert set(steps.tolist()) <= kept
    described = plan_as_json(plan)
    assert json.loads(json.dumps(described)) == described
    names = [asked.get("name", asked["probe"]) for asked in described["measurements"]]
    assert len(names) == len(set(names))


@each_plan
@pytest.mark.parametrize("size", SIZES)
def test_the_seed_is_that_of_training_and_sampling(size, make):
    plan = make(size, seed=3)
    assert plan.training.seed == 3
    samplers = [one for _, one, _ in plan.measurements if isinstance(one, Sampler)]
    assert {one.seed for one in (*samplers, *(one for one, _ in plan.refined))} == {3}


@each_plan
@pytest.mark.parametrize("size", SIZES)
def test_every_critical_point_names_a_data_set_that_there_is(size, make):
    problem = make(size, seed=0).problem
    assert {point.data for point in problem.critical_points} - {""} <= set(problem.datasets)


@pytest.mark.parametrize("size", SIZES)
def test_a_run_may_begin_near_any_critical_point(size):
    for point in critical_points():
        plan = plan_superposition(size, seed=1, start=point.name)
        assert f"from near {point.name}, seed 1" in plan.title
        model = untrained(plan.problem, seed=1)
        near = distances_to_critical_points(*(one.detach().numpy() for one in model.parameters()))
        assert min(near, key=near.get) == point.name
        assert near[point.name] < 2 * NEAR * 18**0.5
    first, second = (
        untrained(plan_superposition(size, seed, start="5").problem, seed) for seed in (0, 1)
    )
    assert not torch.equal(first.weights, second.weights)


def test_the_paper_preset_has_the_settings_of_the_paper():
    plan = plan_superposition("paper", seed=0)
    assert plan.problem.settings["examples"] == 1000
    training = plan.training
    assert (training.batch_size, training.learning_rate) == (20, 0.005)
    assert training.steps * training.batch_size == 4500 * 1000


@pytest.mark.parametrize(("make", "start"), STARTS)
def test_a_short_run_names_the_critical_points_it_rests_at(make, start, tmp_path):
    plan = make("quick", seed=0)
    training = replace(plan.training, steps=60, log_checkpoints=12, linear_checkpoints=4)
    kept = checkpoint_steps(training)
    few = {"draws": 20, "burn_in": 10, "block": 10, "chains": 2}
    measurements = tuple(
        (probe, replace(one, **few) if probe is sample_chains else one, kept)
        for probe, one, _ in plan.measurements
    )
    refined = tuple((replace(one, **few), kept[-1:]) for one, _ in plan.refined[:1])
    short = replace(plan, training=training, measurements=measurements, refined=refined)
    train_as_planned(short, tmp_path)
    measure_as_planned(tmp_path)
    found = read_run(tmp_path)
    assert found.critical_points == tuple(plan.problem.critical_points)
    assert found.departure.point.name == start
    assert all(stage.arrival for stage in found.stages)
