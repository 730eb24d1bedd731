"""One self-contained HTML page per run."""

from markovbridge.evaluation.report.page import write_report

__all__ = ["write_report"]
