"""Tables as CSV, Markdown and LaTeX, figures, and one HTML page with all of them."""

from __future__ import annotations

from hemocam_training.experiments.reporting.figures import Figure, figure_of
from hemocam_training.experiments.reporting.report import Report, Section, write_report
from hemocam_training.experiments.reporting.tables import MeanSd, Table, mean_sd

__all__ = ["Figure", "MeanSd", "Report", "Section", "Table", "figure_of", "mean_sd", "write_report"]
