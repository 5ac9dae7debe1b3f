"""Small problems and probes that the tests share, at addresses that other processes can find."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ontogeny.problems import Problem, StateDict
from ontogeny.records import Measurements


def line(slope: float = 2.0) -> Problem:
    """Learn y = slope · x, with one weight and one offset."""

    def batch(n, generator):
        x, noise = torch.randn(2, n, 1, generator=generator, device=generator.device)
        return x, slope * x + 0.1 * noise

    return Problem(
        name="tests.examples:line",
        settings={"slope": slope},
        model=lambda: nn.Linear(1, 1),
        batch=batch,
        loss=lambda model, batch: (model(batch[0]) - batch[1]).square().flatten(),
        outputs=lambda model, batch: model(batch[0]),
    )


@dataclass(frozen=True)
class Asking:
    """Settings of the probes below."""

    factor: float = 1.0
    log: str = ""
    fail_at: int = -1
    seconds: float = 0.0


def weight_times(problem: Problem, step: int, state: StateDict, settings: Asking) -> Measurements:
    """A cheap probe that says when it was called, and fails on demand."""
    time.sleep(settings.seconds)
    if settings.log:
        with Path(settings.log).open("a") as file:
            file.write(f"{step}\n")
    if step == settings.fail_at:
        raise ArithmeticError(f"cannot measure step {step}")
    value = settings.factor * state["weight"].item() + torch.get_num_threads() * 100
    return Measurements(step, ("weight",), ("",), np.array([value]), np.array([np.nan]))
