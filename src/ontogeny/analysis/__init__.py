"""Reading what was measured: arithmetic on records, in numpy, without torch."""

from ontogeny.analysis.curves import SmoothCurve, smooth_curve
from ontogeny.analysis.diagnostics import diagnose
from ontogeny.analysis.dynamics import (
    essential_dynamics,
    osculating_circles,
    project,
    smooth_along_arc,
    smooth_trajectory,
)
from ontogeny.analysis.forms import find_forms, find_vertices
from ontogeny.analysis.joint import joint_dynamics
from ontogeny.analysis.lifting import (
    describe_outputs,
    describe_samples,
    distances_to_references,
    lift,
)
from ontogeny.analysis.llc import estimate_llc, llc_by_position
from ontogeny.analysis.milestones import find_milestones
from ontogeny.analysis.nulls import WeighedForms, lissajous_shares, weigh_forms
from ontogeny.analysis.reading import Report, gather_curves, read_run, read_status
from ontogeny.analysis.stages import find_stages

__all__ = [
    "Report",
    "SmoothCurve",
    "WeighedForms",
    "describe_outputs",
    "describe_samples",
    "diagnose",
    "distances_to_references",
    "essential_dynamics",
    "estimate_llc",
    "find_forms",
    "find_milestones",
    "find_stages",
    "find_vertices",
    "gather_curves",
    "joint_dynamics",
    "lift",
    "lissajous_shares",
    "llc_by_position",
    "osculating_circles",
    "project",
    "read_run",
    "read_status",
    "smooth_along_arc",
    "smooth_curve",
    "smooth_trajectory",
    "weigh_forms",
]
