"""Showing what was concluded: figures for a notebook, one page for everybody else."""

from ontogeny.views.figures import plot_dynamics, plot_stages
from ontogeny.views.panels import plot_metrics
from ontogeny.views.report import finding, render_report, stage_table, write_report
from ontogeny.views.tables import write_curves, write_stages
from ontogeny.views.traces import plot_traces

__all__ = [
    "finding",
    "plot_dynamics",
    "plot_metrics",
    "plot_stages",
    "plot_traces",
    "render_report",
    "stage_table",
    "write_curves",
    "write_report",
    "write_stages",
]
