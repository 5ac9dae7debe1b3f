"""Calibration: measure the curvature, try the sampler's settings, recommend one for the whole run.

What is measured is kept under `measured/calibration/`, one folder for each cell of the map, so a
calibration that was killed goes on where it was.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import SupportsInt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import grad
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ontogeny.analysis.calibration import (
    DYNAMIC_RANGE,
    cells_around,
    conclude,
    propose_settings,
    two_digits,
)
from ontogeny.metrics import hessian_product, top_eigenvalues
from ontogeny.probes.chains import sample_chains
from ontogeny.probes.samplers import Method, Sampler, relaxation
from ontogeny.problems.problem import Problem, StateDict, device_of, tabulate, trained
from ontogeny.records import Calibration, Measurements, Setup
from ontogeny.runs import Run, address_of
from ontogeny.storage import read_plan
from ontogeny.streams import random_stream
from ontogeny.training import spread
from ontogeny.workers import worker_pool

CHECKPOINTS = 6  # at which the curvature is measured
CHAINS, DRAWS = 2, 200  # in each cell; more draws where that is too few to relax
RELAXATIONS = 2  # after as many of burn-in, in the cell that the rule proposes


# Curvature ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stiffness:
    """How the largest curvatures of the loss are measured.

    Attributes:
        examples: Examples in the loss.
        eigenvalues: How many of the largest eigenvalues of the Hessian.
        seed: Which examples, and where the iteration starts.
    """

    examples: int = 256
    eigenvalues: int = 3
    seed: int = 0


def measure_stiffness(
    problem: Problem, step: int, state: StateDict, settings: Stiffness
) -> Measurements:
    """The largest eigenvalues of the Hessian of the loss, whatever the network is made of.

    Lanczos iteration on products with the Hessian, as in `measure_curvature`. Where the network
    has no second derivative, as with fused attention kernels, products are differences of
    gradients.

    Args:
        problem: Gives the model, the data and the loss.
        step: The checkpoint's step.
        state: Its weights.
        settings: Sample and number of eigenvalues.

    Returns:
        `hessian_eigenvalues`, largest first, as many as there are weights but one at most, and
        `differences`, 1 if products were differences of gradients and 0 if they were exact. From
        differences in single precision the first eigenvalue of a small transformer is right to a
        percent, the others to about a tenth.

    Raises:
        ValueError: The Hessian is not finite, or there is one weight only.
    """
    model = trained(problem, state)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    size = sum(parameter.numel() for parameter in parameters)
    stream = random_stream(settings.seed, "curvature batch", device=device_of(state))
    batch = problem.batch(settings.examples, stream)
    count = min(settings.eigenvalues, size - 1)
    differences = False
    try:
        product = hessian_product(problem.loss(model, batch).mean(), parameters)
        product(torch.ones(size))
    except RuntimeError:  # an operator without a second derivative, or too little memory for it
        differences = True

        def gradient(weights: Tensor) -> Tensor:
            vector_to_parameters(weights, parameters)
            loss = problem.loss(model, batch).mean()
            slopes = grad(loss, parameters, materialize_grads=True)
            return torch.cat([slope.reshape(-1) for slope in slopes])

        start = parameters_to_vector(parameters).detach()
        product = difference_product(gradient, start)
    found = top_eigenvalues(product, size, count, random_stream(settings.seed, "curvature start"))
    items = tuple(str(i + 1) for i in range(count))
    flag = torch.tensor(float(differences))
    return tabulate(step, [("hessian_eigenvalues", items, found), ("differences", ("",), flag)])


def difference_product(
    gradient: Callable[[Tensor], Tensor], weights: Float[Tensor, " parameter"]
) -> Callable[[Tensor], Tensor]:
    r"""The map $v \mapsto Hv$ from differences of gradients alone.

    $$Hv \approx \frac{\nabla L(w + hv) - \nabla L(w - hv)}{2h}, \qquad
    h = \sqrt{u}\, \frac{1 + \|w\|}{\|v\|},$$

    with u the rounding unit of the weights. The cube root of u would be best for a loss that varies
    on the scale of ‖w‖; networks vary on a shorter one.

    Args:
        gradient: ∇L at a flat vector of weights.
        weights: w.

    Returns:
        A function of a flat vector; it answers in the precision of that.

    Examples:
        >>> curvatures = torch.tensor([2.0, 6.0], dtype=torch.float64)
        >>> product = difference_product(lambda w: curvatures * w, torch.zeros(2).double())
        >>> product(torch.ones(2).double()).round(decimals=6).tolist()
        [2.0, 6.0]
    """
    scale = torch.finfo(weights.dtype).eps ** (1 / 2) * (1 + float(weights.norm()))

    def product(vector: Float[Tensor, " parameter"]) -> Float[Tensor, " parameter"]:
        h = scale / float(vector.norm())
        there = gradient(weights + h * vector.to(weights))
        back = gradient(weights - h * vector.to(weights))
        difference: Tensor = (there - back) / (2 * h)
        return difference.to(vector)

    return product


# Calibrating -------------------------------------------------------------------------------------


def calibrate(
    run: Run,
    sampler: Sampler,
    *,
    steps: Iterable[SupportsInt] = (),
    dynamic_range: float = DYNAMIC_RANGE,
    device: str = "cpu",
) -> Calibration:
    """Find settings of the sampler that serve a whole run.

    The curvature is measured at checkpoints spread over log-step. From the largest of all and the
    nβ asked for, `propose_settings` proposes ε and γ. Then every cell of a grid around them is
    tried at three checkpoints, the first, the last, and the stiffest in between, and one cell is
    recommended, the same for all checkpoints. What was measured before is not measured again.

    Args:
        run: The run; its checkpoints are read, its measurements stay as they are.
        sampler: The short chains: method, nβ, how many, how long, on which minibatches; for
            example `short_chains`. Its ε and γ do not matter.
        steps: Checkpoints to look at instead.
        dynamic_range: κ, how many times flatter than the stiffest a direction may be to count.
        device: Where to compute.

    Returns:
        What was measured, and the recommended cell.

    Raises:
        ValueError: There are no checkpoints, the method has no rule, or the loss has no positive
            curvature.
        RuntimeError: Some checkpoints could not be measured.
    """
    if sampler.method == "rmsprop":
        raise ValueError("rmsprop finds its step sizes itself; calibrate sgld or underdamped")
    curved = steps_to_look_at(run, steps)
    with worker_pool() as pool:
        tables = run.measure(
            measure_stiffness,
            curved,
            Stiffness(),
            name=f"calibration/curvature_{device.replace(':', '_')}",
            device=device,
            executor=pool,
        )
        eigenvalues = np.stack([table.values[:-1] for table in tables])
        stiffest = float(eigenvalues[:, 0].max())
        tried = three_of(curved, eigenvalues[:, 0])
        cells = {
            cell: replace(sampler, nbeta=cell[0], **proposal._asdict())
            for cell, proposal in cells_around(stiffest, sampler.nbeta, dynamic_range).items()
        }
        names = {cell: cell_name(settings, device) for cell, settings in cells.items()}
        found = run.measure_each(
            sample_chains,
            tried,
            {names[cell]: settings for cell, settings in cells.items()},
            title="calibration",
            device=device,
            executor=pool,
        )
    return conclude(
        Setup(
            curved_steps=np.array(curved),
            eigenvalues=eigenvalues,
            differences=np.array([bool(table.values[-1]) for table in tables]),
            asked_nbeta=sampler.nbeta,
            dynamic_range=dynamic_range,
            method=sampler.method,
            momentum=sampler.momentum,
            batch_size=sampler.batch_size,
        ),
        {cell: found[name] for cell, name in names.items()},
    )


def short_chains(
    folder: Path,
    nbeta: float | None = None,
    draws: int | None = None,
    method: Method | None = None,
    dynamic_range: float = DYNAMIC_RANGE,
) -> Sampler:
    r"""The chains to calibrate a run with: those that its plan asks for, but two and short.

    Args:
        folder: The run's folder.
        nbeta: nβ; if absent, that of the plan, and without a plan $m / \ln m$ for minibatches of
            m examples, the resolution of as many examples as a minibatch has.
        draws: Draws of each chain, of which half are burn-in; if absent, 200, or as many as flat
            directions take to relax four times in the cell that the rule proposes.
        method: How they move; if absent, as in the plan.
        dynamic_range: κ of the rule.

    Raises:
        ValueError: nβ or κ is not positive, the number of draws is not a multiple of 20, or the
            plan has an impossible setting.
    """
    if not 0 < dynamic_range < math.inf:
        raise ValueError(f"the dynamic range must be positive, not {dynamic_range}")
    if draws is not None and (draws < 40 or draws % 20):
        raise ValueError(f"draws must be a multiple of 20, and 40 at least, not {draws}")
    try:
        planned = [
            Sampler(**asked["settings"])
            for asked in (read_plan(folder) or {"measurements": []})["measurements"]
            if asked["probe"] == address_of(sample_chains)
        ]
    except TypeError as error:
        raise ValueError(f"{folder / 'plan.json'} has an impossible setting: {error}") from None
    whole = [sampler for sampler in planned if not sampler.weights and not sampler.data]
    size = Sampler.batch_size
    sampler = whole[0] if whole else Sampler(nbeta=two_digits(size / math.log(size)))
    sampler = replace(sampler, method=method or sampler.method)
    rule = propose_settings(1.0, 1.0, dynamic_range)  # its relaxation depends on κ alone
    enough = RELAXATIONS * 2 * relaxation(replace(sampler, **rule._asdict()))
    draws = draws or max(DRAWS, 20 * math.ceil(enough / 20))
    return replace(
        sampler,
        nbeta=sampler.nbeta if nbeta is None else nbeta,
        chains=CHAINS,
        draws=draws,
        burn_in=draws // 2,
        block=10,
        pairing=5,
        precision=0.0,
        groups=1,
        batched=0,
    )


def steps_to_look_at(run: Run, steps: Iterable[SupportsInt]) -> list[int]:
    """The checkpoints asked for; if none are, six spread over log-step, the last among them.

    Raises:
        ValueError: The run has no checkpoints.
    """
    if asked := sorted({int(step) for step in steps}):
        return asked
    kept = np.array(sorted(run.checkpoints), dtype=int)
    if not len(kept):
        raise ValueError(f"{run.folder} has no checkpoints; train it first")
    found: list[int] = spread(kept, CHECKPOINTS).tolist()
    return found[1:] if len(found) > CHECKPOINTS else found


def three_of(steps: Sequence[int], curvatures: Float[np.ndarray, " step"]) -> list[int]:
    """The first, the last, and the stiffest in between; all if they are no more than three.

    Examples:
        >>> three_of([10, 50, 200, 1000], np.array([9.0, 1.0, 2.0, 3.0]))
        [10, 200, 1000]
    """
    if len(steps) <= 3:
        return list(steps)
    return [steps[0], steps[1 + int(np.argmax(curvatures[1:-1]))], steps[-1]]


def cell_name(settings: Sampler, device: str) -> str:
    """The folder of a cell's chains: what it is, and a hash of the device and all settings."""
    text = json.dumps(asdict(settings) | {"device": device}, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"calibration/nbeta={settings.nbeta:.4g}_step_size={settings.step_size:.2g}_{digest}"
