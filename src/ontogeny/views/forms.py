"""Forms in words, as a table and as a file for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ontogeny.analysis.forms import COMPONENTS
from ontogeny.analysis.lifting import FEWEST_SAMPLES, Enrichment, describe_outputs, lift
from ontogeny.analysis.nulls import SIGNIFICANT, WeighedForms, lissajous_shares, stands_out
from ontogeny.records import Form, References, Trajectory
from ontogeny.storage import whole_file
from ontogeny.views.marks import UNKNOWN

MANY_DIMENSIONS = 100_000
"""From here on a walk on its principal components is nothing but cosines."""


SMOOTHER = (
    "No walk is as smooth as this path, however many its dimensions: against such walks any turn "
    "that is sharper than a cosine's looks rare, so a small p says less here."
)

NO_FORM = "No form: nowhere does the path turn in every plane at once."

SHOWN = 12
"""Samples shown at each end of a form's outputs."""

CLEAR = 0.01
"""A kind of sample that is as frequent at an end by chance less often than this is named."""


class FormRow(NamedTuple):
    """One row of the table of forms, as text."""

    step: str
    interval: str
    score: str
    brownian: str
    ornstein_uhlenbeck: str
    phase_randomised: str
    nearest: str = UNKNOWN


FORM_HEADINGS = FormRow(
    step="Step",
    interval="Influence",
    score="Score",
    brownian="p, walk",
    ornstein_uhlenbeck="p, pulled back",
    phase_randomised="p, phases",
    nearest="Nearest predictor",
)


def form_table(
    forms: Sequence[Form], distances: Sequence[Mapping[str, float]] = ()
) -> list[FormRow]:
    """Forms as rows of text, under `FORM_HEADINGS`.

    Args:
        forms: What was found.
        distances: For each form its differences from known predictors, nearest first.

    Examples:
        >>> form_table([Form(34500, 30000, 40000, (1.0, 2.0), 16.34, 0.001)])[0][:4]
        ('34,500', '30,000 to 40,000', '16', '0.001')
    """
    return [
        FormRow(
            step=f"{form.step:,}",
            interval=f"{form.low:,} to {form.high:,}",
            score=f"{form.score:#.2g}".rstrip("."),
            brownian=_chance(form.p_value),
            ornstein_uhlenbeck=_chance(form.p_values.get("ornstein_uhlenbeck")),
            phase_randomised=_chance(form.p_values.get("phase_randomised")),
            nearest=next((f"{name} ({apart:.2g})" for name, apart in known.items()), UNKNOWN),
        )
        for form, known in zip(forms, distances or [{}] * len(forms), strict=True)
    ]


def _chance(p: float | None) -> str:
    return UNKNOWN if p is None else f"{p:.3f}"


def forms_finding(weighed: WeighedForms) -> str:
    """How many forms there are, how many of them chance does not explain, and the best.

    Examples:
        >>> best = Form(34500, 30000, 40000, (1.0, 2.0), 16.3, 0.001)
        >>> forms_finding(WeighedForms((best,), 999, 57.9, 1.0, 0.02))
        '1 form, beyond chance (p ≤ 0.05); the best at step 34,500 (score 16, p = 0.001).'
        >>> forms_finding(WeighedForms((), 999, 57.9, 1.0, 0.02))
        'No form: nowhere does the path turn in every plane at once.'
    """
    if not weighed.forms:
        return NO_FORM
    count, clear = len(weighed.forms), sum(map(stands_out, weighed.forms))
    these = f"{clear or 'none'} of them" if count > 1 else "not " * (not clear)
    chance = f"{these.strip()} beyond chance".strip()
    best = max(weighed.forms, key=lambda form: form.score)
    return (
        f"{count} form{'s' * (count > 1)}, {chance} (p ≤ {SIGNIFICANT:g}); "
        f"the best at step {best.step:,} "
        f"(score {best.score:#.2g}".rstrip(".")
        + f", p = {_chance(best.p_value)})."
    )


class FormText(NamedTuple):
    """What the outputs of a language model are at a form, in words."""

    step: str
    highest: list[str]
    lowest: list[str]
    sentences: list[str]


def form_texts(
    forms: Sequence[Form], trajectory: Trajectory | None, references: References | None
) -> list[FormText]:
    """For each form the places in the text with the highest and lowest logits, what they share.

    Nothing where outputs are not the logits of tokens, or are too few.
    """
    if trajectory is None or references is None or not references.vocabulary:
        return []
    if len(references.labels) < 2 * FEWEST_SAMPLES:
        return []
    pairs = texts_in_context(references)
    texts = []
    for form in forms:
        found = describe_outputs(lift(form, trajectory), references)
        ends = {"highest": found.enriched_highest, "lowest": found.enriched_lowest}
        texts.append(
            FormText(
                step=f"{form.step:,}",
                highest=list(dict.fromkeys(pairs[i] for i in found.highest))[:SHOWN],
                lowest=list(dict.fromkeys(pairs[i] for i in found.lowest))[:SHOWN],
                sentences=[
                    enrichment_sentence(one, end, len(found.highest))
                    for end, kinds in ends.items()
                    for one in kinds
                    if one.p_value < CLEAR
                ],
            )
        )
    return texts


def texts_in_context(references: References) -> list[str]:
    """The text at each output: the tokens before it, a bar, and the one it is the logit of.

    Examples:
        >>> names = ("before_2", "before_1", "token", "next_token")
        >>> labels = np.array([[-1, 0, 1, 2], [0, 1, 2, 2]])
        >>> texts_in_context(References(names, labels, (), np.empty((0, 2)), ("I", " am", "!")))
        ['I am|!', 'I am!|!']
    """
    columns = dict(zip(references.label_names, references.labels.T.tolist(), strict=True))
    shown = [column for name, column in columns.items() if name.startswith("before_")]

    def text(tokens: Iterable[int]) -> str:
        return "".join(references.vocabulary[token] for token in tokens if token >= 0)

    return [
        f"{text(context)}|{references.vocabulary[following]}"
        for *context, following in zip(*shown, columns["token"], columns["next_token"], strict=True)
    ]


def enrichment_sentence(enrichment: Enrichment, end: str, count: int) -> str:
    """What kind of sample is frequent at one end, in words.

    Examples:
        >>> enrichment_sentence(Enrichment("induction", 18, 2.4, 1e-6), "lowest", 20)
        'Of the 20 lowest 18 are of the kind “induction”: 2.4 times their share, p = 1e-06.'
    """
    return (
        f"Of the {count} {end} {enrichment.found} are of the kind “{enrichment.kind}”: "
        f"{enrichment.ratio:.2g} times their share, p = {enrichment.p_value:.1g}."
    )


def null_sentence(weighed: WeighedForms) -> str:
    """What the forms were weighed against.

    Examples:
        >>> null_sentence(WeighedForms((), 999, 57.9, 1.0, 0.02)).partition(".")[0]
        'p-values are shares of 999 surrogates whose best form scores at least as high'
    """
    many = weighed.dimensions > MANY_DIMENSIONS
    dimensions = "very many" if many else f"about {weighed.dimensions:.3g}"
    return (
        f"p-values are shares of {weighed.surrogates} surrogates whose best form scores at least "
        f"as high. Assumed from the scores alone: a random walk in {dimensions} dimensions, seen "
        "on its principal components, with the local variance of the run"
        + (f" and white noise of {100 * weighed.noise:.2g} %" if weighed.noise > 0 else "")
        + f"; beside it the same walk pulled back to its start {weighed.relaxation:.2g} times over "
        "the run, and the run's own increments with random phases."
        + f" {SMOOTHER}"
        * weighed.smoother
    )


def component_notes(components: int) -> list[str]:
    """What a reader should know about forms in so many components.

    Examples:
        >>> component_notes(3)
        []
        >>> component_notes(2)  # doctest: +ELLIPSIS
        ['Two components make one plane: ...']
    """
    if components == 2:
        return [
            "Two components make one plane: no other plane can contradict a turn, so these are "
            "vertices and cusps of one curve, not yet forms."
        ]
    if components > COMPONENTS:
        return [f"The first {COMPONENTS} of {components} components are used."]
    return []


def variance_shares(
    scores: Float[np.ndarray, "step component"],
) -> Float[np.ndarray, " component"]:
    """The share of each component in the variance of all that are given."""
    variances = scores.var(axis=0)
    shares: Float[np.ndarray, " component"] = variances / variances.sum()
    return shares


def write_forms(weighed: WeighedForms, path: Path, **further: Any) -> None:
    """Write forms as JSON, and beside them what they were weighed against.

    Args:
        weighed: What was found.
        path: The file to write.
        **further: More to say, such as shares of variance.

    Raises:
        OSError: The file cannot be written.
    """
    with whole_file(path) as file:
        text = json.dumps(forms_as_json(weighed) | further, indent=2, allow_nan=False)
        file.write((text + "\n").encode())


def forms_as_json(weighed: WeighedForms) -> dict[str, Any]:
    """Forms, and what they were weighed against, as JSON values."""
    return {
        "forms": [
            {
                "step": form.step,
                "low": form.low,
                "high": form.high,
                "point": list(form.point),
                "score": form.score,
                "p_value": form.p_value,
                "p_values": dict(form.p_values),
            }
            for form in weighed.forms
        ],
        "null": {
            "p_value": "brownian",
            "assumed": null_sentence(weighed),
            "surrogates": weighed.surrogates,
            "dimensions": weighed.dimensions,
            "relaxation": weighed.relaxation,
            "noise": weighed.noise,
            "smoother": weighed.smoother,
        },
        "lissajous_shares": lissajous_shares(COMPONENTS).tolist(),
    }
