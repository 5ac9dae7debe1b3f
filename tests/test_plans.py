"""Plans are kept, changed and refused."""

import json
import re
from dataclasses import asdict

import pytest

from ontogeny.plans import (
    check_sampler,
    components_alone,
    name_of_refined,
    plan_chains,
)
from ontogeny.presets import plan_regression
from ontogeny.probes import Sampler
from ontogeny.problems import regression
from ontogeny.runs import create_run
from ontogeny.storage import claim, read_plan
from tests.examples import line

SETTINGS = asdict(Sampler(draws=40, burn_in=20, block=20, batch_size=8, seed=5))
STEPS = [0, 1, 3, 10, 30, 100, 300, 1000]


@pytest.fixture
def folder(tmp_path):
    """A run that is planned, and neither trained nor measured."""
    create_run(regression(d_model=8, d_mlp=8, n_heads=2), tmp_path, {"steps": 1001})
    chains = {"probe": "ontogeny.probes.chains:sample_chains", "settings": SETTINGS, "steps": STEPS}
    metrics = {"probe": "m:measure_metrics", "settings": {}, "steps": STEPS}
    described = {
        "title": "A run",
        "notes": [],
        "prefix": "S",
        "checkpoints": STEPS,
        "measurements": [chains, metrics],
    }
    (tmp_path / "plan.json").write_text(json.dumps(described))
    return tmp_path


def measurements(folder):
    """What a plan asks for: by name, the settings and the steps."""
    return {
        asked.get("name", asked["probe"].partition(":")[2]): (asked["settings"], asked["steps"])
        for asked in read_plan(folder)["measurements"]
    }


def test_settings_stand_in_the_place_of_the_plans(folder):
    before = read_plan(folder)
    plan_chains(folder, {"precision": 0.02, "method": "rmsprop"})
    after = read_plan(folder)
    expected = SETTINGS | {"precision": 0.02, "method": "rmsprop", "draws": 400}
    assert measurements(folder)["sample_chains"] == (expected, STEPS)
    assert after["measurements"][1:] == before["measurements"][1:]
    assert {**after, "measurements": []} == {**before, "measurements": []}


def test_at_fewer_checkpoints_first_and_last_stay(folder):
    plan_chains(folder, {}, checkpoints=3)
    settings, steps = measurements(folder)["sample_chains"]
    assert settings == SETTINGS
    assert set(steps) <= set(STEPS)
    assert 2 <= len(steps) <= 4
    assert (steps[0], steps[-1]) == (0, 1000)


def test_each_component_is_planned_alone_beside_the_whole(folder):
    plan_chains(folder, {"draws": 60}, ["head.1.*", "mlp.1,mlp.2", "blocks.0.*"], "large_inputs")
    found = measurements(folder)
    assert list(found) == [
        "sample_chains",
        "measure_metrics",
        "sample_chains-head.1.1-on-large_inputs",
        "sample_chains-head.1.2-on-large_inputs",
        name_of_refined("mlp.1,mlp.2", "large_inputs"),
        name_of_refined("blocks.0.*", "large_inputs"),
    ]
    assert found["sample_chains"] == (SETTINGS, STEPS)
    refined = {"draws": 60, "data": "large_inputs"}
    for weights in ("head.1.1", "mlp.1,mlp.2"):
        settings, steps = found[name_of_refined(weights, "large_inputs")]
        assert settings == SETTINGS | refined | {"weights": weights}
        assert steps == STEPS


def test_on_other_data_all_weights_move(folder):
    plan_chains(folder, {}, data="large_tasks", checkpoints=2)
    settings, steps = measurements(folder)["sample_chains-all-on-large_tasks"]
    assert settings == SETTINGS | {"data": "large_tasks"}
    assert len(steps) < len(STEPS)
    assert measurements(folder)["sample_chains"] == (SETTINGS, STEPS)


def test_what_is_planned_again_is_planned_once(folder):
    plan_chains(folder, {}, ["head.1.1"])
    plan_chains(folder, {"draws": 60}, ["head.*"])
    names = [name for name in measurements(folder) if name.startswith("sample_chains-")]
    assert names == [f"sample_chains-head.{layer}.{head}" for layer in (1, 2) for head in (1, 2)]
    assert measurements(folder)["sample_chains-head.1.1"][0]["draws"] == 60


@pytest.mark.parametrize(
    ("name", "made_with", "asked"),
    [
        ("sample_chains", {}, {"settings": {"draws": 60}}),
        ("sample_chains-head.1.1", {"weights": "head.1.1"}, {"weights": ["head.*"]}),
        ("sample_chains-all-on-large_inputs", {"data": "large_inputs"}, {"data": "large_inputs"}),
    ],
)
def test_what_was_measured_with_other_settings_is_left_as_it_is(name, made_with, asked, folder):
    path = folder / "measured" / name / "settings.json"
    claim(path, {"settings": SETTINGS | made_with, "device": "cpu"})
    before = (folder / "plan.json").read_bytes(), path.read_bytes()
    with pytest.raises(ValueError, match="was measured with draws = 40, not 60; give --again"):
        plan_chains(folder, **({"settings": {"draws": 60}} | asked))
    assert ((folder / "plan.json").read_bytes(), path.read_bytes()) == before
    plan_chains(folder, **(asked | {"settings": {}}))  # with those that it was made with


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"settings": {"draws": 50}}, r"draws \(50\) must be a multiple of block \(20\)"),
        ({"settings": {"drawz": 50}}, r"plan\.json has an impossible setting: .*drawz"),
        ({"settings": {}, "checkpoints": 0}, "checkpoints must be at least 1, not 0"),
        ({"settings": {}, "checkpoints": -3}, "checkpoints must be at least 1, not -3"),
        ({"settings": {}, "weights": ["tail.*"]}, r"no weights are called 'tail\.\*'"),
        ({"settings": {}, "weights": ["mlp.1", "mlp.1,tail"]}, "no weights are called 'tail'"),
        ({"settings": {}, "weights": [""]}, "weights must name some weights, such as 'head"),
        ({"settings": {}, "weights": ["mlp.1", " "]}, "weights must name some weights"),
        ({"settings": {}, "data": "small"}, "no data set 'small'; there are large_inputs, large_t"),
    ],
)
def test_what_cannot_be_planned_is_refused_and_the_plan_stays(asked, message, folder):
    before = (folder / "plan.json").read_bytes()
    with pytest.raises(ValueError, match=message) as refusal:
        plan_chains(folder, **asked)
    assert len(str(refusal.value).splitlines()) == 1
    assert (folder / "plan.json").read_bytes() == before


def test_chains_with_other_settings_are_put_aside_when_that_is_said(folder):
    measured = folder / "measured"
    for number, draws in enumerate((60, 80), start=1):
        settings = measurements(folder)["sample_chains"][0]
        claim(measured / "sample_chains" / "settings.json", {"settings": settings, "device": "cpu"})
        (measured / "sample_chains" / "00000000.npz").write_bytes(b"%d" % draws)
        plan_chains(folder, {"draws": draws}, again=True)
        assert not (measured / "sample_chains").exists()
        aside = measured / f"earlier-{number}-sample_chains"
        assert (aside / "00000000.npz").read_bytes() == b"%d" % draws
    assert measurements(folder)["sample_chains"][0]["draws"] == 80
    claim(measured / "sample_chains" / "settings.json", {"settings": SETTINGS | {"draws": 80}})
    plan_chains(folder, {"draws": 80}, again=True)  # with those that it was made with
    assert (measured / "sample_chains" / "settings.json").exists()


def test_no_component_is_put_aside_for_another(folder):
    for name, weights in [("head.1.1", "head.1.1"), ("mlp.1", "mlp.1")]:
        claim(
            folder / "measured" / f"sample_chains-{name}" / "settings.json",
            {"settings": SETTINGS | {"weights": weights}, "device": "cpu"},
        )
    plan_chains(folder, {"draws": 60}, ["head.1.1"], again=True)
    assert sorted(path.name for path in (folder / "measured").iterdir()) == [
        "earlier-1-sample_chains-head.1.1",
        "sample_chains-mlp.1",
    ]


def test_for_a_precision_chains_may_be_ten_times_as_long_unless_their_draws_are_said(folder):
    def draws_after(**settings):
        plan_chains(folder, settings)
        return measurements(folder)["sample_chains"][0]["draws"]

    assert draws_after(precision=0.05, draws=100) == 100
    assert draws_after(precision=0.02) == 100  # a precision was planned already
    assert draws_after(precision=0.0) == 100
    assert draws_after(precision=0.02) == 1000


def test_fewer_checkpoints_can_become_more_again(folder):
    counts = []
    for checkpoints in (2, 100):
        plan_chains(folder, {}, checkpoints=checkpoints)
        counts.append(len(measurements(folder)["sample_chains"][1]))
    assert counts[0] < counts[1]


def test_no_two_measurements_have_the_same_folder():
    """Though little of their names can stand in the name of a folder."""
    every = ["", "all", "a.b", "a,b", "a b", "a-on-b", "a", "a_b", "*", "?", "head.*", "head._"]
    names = {name_of_refined(weights, data) for weights in every for data in ("", "b", "c")}
    # No weights are all weights, under whatever name.
    assert len(names) == (len(every) - 1) * 3
    assert all(re.fullmatch(r"sample_chains-[\w.+-]+", name) for name in names)


def test_impossible_settings_are_refused_before_anything_is_trained():
    plan = plan_regression("quick", seed=0)
    check_sampler(plan, {"draws": 600})
    with pytest.raises(ValueError, match="draws"):
        check_sampler(plan, {"draws": 601})


def test_without_a_plan_for_chains_nothing_can_be_changed(folder, tmp_path_factory):
    described = read_plan(folder)
    described["measurements"] = described["measurements"][1:]
    (folder / "plan.json").write_text(json.dumps(described))
    for place in (folder, tmp_path_factory.mktemp("empty")):
        with pytest.raises(ValueError, match=r"no plan\.json that says once at which steps to"):
            plan_chains(place, {})


def test_a_problem_without_components_has_its_parameters():
    problem = line()
    assert components_alone(problem, ["weight", "*"], "") == ["weight", "*"]
    assert components_alone(problem, [], "") == []
    assert components_alone(regression(), ["*"], "") == list(
        regression().components(regression().model())
    )
