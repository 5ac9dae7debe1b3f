"""Reading what was measured: arithmetic on records, in numpy, without torch."""

from ontogeny.analysis.curves import SmoothCurve, smooth_curve
from ontogeny.analysis.diagnostics import diagnose
from ontogeny.analysis.dynamics import (
    essential_dynamics,
    osculating_circles,
    project,
    smooth_trajectory,
)
from ontogeny.analysis.llc import estimate_llc, llc_by_position
from ontogeny.analysis.milestones import find_milestones
from ontogeny.analysis.reading import Report, gather_curves, read_run, read_status
from ontogeny.analysis.stages import find_stages

__all__ = [
    "Report",
    "SmoothCurve",
    "diagnose",
    "essential_dynamics",
    "estimate_llc",
    "find_milestones",
    "find_stages",
    "gather_curves",
    "llc_by_position",
    "osculating_circles",
    "project",
    "read_run",
    "read_status",
    "smooth_curve",
    "smooth_trajectory",
]
