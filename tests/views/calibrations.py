"""A calibration that the tests of the views share."""

from dataclasses import replace

import numpy as np

from ontogeny.records import Calibration

SIZES = np.array([6.6e-6, 2e-5, 5.9e-5, 1.8e-4, 5.4e-4])
NBETAS = np.array([7.4, 22.0, 66.67, 200.0])


def full():
    """Three checkpoints; long steps fail at large nβ, short ones have not arrived."""
    stiffness = NBETAS[:, None] * SIZES * 252
    llc = np.array([2.0, 150.0, 76.0])[:, None, None] * np.sqrt(NBETAS / 66.67)[:, None]
    llc = llc * (1 - np.exp(-6 * stiffness)) * (1 + stiffness / 20)
    failed = np.broadcast_to(stiffness > 4, llc.shape)
    moving = np.broadcast_to(stiffness < 0.12, llc.shape)
    verdicts = np.where(failed, "failed", np.where(moving, "moving", "ok"))
    plateau = (stiffness > 0.3) & (stiffness < 4)
    return Calibration(
        curved_steps=np.array([10, 76, 576, 4372, 33145, 249999]),
        eigenvalues=np.array([35.4, 35.4, 35.6, 252.0, 60.0, 74.5])[:, None] / [1, 2, 3],
        differences=np.zeros(6, bool),
        asked_nbeta=66.67,
        dynamic_range=1000.0,
        method="underdamped",
        momentum=0.9,
        batch_size=64,
        steps=np.array([10, 4372, 249999]),
        nbetas=NBETAS,
        step_sizes=SIZES,
        localizations=NBETAS * 0.252,
        llc=np.where(failed, np.nan, llc),
        stderr=np.full(llc.shape, 2.5),
        verdicts=verdicts,
        relaxations=105 / np.where(stiffness, stiffness, 1),
        chains=2,
        draws=300,
        plateau=plateau,
        row=2,
        column=2,
    )


def without_choice():
    """The same map in which every chain failed."""
    one = full()
    return replace(
        one,
        verdicts=np.full(one.verdicts.shape, "failed"),
        llc=np.full(one.llc.shape, np.nan),
        plateau=np.zeros(one.plateau.shape, bool),
        row=None,
        column=None,
    )
