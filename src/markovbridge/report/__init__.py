"""Pictures of samples, and one self-contained HTML page per run."""

from markovbridge.report.images import grid_png
from markovbridge.report.page import write_report

__all__ = ["grid_png", "write_report"]
