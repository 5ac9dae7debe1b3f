"""Which panels the picture of all metrics has, and what each of them shows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ontogeny.analysis.arrivals import AT_POINTS, DISTANCES, nearest_points
from ontogeny.analysis.reading import Report
from ontogeny.records import Curve

LONGEST_KEY = 56
"""Letters of labels that fit above a panel; of longer keys the two ends are shown."""

MOST_BANDS = 4
"""Refined estimates in one panel, each with the band of its error; heads may be more, without."""

REFINED = "llc_by_component"
HEAD = re.compile(r"head\.(\d+)\.\d+")


@dataclass(frozen=True)
class Panel:
    """What one small panel shows.

    Attributes:
        title: Its heading.
        curves: Names of the curves in it, and the label of each that has a single item.
        key: A word before the labels, such as position.
        log: Whether values stand on a logarithmic axis, if all are positive.
        squared_shares: Whether to show each item's share of the sum of squares.
        behind: A curve of many items that is drawn as a faint bundle behind the others.
        items: Which items of its curves it shows, each a line of its own however many they are;
            all if empty.
        row: Panels with the same name here have one scale of values.
        most_bands: How many lines each have a band of one standard error: of more lines none has.
        levels: A value that is known for some items, drawn dotted from where they begin.
        note: What else to say above it, after the labels.
    """

    title: str
    curves: Mapping[str, str]
    key: str = ""
    log: bool = False
    squared_shares: bool = False
    behind: str = ""
    items: tuple[str, ...] = ()
    row: str = ""
    most_bands: int = 1
    levels: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


PANELS = (
    Panel(
        "Cross-entropy with the table of bigrams",
        {"bigram_score": "bigram score", "bigram_entropy": "entropy of the table"},
    ),
    Panel("n-gram score", {"ngram_score": ""}, key="n ="),
    Panel("Loss on a repeated random row", {"repeated_loss": ""}, key="half"),
    Panel("Induction gain: first half − second", {"induction_gain": ""}),
    Panel("Previous-token score", {"previous_token_score": ""}, key="head"),
    Panel("Prefix-matching score", {"prefix_matching_score": ""}, key="head"),
    Panel("K-composition", {"k_composition": ""}, key="heads"),
    Panel("Loss", {"loss": "with positions", "loss_without_positions": "without"}),
    Panel(
        "Task prior: mean squared prediction",
        {"prediction_norm": "all", "prediction_norm_by_position": ""},
        key="pair",
        log=True,
    ),
    Panel(
        "In-context learning score",
        {"icl_score": "overall", "icl_score_1_4": "pair 4 − 1", "icl_score_4_8": "pair 8 − 4"},
    ),
    Panel("The same on inputs scaled by g, over g", {"ood_icl_score": ""}, key="g ="),
    Panel("Loss on inputs scaled by g", {"ood_loss": ""}, key="g =", log=True),
    Panel("Loss on tasks scaled by g", {"ood_task_loss": ""}, key="g =", log=True),
    Panel(
        "Squared distance to ridge",
        {"distance_to_ridge": "all", "distance_to_ridge_by_position": ""},
        key="pair",
        log=True,
    ),
    Panel("Loss by position", {"loss_by_position": ""}, key="position"),
    Panel("LLC by position", {"llc_by_position": ""}, key="position"),
    *(
        Panel(
            f"{matrix} embedding: shares of σ²",
            {f"{matrix.lower()}_singular_values": ""},
            key="rank",
            squared_shares=True,
        )
        for matrix in ("Positional", "Token")
    ),
    Panel("Layer norms: share of weights near 0", {"layer_norm_weight_fraction": ""}),
    Panel("Layer norms: share of biases near 0", {"layer_norm_bias_fraction": ""}),
    *(
        Panel(f"Layer norms: {title} of {part}", {f"layer_norm_{name}": ""})
        for title, part, name in (
            ("mean", "weights", "weight_mean"),
            ("spread", "weights", "weight_std"),
            ("mean", "biases", "bias_mean"),
            ("spread", "biases", "bias_std"),
        )
    ),
    Panel("Effective unembedding weights", {"effective_unembedding_weight": ""}),
    Panel("Effective unembedding bias", {"effective_unembedding_bias": ""}),
    *(
        Panel(title, {name: ""}, key="head", behind=f"{name}_by_position")
        for title, name in (
            ("Attention entropy", "attention_entropy"),
            ("Attention variability", "attention_variability"),
            ("Attention to itself", "self_attention"),
            ("Attention to the previous token", "previous_token_attention"),
            ("Attention to x tokens", "x_token_attention"),
        )
    ),
    Panel("Weight norm", {"weight_norm": ""}),
    Panel("Norm of the positional embedding", {"position_norm": ""}, key="position"),
    Panel(
        "Positional embedding: shares of variance", {"position_variance_ratio": ""}, key="component"
    ),
    Panel("Trace of the Hessian", {"hessian_trace": ""}),
    Panel("Top eigenvalues of the Hessian", {"hessian_eigenvalues": ""}, key="rank"),
    Panel("Loss on the training batches", {"training_loss": ""}),
    Panel("Loss on the sampler's batches", {"initial_loss": ""}),
)
IN_FIRST_FIGURE = ("loss", "llc")

POSITIONS = "position_component"
"""It has a picture of its own, over the position."""


def measured_panels(report: Report) -> list[Panel]:
    """The panels that have something to show, those of unnamed curves last.

    Examples:
        >>> import numpy as np
        >>> step = np.array([0, 1])
        >>> mine = Curve("my_score", "", step, np.zeros((2, 1)), np.zeros((2, 1)))
        >>> report = Report("", curves={"my_score": mine})
        >>> [panel.title for panel in measured_panels(report)]
        ['My score']
    """
    curves = {name: one for name, one in report.curves.items() if not is_repeated(one, report)}
    known = list[Panel]()
    for panel in PANELS:
        if any(name in curves for name in panel.curves if name not in IN_FIRST_FIGURE):
            known.append(panel)
        if "llc_by_position" in panel.curves:
            known += [*point_panels(report), *component_panels(curves)]
    named = {name for panel in known for name in (*panel.curves, panel.behind)}
    others = [name for name in curves if name not in named | set(IN_FIRST_FIGURE)]
    plain = [Panel(name[:1].upper() + name[1:].replace("_", " "), {name: ""}) for name in others]
    return known + plain


def is_repeated(curve: Curve, report: Report) -> bool:
    """Whether others show a curve: the LLC, the loss, or a picture of known points or positions."""
    if curve.name == POSITIONS:
        return True
    if curve.name == "llc_by_position":
        return len(curve.items) == 1
    if curve.name in ("training_loss", "initial_loss"):  # the same where data have no noise
        loss = report.curves.get("loss", curve)
        _, here, there = np.intersect1d(curve.steps, loss.steps, return_indices=True)
        gap = np.abs(curve.values[here] - loss.values[there]).max(initial=0.0)
        return loss is not curve and bool(gap <= 1e-6 * np.abs(loss.values).max())
    if curve.name.startswith(f"{REFINED}_on_"):
        data = curve.name.removeprefix(f"{REFINED}_on_")
        return data in told_near_points(report) and curve.items == ("all",)
    return False


def point_panels(report: Report) -> list[Panel]:
    """The learning coefficients at known critical points, and how far those are.

    Of the distances only those are drawn whose point is at some step the nearest.

    Examples:
        >>> from ontogeny.records import CriticalPoint
        >>> far = np.array([[0.0, 9.0, 5.0], [9.0, 0.0, 5.0]])
        >>> curve = Curve(DISTANCES, "", np.array([0, 9]), far, far, ("a", "b", "c"))
        >>> points = tuple(CriticalPoint(name, 1.0) for name in "abc")
        >>> (panel,) = point_panels(Report("", curves={DISTANCES: curve}, critical_points=points))
        >>> panel.items, panel.note
        (('a', 'b'), '1 other never the nearest')
    """
    panels = []
    if AT_POINTS in report.curves:
        items = report.curves[AT_POINTS].items
        exact = {
            point.name: point.learning_coefficient
            for point in report.critical_points
            if point.name in items and point.learning_coefficient is not None
        }
        note = "dotted: exact λ"
        panels.append(
            Panel("LLC near known points", {AT_POINTS: ""}, items=items, levels=exact, note=note)
        )
    if DISTANCES in report.curves and report.critical_points:
        distance = report.curves[DISTANCES]
        nearest = set(nearest_points(distance, report.critical_points))
        shown = tuple(name for name in distance.items if name in nearest)
        left = len(distance.items) - len(shown)
        note = f"{left} other{'s' * (left > 1)} never the nearest" * bool(left)
        panels.append(Panel("Distance to known points", {DISTANCES: ""}, items=shown, note=note))
    return panels


def told_near_points(report: Report) -> set[str]:
    """The data sets whose estimates mean something near a known critical point only."""
    near = report.curves[AT_POINTS].items if AT_POINTS in report.curves else ()
    return {
        point.data
        for point in report.critical_points
        if point.data and (not point.minimum or point.name in near)
    }


def component_panels(curves: Mapping[str, Curve]) -> list[Panel]:
    """Panels for the refined learning coefficients: heads by layer, then all else, a few in each.

    Args:
        curves: All curves by name. Refined ones are called `llc_by_component`, on another data set
            `llc_by_component_on_DATA`.

    Examples:
        >>> import numpy as np
        >>> one = np.zeros((1, 4))
        >>> items = ("head.1.1", "head.1.2", "head.2.1", "mlp.1")
        >>> curve = Curve(REFINED, "", np.array([0]), one, one, items)
        >>> for panel in component_panels({REFINED: curve}):
        ...     print(panel.title, panel.items)
        LLC of heads in layer 1 ('head.1.1', 'head.1.2')
        LLC of heads in layer 2 ('head.2.1',)
        LLC of other components ('mlp.1',)
    """
    panels = []
    for name, curve in curves.items():
        if not name.startswith(REFINED):
            continue
        data = name.removeprefix(REFINED).removeprefix("_on_").replace("_", " ")
        on_data = f" on {data}" if data else ""
        layers: dict[str, list[str]] = {}
        for item in curve.items:
            head = HEAD.fullmatch(item)
            layers.setdefault(head[1] if head else "", []).append(item)
        others = layers.pop("", [])
        if "all" in others:
            others.remove("all")
            panels.append(Panel(f"LLC{on_data}", {name: "all weights"}, items=("all",)))
        groups = [("head", f"heads in layer {layer}", heads) for layer, heads in layers.items()]
        groups += [("", "other components", few) for few in packed(others)]
        panels += [
            Panel(
                f"LLC of {what}{on_data}",
                {name: ""},
                key,
                items=tuple(items),
                row=f"{key} {name}",
                most_bands=MOST_BANDS,
            )
            for key, what, items in groups
        ]
    return panels


def packed(labels: Sequence[str]) -> list[list[str]]:
    """Labels in groups that fit above a panel, with lines that can each have a band.

    Examples:
        >>> packed(["a", "b", "c", "d", "e", 60 * "f"]) == [list("abcd"), ["e"], [60 * "f"]]
        True
    """
    groups = list[list[str]]()
    for label in labels:
        last = groups[-1] if groups else []
        if not last or len(last) == MOST_BANDS or letters([*last, label]) > LONGEST_KEY:
            groups.append([])
        groups[-1].append(label)
    return groups


def letters(labels: Sequence[str]) -> int:
    """How long labels are side by side."""
    return sum(len(label) + 1 for label in labels)
