"""What to train and what to measure, for each system in three sizes."""

from collections.abc import Callable, Mapping

from ontogeny.plans import Plan
from ontogeny.presets.language import plan_language
from ontogeny.presets.linear import plan_linear
from ontogeny.presets.regression import plan_regression
from ontogeny.presets.superposition import plan_superposition

SYSTEMS: Mapping[str, Callable[..., Plan]] = {
    "regression": plan_regression,
    "language": plan_language,
    "superposition": plan_superposition,
    "linear": plan_linear,
}

__all__ = ["SYSTEMS", "plan_language", "plan_linear", "plan_regression", "plan_superposition"]
