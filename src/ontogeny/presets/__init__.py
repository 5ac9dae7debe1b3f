"""What to train and what to measure, for each system in three sizes."""

from collections.abc import Callable, Mapping

from ontogeny.plans import Plan
from ontogeny.presets.language import plan_language
from ontogeny.presets.linear import plan_linear
from ontogeny.presets.regression import plan_regression
from ontogeny.presets.superposition import plan_superposition

SYSTEMS: Mapping[str, Callable[..., Plan]] = {
    "language": plan_language,
    "linear": plan_linear,
    "regression": plan_regression,
    "superposition": plan_superposition,
}

__all__ = ["SYSTEMS", "plan_language", "plan_linear", "plan_regression", "plan_superposition"]
