import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.autograd.function import once_differentiable

from ontogeny.plans import Plan, plan_as_json
from ontogeny.probes import Sampler, sample_chains
from ontogeny.probes.calibration import (
    Stiffness,
    calibrate,
    measure_stiffness,
    short_chains,
    steps_to_look_at,
)
from ontogeny.problems.exact import potential_problem, quadratic, quadratic_llc
from ontogeny.runs import Run
from ontogeny.storage import whole_file
from ontogeny.training import Training
from tests.examples import line

H = np.geomspace(0.02, 2.0, 60).tolist()
SHORT = Sampler(method="sgld", nbeta=50.0, chains=2, draws=80, burn_in=40, block=10, batch_size=1)


def weights_of(problem):
    return problem.model().state_dict()


def a_run(folder, problem, steps=(7,)):
    return Run(problem, folder, {step: weights_of(problem) for step in steps})


class Halved(torch.autograd.Function):
    """½x², whose derivative cannot be differentiated again."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square() / 2

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        return slope * ctx.saved_tensors[0]


# Curvature ---------------------------------------------------------------------------------------


def test_curvature_is_that_of_the_loss():
    problem = quadratic(H)
    found = measure_stiffness(problem, 3, weights_of(problem), Stiffness())
    assert found.names == ("hessian_eigenvalues",) * 3 + ("differences",)
    assert found.values[:3] == pytest.approx(H[::-1][:3], rel=1e-3)
    assert found.values[3] == 0


def test_a_network_without_second_derivative_is_measured_by_differences():
    h = torch.tensor(H, dtype=torch.float64)
    problem = potential_problem("", {}, h.shape, lambda w: (h * Halved.apply(w)).sum())
    found = measure_stiffness(problem, 3, weights_of(problem), Stiffness())
    assert found.values[:3] == pytest.approx(H[::-1][:3], rel=1e-3)
    assert found.values[3] == 1


def test_a_network_of_two_weights_has_one_eigenvalue_to_show():
    found = measure_stiffness(line(), 0, weights_of(line()), Stiffness(examples=4096))
    assert found.names == ("hessian_eigenvalues", "differences")
    assert found.values[0] == pytest.approx(
        2.0, abs=0.2
    )  # of 2 E[x²] and 2, with x standard normal


# Calibrating -------------------------------------------------------------------------------------


def test_calibration_of_a_quadratic_gives_its_exact_answers(tmp_path):
    found = calibrate(a_run(tmp_path, quadratic(H)), SHORT, dynamic_range=20.0)
    assert found.eigenvalues.max() == pytest.approx(2.0, rel=1e-3)
    assert found.nbetas[found.row] == 50.0
    assert found.step_sizes[found.column] <= 0.01  # 1/(nβ·h + γ) = 0.0095
    for row, column in np.argwhere((found.verdicts[0] == "ok") & found.plateau).tolist():
        exact = quadratic_llc(
            H, found.nbetas[row], found.localizations[row], found.step_sizes[column]
        )
        # Chains with the smallest steps on a plateau have not quite arrived: a tenth at most.
        error = abs(found.llc[0, row, column] - exact) - 0.1 * exact
        assert error <= 4 * found.stderr[0, row, column]
    unstable = found.step_sizes * (found.nbetas[:, None] * 2.0 + found.localizations[:, None]) > 4.5
    assert (found.verdicts[0][unstable] == "failed").all()


def test_a_calibration_goes_on_where_it_was(tmp_path):
    run = a_run(tmp_path, quadratic(H[:3]))
    short = replace(SHORT, draws=8, burn_in=4, block=2, pairing=1)
    first = calibrate(run, short)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(kept) == 21  # curvature and 20 cells, at one checkpoint
    lost = sorted(kept)[0]
    lost.unlink()
    second = calibrate(run, short)
    np.testing.assert_array_equal(second.llc, first.llc)
    again = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert {path for path in again if again[path] != kept[path]} == {lost}
    calibrate(run, replace(short, seed=1))  # other settings stand beside them
    assert len(list(tmp_path.rglob("*.npz"))) == 41


def test_checkpoints_are_spread_over_log_step(tmp_path):
    run = a_run(tmp_path, quadratic([1.0, 2.0]), range(2000))
    steps = steps_to_look_at(run, ())
    assert (len(steps), steps[0], steps[-1]) == (6, 10, 1999)
    ratios = np.array(steps[1:]) / steps[:-1]
    assert ratios.max() / ratios.min() < 1.1
    assert steps_to_look_at(run, [30, 20]) == [20, 30]


def test_a_run_without_checkpoints_cannot_be_calibrated(tmp_path):
    with pytest.raises(ValueError, match="no checkpoints"):
        calibrate(Run(quadratic([1.0, 2.0]), tmp_path, {}), SHORT)


def test_rmsprop_has_no_rule(tmp_path):
    with pytest.raises(ValueError, match="rmsprop finds its step sizes itself"):
        calibrate(a_run(tmp_path, quadratic(H)), replace(SHORT, method="rmsprop"))


# What a plan asks for ----------------------------------------------------------------------------


def plan_in(folder, sampler):
    plan = Plan("", (), "S", line(), Training(steps=10), ((sample_chains, sampler, np.array([9])),))
    with whole_file(folder / "plan.json") as file:
        file.write(json.dumps(plan_as_json(plan)).encode())


def test_the_chains_are_those_of_the_plan_but_short(tmp_path):
    plan_in(tmp_path, Sampler(nbeta=12.5, batch_size=32, seed=3, draws=5000, burn_in=1000))
    found = short_chains(tmp_path, draws=60)
    assert (found.nbeta, found.batch_size, found.seed) == (12.5, 32, 3)
    assert (found.chains, found.draws, found.burn_in) == (2, 60, 30)
    assert short_chains(tmp_path, nbeta=7.0).nbeta == 7.0


def test_without_a_plan_nbeta_is_the_resolution_of_a_minibatch(tmp_path):
    size = Sampler().batch_size
    assert short_chains(tmp_path).nbeta == pytest.approx(size / math.log(size), rel=0.05)


def test_an_impossible_nbeta_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nbeta must be positive, not -1"):
        short_chains(tmp_path, nbeta=-1.0)
