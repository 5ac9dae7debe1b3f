"""The toy model of forms: modes that are learnt one after another, and the saddles between them.

python experiments/toy_forms.py PICTURE.html

A mode of strength s that has size a at time d grows as s / (1 + (s/a - 1) exp(-s (t - d))),
as in a deep linear network. With three of them the path goes from one saddle to the next along
straight lines, so that its forms are known: (10, 0, 0) and (10, 6, 0).
"""

import sys

import numpy as np

from ontogeny.analysis import Report, essential_dynamics, find_forms, lift, weigh_forms
from ontogeny.records import Outputs
from ontogeny.views import plot_dynamics

STRENGTHS, STARTS, SIZE = np.array([10.0, 6.0, 4.0]), np.array([0.0, 2.0, 4.0]), 0.1
PAPER = np.array([10.0, 2.0, 0.5])


def modes(strengths, count=5000):
    """The three modes at many times from 0 to 12."""
    growth = np.exp(strengths * (np.linspace(0, 12, count)[:, None] - STARTS))
    return strengths * growth / (growth - 1 + strengths / SIZE)


if __name__ == "__main__":
    steps = np.arange(5000)
    trajectory = essential_dynamics(Outputs(steps, modes(STRENGTHS)))
    weighed = weigh_forms(trajectory.scores, steps)
    for form in weighed.forms:
        print(f"t = {12 * form.step / 5000:.2f}", lift(form, trajectory).round(2), form.p_values)
    slow = essential_dynamics(Outputs(steps, modes(PAPER)))
    print("with the paper's strengths, in all planes:", len(find_forms(slow.scores, steps)))
    for plane in ([0, 1], [0, 2], [1, 2]):
        found = [
            f"{12 * form.step / 5000:.2f}" for form in find_forms(slow.scores[:, plane], steps)
        ]
        print(f"  PC{plane[0] + 1}-{plane[1] + 1} turns at t =", *found)
    sparse = essential_dynamics(Outputs(steps[:1000], modes(STRENGTHS, 1000)))
    forms = weigh_forms(sparse.scores, sparse.steps, surrogates=99)
    report = Report("The toy model of forms", trajectory=sparse, forms=forms)
    plot_dynamics(report).write_html(sys.argv[1], config={"displayModeBar": False})
