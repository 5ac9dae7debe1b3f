"""Showing what was concluded: figures for a notebook, one page for everybody else."""

from ontogeny.views.attention import plot_patterns, plot_positions
from ontogeny.views.dynamics import plot_dynamics, plot_scores
from ontogeny.views.figures import plot_stages
from ontogeny.views.forms import form_table, write_forms
from ontogeny.views.joint import plot_joint_dynamics
from ontogeny.views.panels import plot_metrics
from ontogeny.views.report import (
    arrival_sentence,
    finding,
    render_report,
    stage_table,
    write_report,
)
from ontogeny.views.tables import write_curves, write_stages
from ontogeny.views.traces import plot_traces

__all__ = [
    "arrival_sentence",
    "finding",
    "form_table",
    "plot_dynamics",
    "plot_joint_dynamics",
    "plot_metrics",
    "plot_patterns",
    "plot_positions",
    "plot_scores",
    "plot_stages",
    "plot_traces",
    "render_report",
    "stage_table",
    "write_curves",
    "write_forms",
    "write_report",
    "write_stages",
]
