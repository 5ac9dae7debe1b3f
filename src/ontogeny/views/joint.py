"""The picture of several runs in one space."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from ontogeny.analysis.joint import JointRuns
from ontogeny.records import Trajectory
from ontogeny.storage import whole_file
from ontogeny.views.dynamics import diamonds, planes_of, square_around
from ontogeny.views.marks import PAGE_WIDTH, plain, words

RUN_COLORS = ("#0072b2", "#d55e00", "#009e73", "#8e3b8a", "#56b4e9", "#e69f00", "#1c1c1c")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; color: #1c1c1c;
  font: 17px/1.55 Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif; }}
main {{ max-width: 1120px; margin: 0 auto; padding: 44px 28px 72px; }}
h1 {{ font-size: 34px; line-height: 1.15; margin: 0 0 10px; }}
p {{ margin: 0 0 12px; max-width: 46em; }}
.note {{ color: #5c5c5c; font-size: 15px; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{summary}</p>
{figure}
<p class="note">Each path begins at the small dot and ends at the large one; faint points are
measured.{known} The components are those of all checkpoints together, so a place means the same
for every run.</p>
{notes}
</main>
</body>
</html>
"""


def joint_summary(joint: JointRuns) -> str:
    """Which runs are in one space, and what share of the variance it shows, in a sentence."""
    shares = next(iter(joint.trajectories.values())).explained_variance_ratio[:3]
    names = ", ".join(
        f"{name} ({len(one.steps):,} checkpoints)" for name, one in joint.trajectories.items()
    )
    return (
        f"{len(joint.trajectories)} runs on the principal components of all their outputs: {names}."
        f" The first {len(shares)} components hold {100 * shares.sum():.1f} % of the variance."
    )


def write_joint(joint: JointRuns, path: Path) -> None:
    """Write a page with several runs in one space; it opens offline.

    Args:
        joint: As `read_joint` gives it.
        path: The html file to write. Its folder is made if it is missing.

    Raises:
        OSError: The file cannot be written.
    """
    figure = plot_joint_dynamics(joint.trajectories, joint.reference_scores)
    page = PAGE.format(
        title=f"{len(joint.trajectories)} runs in one space",
        summary=html.escape(joint_summary(joint)),
        figure=figure.to_html(
            config={"displayModeBar": False, "responsive": True},
            full_html=False,
            include_plotlyjs=True,
            div_id="joint",
        ),
        known=" Diamonds are known predictors." if joint.reference_scores else "",
        notes="".join(f'<p class="note">{html.escape(note)}</p>' for note in joint.notes),
    )
    with whole_file(path) as file:
        file.write(page.encode())


def plot_joint_dynamics(
    trajectories: Mapping[str, Trajectory],
    reference_scores: Mapping[str, Float[np.ndarray, " component"]],
    width: int = PAGE_WIDTH,
) -> go.Figure:
    """Draw several runs on each two of the first three components that they have in common.

    Args:
        trajectories: As `joint_dynamics` gives them.
        reference_scores: Known predictors in the same space, as `project` gives them; may be empty.
        width: Pixels to arrange the picture for.

    Returns:
        One panel for each plane: the smoothed path of each run in a colour of its own, from a
        small circle to a large dot, over faint measured points; predictors as diamonds. Words if
        there is no run, or only one component.

    Examples:
        >>> plot_joint_dynamics({}, {}).layout.annotations[0].text
        'There is no run in more than one component.'
    """
    runs = {name: one for name, one in trajectories.items() if one.scores.shape[1] > 1}
    if not runs:
        return words("There is no run in more than one component.")

    def content(plane: tuple[int, int]) -> tuple[Float[np.ndarray, "2 2"], list[go.Scatter]]:
        marks = np.reshape([scores[list(plane)] for scores in reference_scores.values()], (-1, 2))
        points = [one.scores[:, plane] for one in runs.values()]
        traces = [
            trace
            for i, (name, one) in enumerate(runs.items())
            for trace in _run_traces(name, one, plane, RUN_COLORS[i % len(RUN_COLORS)])
        ]
        return square_around(np.concatenate([*points, marks])), [
            *traces,
            *diamonds(reference_scores, plane),
        ]

    return planes_of(next(iter(runs.values())), content, width)


def _run_traces(
    name: str, trajectory: Trajectory, plane: tuple[int, int], color: str
) -> list[go.Scatter]:
    raw, smooth = trajectory.scores[:, plane], trajectory.smoothed[:, plane]
    look = {"color": color, "size": 3}
    dots = go.Scatter(
        x=raw[:, 0], y=raw[:, 1], mode="markers", marker=look, opacity=0.25, hoverinfo="skip"
    )
    dots.showlegend = False
    ends = [0] * len(smooth)
    ends[0], ends[-1] = 6, 10
    path = go.Scatter(
        x=smooth[:, 0],
        y=smooth[:, 1],
        customdata=trajectory.steps,
        mode="lines+markers",
        line={"color": color, "width": 2.5},
        marker={"size": ends, "color": color, "opacity": 1, "line": {"width": 0}},
        name=plain(name),
        hovertemplate="step %{customdata:,}<br>%{x:.4g}, %{y:.4g}<extra>%{fullData.name}</extra>",
    )
    return [dots, path]
