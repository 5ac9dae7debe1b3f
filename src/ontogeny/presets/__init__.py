"""What to train and what to measure, for each system in three sizes."""

from collections.abc import Callable, Mapping

from ontogeny.plans import Plan
from ontogeny.presets.language import plan_language
from ontogeny.presets.regression import plan_regression

SYSTEMS: Mapping[str, Callable[..., Plan]] = {
    "language": plan_language,
    "regression": plan_regression,
}

__all__ = ["SYSTEMS", "plan_language", "plan_regression"]
