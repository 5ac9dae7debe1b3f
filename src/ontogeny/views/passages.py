"""Text coloured by how much better each token is predicted after a stage than before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ontogeny.analysis.reading import Report
from ontogeny.records import Passages

STRONG = 0.95
"""Changes as large as this share of all have the full colour, and so do larger ones."""

BETTER, WORSE = "222, 96, 60", "62, 122, 190"
"""Colours of tokens that are predicted better and worse, as in the paper."""

MOST_TOKENS = 1200
"""Tokens shown for each stage; rows after that are left out."""


class ShownToken(NamedTuple):
    """One token on the page.

    Attributes:
        text: What it says.
        color: Behind it, as CSS.
        seen: Whether it stood behind the same token earlier in its row, so that induction helps.
        change: Change of its log-probability, as text; empty for the first of a row.
    """

    text: str
    color: str
    seen: bool
    change: str


class ShownStage(NamedTuple):
    """The rows of text as a stage changed them."""

    name: str
    start: str
    end: str
    rows: list[list[ShownToken]]


def shown_passages(report: Report) -> list[ShownStage]:
    """For each stage the rows of text with the change of each token's log-probability over it.

    The colours of all stages are on one scale. Nothing if no rows of text were recorded.
    """
    changes = [change_of(before, after) for before, after in pairwise(report.passages)]
    if not changes:
        return []
    tokens = report.passages[0].tokens
    rows = max(1, MOST_TOKENS // tokens.shape[1])
    scale = float(np.quantile(np.abs(np.stack(changes)[:, :rows]), STRONG)) or 1.0
    return [
        ShownStage(
            name=stage.name,
            start=f"{before.step:,}",
            end=f"{after.step:,}",
            rows=[
                list(_shown_row(row, before.vocabulary, moved, scale))
                for row, moved in zip(tokens[:rows].tolist(), change[:rows], strict=True)
            ],
        )
        for stage, (before, after), change in zip(
            report.stages, pairwise(report.passages), changes, strict=True
        )
    ]


def _shown_row(
    tokens: Sequence[int],
    vocabulary: Sequence[str],
    change: Float[np.ndarray, " next"],
    scale: float,
) -> Iterator[ShownToken]:
    yield ShownToken(text_of(vocabulary[tokens[0]]), "transparent", False, "")
    seen = set[tuple[int, int]]()
    for pair, moved in zip(pairwise(tokens), change.tolist(), strict=True):
        strength = min(1.0, abs(moved) / scale)
        color = f"rgba({BETTER if moved > 0 else WORSE}, {strength:.2f})"
        said = f"{moved:+.2f}".replace("-", "\N{MINUS SIGN}")
        yield ShownToken(text_of(vocabulary[pair[1]]), color, pair in seen, said)
        seen.add(pair)


def text_of(token: str) -> str:
    """A token as it can be seen: line breaks get a sign, and what is no whole letter too."""
    return token.replace("\n", "↵").replace("\t", "⇥").replace("\ufffd", "·") or "·"


def change_of(before: Passages, after: Passages) -> Float[np.ndarray, "row next"]:
    """Change of each true token's log-probability from one checkpoint to another, in nats.

    Examples:
        >>> rows = np.array([[0, 1]])
        >>> early = Passages(0, ("a", "b"), rows, np.array([[2.0]]))
        >>> late = Passages(9, ("a", "b"), rows, np.array([[0.5]]))
        >>> change_of(early, late)
        array([[1.5]])
    """
    change: Float[np.ndarray, "row next"] = before.losses - after.losses
    return change
