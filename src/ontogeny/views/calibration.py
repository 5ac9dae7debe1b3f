"""The page about a calibration: the map of λ̂ over ε and nβ, and the settings to use."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots
from plotly.utils import PlotlyJSONEncoder

from ontogeny.analysis.calibration import (
    STIFFNESS,
    explain,
    plain_number,
    propose_settings,
    recommended_settings,
    two_digits,
)
from ontogeny.records import Calibration
from ontogeny.storage import whole_file
from ontogeny.views.marks import GREY, INK, PAGE_WIDTH, TEMPLATE, VERDICT_COLORS, columns_within
from ontogeny.views.report import PHONE_WIDTH

WORDS = {
    "ok": "chains have arrived",
    "moving": "chains have not arrived",
    "failed": "chains fail",
}
SHADES = ((0.0, "#fbf7ee"), (0.5, "#f0cfa0"), (1.0, "#dd9a4e"))
MAP_HEIGHT = 250


def plot_calibration(calibration: Calibration, width: int = PAGE_WIDTH) -> go.Figure:
    """Draw λ̂ over ε and nβ, one map for each checkpoint.

    Args:
        calibration: What was tried.
        width: Pixels to arrange the picture for; it stretches to any other width.

    Returns:
        One map for each checkpoint: λ̂ and its standard error in every cell, darker where λ̂ is
        larger. A cross is a cell in which chains fail; a pale one with an arrow is one in which
        they have not arrived. Dashed frames are plateaus, the thick one is the recommended cell.
    """
    count = len(calibration.steps)
    columns = columns_within(width, count)
    rows = math.ceil(count / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[f"step {step:,}" for step in calibration.steps],
        horizontal_spacing=0.07 if columns > 1 else 0,
        vertical_spacing=0.26 / rows,
    )
    shapes = []
    for place in range(count):
        where = {"row": place // columns + 1, "col": place % columns + 1}
        figure.add_trace(_heat(calibration, place), **where)
        figure.add_trace(_crosses(calibration, place), **where)
        figure.update_xaxes(_axis("step size ε", calibration.step_sizes), **where)
        figure.update_yaxes(_axis("nβ" if where["col"] == 1 else "", calibration.nbetas), **where)
        panel = place + 1 if place else ""
        shapes += [
            {**shape, "xref": f"x{panel}", "yref": f"y{panel}"}
            for shape in [*_veils(calibration, place), *_frames(calibration)]
        ]
    figure.update_annotations(font={"size": 13, "color": INK})
    figure.update_layout(
        template=TEMPLATE,
        height=70 + rows * MAP_HEIGHT + (rows - 1) * 90,
        margin={"l": 56, "r": 6, "t": 26, "b": 44},
        showlegend=False,
        shapes=shapes,
    )
    return figure


def _axis(title: str, values: Float[np.ndarray, " cell"]) -> dict[str, Any]:
    """An axis of cells, equally wide, with their values as ticks."""
    return {
        "title": {"text": title, "standoff": 12},
        "tickvals": list(range(len(values))),
        "ticktext": [plain_number(value) for value in values],
        "range": [-0.5, len(values) - 0.5],
        "tickangle": 0,
        "showgrid": False,
        "showline": False,
        "ticks": "",
    }


def _heat(calibration: Calibration, place: int) -> go.Heatmap:
    """The cells of one checkpoint, with a value where chains do not fail."""
    llc, stderr = calibration.llc[place], calibration.stderr[place]
    verdicts = calibration.verdicts[place]
    shown = np.where(verdicts == "failed", np.nan, llc)
    texts = np.full(llc.shape, "", object)
    for cell in zip(*np.nonzero(verdicts != "failed"), strict=True):
        more = "…" if verdicts[cell] == "moving" else ""
        texts[cell] = f"{_digits(llc[cell])}{more}<br>± {_digits(stderr[cell])}"
    return go.Heatmap(
        z=shown,
        text=texts,
        texttemplate="%{text}",
        textfont={"size": 12, "color": INK},
        customdata=_hovers(calibration, place),
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        colorscale=SHADES,
        showscale=False,
        xgap=2,
        ygap=2,
    )


def _hovers(calibration: Calibration, place: int) -> list[list[str]]:
    """What a cell says when one points at it."""
    nbetas, pulls = calibration.nbetas.tolist(), calibration.localizations.tolist()
    return [
        [
            f"ε = {plain_number(size)}, nβ = {plain_number(nbeta)}, γ = {plain_number(pull)}<br>"
            f"λ̂ = {llc:.4g} ± {stderr:.2g}: {WORDS[verdict]}"
            for size, llc, stderr, verdict in zip(
                calibration.step_sizes.tolist(),
                calibration.llc[place, row].tolist(),
                calibration.stderr[place, row].tolist(),
                calibration.verdicts[place, row].tolist(),
                strict=True,
            )
        ]
        for row, (nbeta, pull) in enumerate(zip(nbetas, pulls, strict=True))
    ]


def _digits(value: float) -> str:
    """A number in the width of a cell.

    Examples:
        >>> _digits(152.31), _digits(-0.042), _digits(3.14)
        ('152', '−0.0', '3.1')
    """
    return (
        f"{value:.0f}".replace("-", "−") if abs(value) >= 10 else f"{value:.1f}".replace("-", "−")
    )


def _crosses(calibration: Calibration, place: int) -> go.Scatter:
    """A cross in every cell in which chains fail."""
    cells = np.argwhere(calibration.verdicts[place] == "failed").tolist()
    return go.Scatter(
        x=[column for _, column in cells],
        y=[row for row, _ in cells],
        mode="markers",
        marker={
            "symbol": "x-thin",
            "size": 13,
            "line": {"width": 2, "color": VERDICT_COLORS["failed"]},
        },
        text=[_hovers(calibration, place)[row][column] for row, column in cells],
        hovertemplate="%{text}<extra></extra>",
    )


def _box(row: int, left: int, right: int) -> dict[str, Any]:
    edges = {"x0": left - 0.5, "x1": right + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", "layer": "above", **edges}


def _veils(calibration: Calibration, place: int) -> list[dict[str, Any]]:
    """What makes the cells pale in which chains have not arrived."""
    cells = np.argwhere(calibration.verdicts[place] == "moving").tolist()
    veil = {"fillcolor": "white", "opacity": 0.5, "line": {"width": 0}}
    return [_box(row, column, column) | veil for row, column in cells]


def _frames(calibration: Calibration) -> list[dict[str, Any]]:
    """A frame around the plateau of each nβ, and one around the recommended cell."""
    frames = []
    for row, plateau in enumerate(calibration.plateau):
        if plateau.any():
            first, *_, last = np.flatnonzero(plateau).tolist()
            line = {"color": GREY, "width": 1.5, "dash": "4px,3px"}
            frames.append(_box(row, first, last) | {"line": line})
    if calibration.row is not None and calibration.column is not None:
        line = {"color": INK, "width": 3}
        frames.append(
            _box(calibration.row, calibration.column, calibration.column) | {"line": line}
        )
    return frames


# The lines to paste -------------------------------------------------------------------------------


def shell_line(calibration: Calibration, folder: str) -> str:
    """The command that measures a run with the recommended settings.

    Raises:
        ValueError: No settings are recommended.
    """
    options = [
        f"--{name.replace('_', '-')} {_value(value)}"
        for name, value in recommended_settings(calibration).items()
    ]
    return f"ontogeny measure {shlex.quote(folder)} {' '.join(options)}"


def python_line(calibration: Calibration) -> str:
    """The recommended settings in Python.

    Raises:
        ValueError: No settings are recommended.
    """
    settings = recommended_settings(calibration).items()
    arguments = [
        f"{name}={value!r}" if isinstance(value, str) else f"{name}={_value(value)}"
        for name, value in settings
    ]
    return f"Sampler({', '.join(arguments)})"


def _value(value: object) -> str:
    return plain_number(value) if isinstance(value, float) else str(value)


# The page -----------------------------------------------------------------------------------------


def rule_in_words(calibration: Calibration) -> str:
    """How the proposal followed from the curvature, with its numbers."""
    stiffest = int(np.argmax(calibration.eigenvalues[:, 0]))
    curvature = float(calibration.eigenvalues[stiffest, 0])
    nbeta, kappa = calibration.asked_nbeta, calibration.dynamic_range
    proposal = propose_settings(curvature, nbeta, kappa)
    return (
        f"The stiffest direction was seen at step {calibration.curved_steps[stiffest]:,}; its "
        f"curvature is h = {curvature:.3g}. For nβ = {plain_number(nbeta)} the rule proposes "
        f"γ = nβ·h/κ = {plain_number(two_digits(proposal.localization))} with κ = {kappa:g}, so "
        f"that a direction {kappa:g} times flatter than the stiffest still contributes half of "
        f"what it would, and ε = {STIFFNESS:g}/(nβ·h + γ) = "
        f"{plain_number(two_digits(proposal.step_size))}, a quarter of the step size at which "
        "chains along the stiffest direction diverge."
    )


def curvature_table(calibration: Calibration) -> list[tuple[str, ...]]:
    """Rows of the table of curvatures: step, eigenvalues, and ε·k at the recommended cell.

    ε·k, with k = nβ·λ_max + γ, is 4 where chains diverge; unknown if no cell is recommended.
    """
    row, column = calibration.row, calibration.column
    stiffness = np.full(len(calibration.curved_steps), math.nan)
    if row is not None and column is not None:
        pull = calibration.localizations[row]
        curvatures = calibration.nbetas[row] * calibration.eigenvalues[:, 0] + pull
        stiffness = calibration.step_sizes[column] * curvatures
    return [
        (
            f"{step:,}",
            *(f"{value:.3g}".replace("-", "−") for value in values),
            f"{limit:.2f}" if math.isfinite(limit) else "—",
        )
        for step, values, limit in zip(
            calibration.curved_steps, calibration.eigenvalues, stiffness, strict=True
        )
    ]


def render_calibration(calibration: Calibration, title: str, folder: str) -> str:
    """The page about a calibration, as one string of html.

    Args:
        calibration: What was tried.
        title: Name of the run.
        folder: The run's folder, as the lines to paste should name it.

    Returns:
        A whole page that loads nothing: scripts, styles and data are inside.
    """
    source = resources.files("ontogeny.views").joinpath("calibration.html.j2").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = plain_number
    row, column = calibration.row, calibration.column
    found = row is not None and column is not None
    return environment.from_string(source).render(
        title=title,
        calibration=calibration,
        settings=recommended_settings(calibration) if found else {},
        lines=[shell_line(calibration, folder), python_line(calibration)] if found else [],
        reason=explain(calibration),
        rule=rule_in_words(calibration),
        steps=in_words([f"{step:,}" for step in calibration.steps]),
        curvatures=curvature_table(calibration),
        figure=_figure_data(calibration),
        plotly=Markup(get_plotlyjs()),
    )


def in_words(names: Sequence[str]) -> str:
    """Names in a sentence.

    Examples:
        >>> in_words(["a", "b", "c"]), in_words(["a"])
        ('a, b and c', 'a')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def write_calibration(calibration: Calibration, title: str, folder: Path) -> Path:
    """Write the page about a calibration into the run's folder, whole or not at all.

    Args:
        calibration: What was tried.
        title: Name of the run.
        folder: The run's folder.

    Returns:
        The file, `calibration.html`.

    Raises:
        OSError: The file cannot be written.
    """
    path = folder / "calibration.html"
    with whole_file(path) as file:
        file.write(render_calibration(calibration, title, str(folder)).encode())
    return path


def _figure_data(calibration: Calibration) -> dict[str, Any]:
    """The picture as the page holds it: its traces, and a layout for wide and narrow windows."""
    wide, narrow = (
        plot_calibration(calibration, width).to_plotly_json() for width in (PAGE_WIDTH, PHONE_WIDTH)
    )
    parts = {"data": wide["data"], "wide": wide["layout"], "narrow": narrow["layout"]}
    text = json.dumps(parts, cls=PlotlyJSONEncoder, sort_keys=True)
    return {"json": Markup(text.replace("<", "\\u003c")), "height": wide["layout"]["height"]}
