"""One self-contained HTML page per run."""

from markovbridge.report.page import write_report

__all__ = ["write_report"]
