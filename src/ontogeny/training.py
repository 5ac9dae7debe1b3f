"""Descend the loss and keep dense checkpoints."""

import math
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ontogeny.problems.attention import fused_attention
from ontogeny.problems.problem import Batch, Problem, untrained
from ontogeny.progress import progress
from ontogeny.records import Curve
from ontogeny.runs import CheckpointFolder, Run, create_run
from ontogeny.storage import remove_leftovers, save_record, whole_file
from ontogeny.streams import random_stream
from ontogeny.workers import check_device, threads

SECONDS_BETWEEN_SAVES = 10.0
ONSET = 10
"""The step at which spreading over log-step begins: little happens before."""
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Training:
    """How a network is trained: AdamW, or plain gradient descent, on fresh batches.

    Attributes:
        steps: Number of updates.
        batch_size: Examples in a batch, drawn afresh for each step.
        learning_rate: The largest that there is.
        schedule: How the learning rate changes: a `triangle` that peaks half-way, or `constant`.
        weight_decay: Of all parameters, times the learning rate; 0 is Adam.
        log_checkpoints: Checkpoints at logarithmic spacing.
        linear_checkpoints: Checkpoints at linear spacing, in addition.
        seed: Seed of the initial weights and of the batches.
        threads: Threads of the computation on a CPU; the weights depend on their number.
        device: Where to train.
        mixed_precision: Whether products of matrices are made in bfloat16: faster on an
            accelerator, and another run.
        fused_attention: Whether attention is computed by the device's fused kernel: the same up to
            rounding.
        optimizer: `adamw`, or `sgd` for plain gradient descent.
    """

    steps: int
    batch_size: int = 256
    learning_rate: float = 3e-3
    schedule: Literal["triangle", "constant"] = "triangle"
    weight_decay: float = 0.0
    log_checkpoints: int = 100
    linear_checkpoints: int = 100
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    mixed_precision: bool = False
    fused_attention: bool = False
    optimizer: Literal["adamw", "sgd"] = "adamw"

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_choices()
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be at least 0, not {self.weight_decay}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must lie between 0 and 2^63, not {self.seed}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, not {self.learning_rate}")

    def _check_choices(self) -> None:
        for name, words in (
            ("schedule", ("triangle", "constant")),
            ("optimizer", ("adamw", "sgd")),
        ):
            chosen = getattr(self, name)
            if chosen not in words:
                raise ValueError(f"{name} must be {' or '.join(words)}, not {chosen!r}")

    def _check_sizes(self) -> None:
        if self.steps < 4:
            raise ValueError(f"a run needs at least 4 steps, not {self.steps}")
        for name in ("batch_size", "log_checkpoints", "linear_checkpoints", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def checkpoint_steps(training: Training) -> Int[np.ndarray, " checkpoint"]:
    """The steps after whose update the weights are kept: log-spaced, linear, and the last.

    Returns:
        Distinct steps, increasing, from 0 to `steps - 1`. Spacing is truncated to whole steps, so
        there are fewer than the two numbers together.

    Examples:
        The schedule of the paper's regression runs.

        >>> steps = checkpoint_steps(Training(steps=500_000))
        >>> len(steps), steps[:13].tolist(), steps[-1].item()
        (190, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14], 499999)
    """
    last = training.steps
    log = np.logspace(0, math.log10(last), training.log_checkpoints).astype(int)
    linear = np.linspace(0, last, training.linear_checkpoints).astype(int)
    steps = np.union1d(np.union1d(log, linear), [0, last - 1])
    return steps[steps < last]


def spread(
    steps: Int[np.ndarray, " checkpoint"], log: int, linear: int = 0
) -> Int[np.ndarray, " step"]:
    """Choose checkpoints that are spread evenly over log-step, and over steps in addition.

    Args:
        steps: The steps that there are, increasing.
        log: About how many to spread over log-step; neighbours that coincide count once.
        linear: About how many to spread over steps.

    Returns:
        Distinct steps, the first and the last included.

    Examples:
        >>> spread(np.arange(1001), log=3).tolist()
        [0, 10, 100, 1000]
    """
    wanted = np.concatenate(
        [
            steps[[0, -1]],
            np.geomspace(min(ONSET, steps[-1]), steps[-1], log),
            np.linspace(steps[0], steps[-1], linear),
        ]
    )
    nearest = np.abs(steps[None, :] - wanted[:, None]).argmin(axis=1)
    return np.unique(steps[nearest])


def learning_rate(step: int, training: Training) -> float:
    """The learning rate of a step."""
    if training.schedule == "constant":
        return training.learning_rate
    return one_cycle(step, training)


def one_cycle(step: int, training: Training) -> float:
    r"""The learning rate of a step: a triangle that peaks half-way and all but ends at zero.

    It rises from $\eta / d$ at step 0 to $\eta$ at step $d = T/2 - 1$ and falls to $\eta / d^2$ at
    step $T - 1$; this is torch's `OneCycleLR` with linear annealing and both
    its factors equal to $d$.

    Args:
        step: From 0 to $T - 1$.
        training: Gives $T$, the number of steps, and the peak $\eta$.

    Examples:
        >>> t = Training(steps=500_000, learning_rate=3e-3)
        >>> [f"{one_cycle(step, t):.1e}" for step in (0, 249_999, 499_999)]
        ['1.2e-08', '3.0e-03', '4.8e-14']
    """
    eta, d = training.learning_rate, training.steps / 2 - 1
    low, end = eta / d, eta / d**2
    if step <= d:
        return low + (eta - low) * step / d
    return eta + (end - eta) * (step - d) / (training.steps - 1 - d)


class Descent:
    """Everything that the next step depends on: the step, weights, buffers, moments."""

    def __init__(self, problem: Problem, training: Training) -> None:
        self.problem, self.training = problem, training
        self.model = untrained(problem, training.seed).to(training.device).train()
        kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[training.optimizer]
        self.optimizer = kind(
            self.model.parameters(), lr=0.0, weight_decay=training.weight_decay, fused=True
        )
        self.losses = torch.full((training.steps,), math.nan)
        self.step = 0
        self.losses_at_once = 0  # in the last batch

    def descend(self) -> None:
        """One update on a fresh batch, which is a function of the seed and the step."""
        t, training = self.step, self.training
        stream = random_stream(training.seed, "training batch", t, device=training.device)
        batch = self.problem.batch(training.batch_size, stream)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(t, training)
        losses = self.evaluate(batch)
        self.losses_at_once, loss = losses.numel(), losses.mean()
        self.losses[t] = value = loss.item()
        if not math.isfinite(value):
            raise ValueError(
                f"the training loss became {value} at step {t}; earlier checkpoints are kept; try "
                f"a learning rate below {training.learning_rate:g}"
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1

    def evaluate(self, batch: Batch) -> Tensor:
        """The losses of a batch, with the kernels that were asked for."""
        with ExitStack() as stack:
            if self.training.fused_attention:
                stack.enter_context(fused_attention())
            if self.training.mixed_precision:
                kind = torch.device(self.training.device).type
                stack.enter_context(torch.autocast(kind, dtype=torch.bfloat16))
            return self.problem.loss(self.model, batch)

    def save(self, path: Path) -> None:
        """Keep what a restart needs, whole or not at all."""
        tensors = {"step": torch.tensor(self.step), "losses": self.losses[: self.step].clone()}
        tensors |= {f"weight/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            moments = self.optimizer.state[parameter]  # none where no gradient arrives
            tensors |= {f"{key}/{name}": moments[key] for key in MOMENTS if key in moments}
        with whole_file(path) as file:
            file.write(save({name: tensor.clone() for name, tensor in tensors.items()}))

    def restore(self, path: Path) -> None:
        """Go back to where `save` was called."""
        try:
            tensors = load_file(path, device=self.training.device)
            names = self.model.state_dict().keys()
            self.model.load_state_dict({name: tensors[f"weight/{name}"] for name in names})
            self.step = int(tensors["step"])
            self.losses[: self.step] = tensors["losses"]
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise ValueError(
                f"{path} is damaged ({error}); delete it to train again from the start"
            ) from None
        for name, parameter in self.model.named_parameters():
            if f"{MOMENTS[0]}/{name}" in tensors:
                step = torch.tensor(float(self.step), device=parameter.device)
                moments = {key: tensors[f"{key}/{name}"] for key in MOMENTS}
                self.optimizer.state[parameter] = {"step": step, **moments}


def train(problem: Problem, folder: Path, training: Training) -> Run:
    """Train a network and keep dense checkpoints; go on where an earlier call was killed.

    The step's batch is a function of the seed and the step, so there is no data order to save,
    and a run that was interrupted ends with the same bytes as one that was not (on one kind of
    machine, with the same versions of the libraries).

    Args:
        problem: What is learned.
        folder: Where the run lives; made if it is missing.
        training: How to train.

    Returns:
        The run, with the checkpoints of `checkpoint_steps(training)`.

    Raises:
        ValueError: The folder belongs to another run, the saved state is damaged, the device is
            not there, or the loss became infinite or nan.
        OSError: The disk is full.
    """
    check_device(training.device)
    run = create_run(problem, folder, asdict(training))
    checkpoints = run.checkpoints
    assert isinstance(checkpoints, CheckpointFolder)
    keep = checkpoint_steps(training).tolist()
    finished, state = folder / "measured" / "training_loss.npz", folder / "training.safetensors"
    for leftover in (folder, checkpoints.folder, finished.parent, folder / "curves"):
        remove_leftovers(leftover)
    if finished.exists() and set(keep) <= set(checkpoints):
        state.unlink(missing_ok=True)
        return run
    with threads(training.threads):
        descent = Descent(problem, training)
        if state.exists():
            descent.restore(state)
        _descend_to_the_end(descent, checkpoints, set(keep), state)
    save_record(training_loss(descent.losses.numpy(), np.array(keep)), finished)
    state.unlink(missing_ok=True)
    return run


def _descend_to_the_end(
    descent: Descent, checkpoints: CheckpointFolder, keep: set[int], state: Path
) -> None:
    saved = time.monotonic()
    steps, done = descent.training.steps, descent.step
    unit = "tokens" if descent.problem.vocabulary else "losses"
    with progress("training", steps, done, lambda: (descent.losses_at_once, unit)) as advance:
        while (step := descent.step) < steps:
            descent.descend()
            if step in keep:
                checkpoints.save(step, descent.model.state_dict())
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                descent.save(state)
                saved = time.monotonic()
            advance(1)


def training_loss(losses: Float[np.ndarray, " update"], steps: Int[np.ndarray, " step"]) -> Curve:
    """The loss on the training batches, averaged from one checkpoint to the next.

    Args:
        losses: Loss of each update's batch, before the update.
        steps: The checkpoints' steps.

    Returns:
        One value for each checkpoint: the mean over the updates since the one before, with its
        standard error (nan where there was a single update).

    Examples:
        >>> training_loss(np.array([4.0, 3.0, 1.0]), np.array([0, 2])).values[:, 0].tolist()
        [4.0, 2.0]
    """
    parts = np.split(losses.astype(np.float64), steps[:-1] + 1)
    values = np.array([part.mean() for part in parts])
    stderr = [part.std(ddof=1) / len(part) ** 0.5 if len(part) > 1 else np.nan for part in parts]
    return Curve("training_loss", "", steps, values[:, None], np.array(stderr)[:, None])
