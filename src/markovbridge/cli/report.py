"""`markovbridge report`: one self-contained HTML page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markovbridge.cli import console
from markovbridge.cli.options import parse, split_target
from markovbridge.cli.runs import read_samples, run_folder
from markovbridge.documents import read_json
from markovbridge.locks import locked
from markovbridge.report import write_report

__all__ = ["report"]


def report(run: str) -> None:
    """Write a run's report, one self-contained HTML page.

    RUN/report.html holds what was trained, the loss, samples beside the training images
    nearest to them, the way from source to data, and the scores. What has not been made
    yet is said, with the command that makes it.

    Args:
        run: The run folder.
    """


def report_main(words: list[str]) -> None:
    """Run the verb."""
    name, rest = split_target(words, "RUN", "report runs/digits")
    parse(report, rest, usage=f"report {name or 'RUN'}")
    assert name is not None
    run = run_folder(name)
    scored = run / "evaluation.json"
    if (run / "samples.npz").is_file() and not _current(scored, read_samples(run)[1]):
        console.note(
            f"warning: {scored} is of other samples than {run / 'samples.npz'}; "
            f"`markovbridge evaluate {run}` scores these"
        )
    with locked(run, "report"):
        console.say(f"wrote {write_report(run)}")


def _current(scored: Path, meta: dict[str, Any]) -> bool:
    """Whether scores are of the samples described by `meta`, or there are none."""
    try:
        return read_json(scored)["samples"] == meta
    except (OSError, ValueError, KeyError):
        return True  # missing or damaged, which is not for us to say
