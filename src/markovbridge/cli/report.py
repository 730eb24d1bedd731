"""`markovbridge report`: one self-contained HTML page of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markovbridge.cli import console
from markovbridge.cli.verb import OnRun
from markovbridge.evaluation.report import write_report
from markovbridge.storage.documents import read_json
from markovbridge.storage.locks import locked
from markovbridge.training.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Report(OnRun):
    """Write a run's report, one self-contained HTML page.

    RUN/report.html holds what was trained, the loss, samples beside the training images
    nearest to them, the way from source to data, and the scores. What has not been made
    yet is said, with the command that makes it.
    """

    EXAMPLE = "runs/digits"

    def run(self) -> None:
        run = self.opened()
        if run.arrays("samples").is_file() and not _current(run, run.samples()[1]):
            console.note(
                f"warning: {run.record('evaluation')} is of other samples than "
                f"{run.arrays('samples')}; `markovbridge evaluate {run}` scores these"
            )
        with locked(run.path, "report"):
            there = [run.report] if run.report.is_file() else []
            with console.Progress(100, "percent") as progress:
                path = write_report(run.path, callback=lambda x: progress.advance(100 * x))
            console.say(console.wrote([path], there))


def _current(run: RunFolder, meta: dict[str, Any]) -> bool:
    """Whether scores are of the samples described by `meta`, or there are none."""
    try:
        return read_json(run.record("evaluation"))["samples"] == meta
    except (OSError, ValueError, KeyError):
        return True  # missing or damaged, which is not for us to say
