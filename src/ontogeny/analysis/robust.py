"""Values and rows that are far off, and how far typical ones scatter."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Real

# A row is wild if it is so many times as far off as nine rows of ten, and alone with that.
FAR = 10.0
MOST = 0.9
# At how many columns, evenly chosen, rows are looked at: what is wild is so in most of them.
COLUMNS = 1000
# Turns a median of absolute values into a standard deviation.
NORMAL = 1.4826


def running_median(values: Float[np.ndarray, " step"]) -> Float[np.ndarray, " step"]:
    """The median of each value and its two neighbours; the first and the last stay.

    A single value far off, such as a failed estimate, leaves nothing behind.

    Examples:
        >>> running_median(np.array([1.0, 2.0, 900.0, 4.0, 5.0])).tolist()
        [1.0, 2.0, 4.0, 5.0, 5.0]
    """
    padded = np.pad(values, 1, mode="edge")
    medians: Float[np.ndarray, " step"]
    medians = np.median(np.lib.stride_tricks.sliding_window_view(padded, 3), axis=1)
    return medians


def surprises(
    x: Real[np.ndarray, " step"], values: Float[np.ndarray, "*row step"]
) -> Float[np.ndarray, "*row inner"]:
    """How far values lie from the lines through their two neighbours, but for the ends.

    Scaled such that independent noise keeps its variance.
    """
    gaps = np.diff(x)
    share = gaps[:-1] / np.maximum(gaps[:-1] + gaps[1:], np.finfo(float).tiny)
    line = (1 - share) * values[..., :-2] + share * values[..., 2:]
    found: Float[np.ndarray, "*row inner"]
    found = (values[..., 1:-1] - line) / np.sqrt(1 + share**2 + (1 - share) ** 2)
    return found


def scatter(x: Real[np.ndarray, " step"], values: Float[np.ndarray, " step"]) -> float:
    """The standard deviation of a value, from how far values lie from lines through neighbours.

    Args:
        x: Where they are, not decreasing.
        values: One for each; nan from fewer than three.

    Examples:
        >>> scatter(np.array([0, 1, 2, 6]), np.array([0.0, 1.0, 2.0, 6.0]))
        0.0
    """
    return NORMAL * float(np.median(np.abs(surprises(x, values)))) if len(x) > 2 else np.nan


def wild_rows(rows: Float[np.ndarray, "step column"]) -> Int[np.ndarray, " wild"]:
    """Which rows are alone far from all others, and the path is back at the next.

    One such row, a failed computation, would be all that principal components and the smoothed path
    show. The first and the last are never among them: there the path may come from far, or go.

    Args:
        rows: Finite positions over training, few or many columns.

    Examples:
        >>> path = np.arange(20.0)[:, None] * [1, 2]
        >>> path[7] = 1e9
        >>> wild_rows(path).tolist()
        [7]
    """
    if len(rows) < 3:
        return np.empty(0, int)
    chosen = np.asarray(rows[:, :: max(1, rows.shape[1] // COLUMNS)], float) / 4  # no overflow
    away = np.abs(chosen - np.median(chosen, axis=0)).max(axis=1)
    far: Bool[np.ndarray, " step"] = away > FAR * np.quantile(away, MOST, method="lower")
    return 1 + np.flatnonzero(far[1:-1] & ~far[:-2] & ~far[2:])
