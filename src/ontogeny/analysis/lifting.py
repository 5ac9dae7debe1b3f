r"""What a form says: its point lifted back to outputs, and what is special there.

A form is a point $f$ in the space of a few components. With the mean output $\mu$ over training and
the loadings $u_i$ it stands for the outputs $\mu + \sum_i f_i u_i$: what a network would say there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import hypergeom

from ontogeny.records import Form, References, Trajectory

EXTREME = 0.01
"""The share of the samples at either end that is looked at, at least `FEWEST_SAMPLES`."""

FEWEST_SAMPLES = 20


def lift(form: Form, trajectory: Trajectory) -> Float[np.ndarray, " output"]:
    r"""The outputs that a form stands for, $\mu + \sum_i f_i u_i$.

    Examples:
        >>> from ontogeny.analysis.dynamics import essential_dynamics
        >>> from ontogeny.records import Outputs
        >>> line = np.outer([-2.0, -1.0, 0.0, 1.0, 2.0], [0.6, 0.8]) + 1
        >>> trajectory = essential_dynamics(Outputs(np.arange(5), line), components=1)
        >>> lift(Form(3, 3, 3, (1.0,), 1.0), trajectory).round(6).tolist()
        [1.6, 1.8]
    """
    point = np.array(form.point)
    lifted: Float[np.ndarray, " output"] = (
        trajectory.mean + point @ trajectory.loadings[: len(point)]
    )
    return lifted


def distances_to_references(
    lifted: Float[np.ndarray, " output"], references: References
) -> dict[str, float]:
    """Root mean square difference from each known predictor where it has an opinion, nearest first.

    Predictors without any opinion are left out.

    Examples:
        >>> values = np.array([[1.0, np.nan], [0.0, 0.0]])
        >>> known = References(("position",), np.array([[0], [1]]), ("ridge", "zero"), values)
        >>> list(distances_to_references(np.array([0.75, 5.0]), known).items())[0]
        ('ridge', 0.25)
    """
    found = {}
    for name, values in zip(references.names, references.values, strict=True):
        said = ~np.isnan(values)
        if said.any():
            found[name] = float(np.sqrt(np.mean((lifted - values)[said] ** 2)))
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


# Language -----------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """One place in a text: the tokens before it, and the one that is there."""

    context: tuple[str, ...]
    token: str


def begins_with_space(sample: Sample) -> bool:
    """Whether the token is the beginning of a word.

    Examples:
        >>> begins_with_space(Sample(("The",), " cat")), begins_with_space(Sample((" c",), "at"))
        (True, False)
    """
    return sample.token.startswith((" ", "Ġ", "▁"))


def is_induction(sample: Sample) -> bool:
    """Whether the token followed the last token of its context there before: AB ... A, then B.

    Examples:
        >>> is_induction(Sample(("A", "B", "C", "A"), "B"))
        True
        >>> is_induction(Sample(("A", "B", "C", "A"), "C"))
        False
    """
    context, token = sample
    return any(pair == (context[-1], token) for pair in pairwise(context))


KINDS: dict[str, Callable[[Sample], bool]] = {
    "begins with a space": begins_with_space,
    "induction": is_induction,
}


@dataclass(frozen=True)
class Enrichment:
    r"""How much more often a kind of sample stands at one end than among all.

    Attributes:
        kind: A name in `KINDS`.
        found: How many of this kind stand there.
        ratio: Their share there over their share among all, nan if there are none.
        p_value: How often as many or more would, were the samples shuffled: hypergeometric.
    """

    kind: str
    found: int
    ratio: float
    p_value: float


@dataclass(frozen=True, eq=False)
class Extremes:
    """The samples at both ends of the outputs, and what they have in common.

    Attributes:
        highest: Indices of the samples with the highest output, highest first.
        lowest: Of those with the lowest, lowest first.
        enriched_highest: What is more frequent among the first, for each of `KINDS`.
        enriched_lowest: What is more frequent among the others.
    """

    highest: Int[np.ndarray, " sample"]
    lowest: Int[np.ndarray, " sample"]
    enriched_highest: tuple[Enrichment, ...]
    enriched_lowest: tuple[Enrichment, ...]


def describe_samples(values: Float[np.ndarray, " output"], samples: Sequence[Sample]) -> Extremes:
    r"""The samples of a language model whose output is highest and lowest, and their kind.

    With $K$ samples of a kind among all $N$, the number among the $n$ highest would be
    hypergeometric if it did not matter. $n$ is a hundredth of the samples, and at least 20.

    Args:
        values: One output for each sample, such as the logit of its token, lifted from a form.
        samples: The samples, in the same order.

    Raises:
        ValueError: There are not as many samples as values, or fewer than 40.

    Examples:
        >>> words = [Sample((), " cat" if i < 20 else "s") for i in range(100)]
        >>> extremes = describe_samples(-np.arange(100.0), words)
        >>> extremes.enriched_highest[0].ratio, extremes.enriched_lowest[0].ratio
        (5.0, 0.0)
    """
    kinds = {name: np.array([holds(one) for one in samples]) for name, holds in KINDS.items()}
    if len(values) != len(samples):
        raise ValueError(f"there are {len(values)} values and {len(samples)} samples")
    return _extremes(values, kinds)


def describe_outputs(values: Float[np.ndarray, " output"], references: References) -> Extremes:
    """The same for the outputs of a run, whose labels say which token follows which.

    Args:
        values: One output for each row of labels.
        references: With the labels `next_token` and `induction`, and the text of each token.

    Raises:
        ValueError: The labels are not those of a text, or there are fewer than 40 outputs.
    """
    if not references.vocabulary or not {"next_token", "induction"} <= {*references.label_names}:
        raise ValueError("the labels of these outputs are not those of a text")
    columns = dict(zip(references.label_names, references.labels.T, strict=True))
    begins = np.array([begins_with_space(Sample((), token)) for token in references.vocabulary])
    kinds = {
        "begins with a space": begins[columns["next_token"]],
        "induction": columns["induction"] > 0,
    }
    return _extremes(values, kinds)


def _extremes(
    values: Float[np.ndarray, " output"], kinds: Mapping[str, Bool[np.ndarray, " output"]]
) -> Extremes:
    total = len(values)
    if total < 2 * FEWEST_SAMPLES:
        raise ValueError(f"extremes need {2 * FEWEST_SAMPLES} samples or more, not {total}")
    count = max(FEWEST_SAMPLES, round(EXTREME * total))
    order = np.argsort(values, kind="stable")
    highest, lowest = order[::-1][:count], order[:count]
    return Extremes(
        highest=highest,
        lowest=lowest,
        enriched_highest=tuple(_enrichment(name, some, highest) for name, some in kinds.items()),
        enriched_lowest=tuple(_enrichment(name, some, lowest) for name, some in kinds.items()),
    )


def _enrichment(
    kind: str, is_of_kind: Bool[np.ndarray, " sample"], chosen: Int[np.ndarray, " chosen"]
) -> Enrichment:
    found, of_all = int(is_of_kind[chosen].sum()), int(is_of_kind.sum())
    expected = len(chosen) * of_all / len(is_of_kind)
    return Enrichment(
        kind=kind,
        found=found,
        ratio=found / expected if expected else float("nan"),
        p_value=float(hypergeom.sf(found - 1, len(is_of_kind), of_all, len(chosen))),
    )
