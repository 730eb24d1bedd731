"""What a run tells: a progress bar, lines of text, and numbers as JSON lines.

    metrics.jsonl   one JSON object a line, each with its "step"
    log.txt         the lines of text, with their time

Lines also go to the logger `markovbridge.training`. A line is written in one
piece; one that a killed process cut short is dropped when the run continues,
together with all that is newer than the checkpoint it continues from.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from markovbridge import doors
from markovbridge.storage.documents import parse_json
from markovbridge.storage.files import append, flush, read_bytes, to_json, write_text
from markovbridge.training.config import TrainingConfig
from markovbridge.training.run_folder import RunFolder
from markovbridge.training.tracking import Tracker

LOGGER = logging.getLogger(__name__.rpartition(".")[0])


class RunLog:
    """The records of one run; silent where `active` is false.

    Args:
        directory: Folder of the run, or None to write no files.
        active: Whether this process writes; of several processes one does.
        config: How the run is trained, which says what else its numbers go to; None for nothing.
            The package of that has been looked for.

    Attributes:
        records: The numbers so far, as in metrics.jsonl: those of the run that it continues too.
    """

    def __init__(
        self, directory: Path | None, active: bool, config: TrainingConfig | None = None
    ) -> None:
        self.active = active
        self.records: list[dict[str, float]] = []
        folder = RunFolder(directory) if active and directory else None
        self._metrics = folder.metrics if folder else None
        self._text = folder.log if folder else None
        self._tracker: Tracker | None = None
        if folder and config is not None:
            self._tracker = Tracker(config.tracker, folder.path, asdict(config))

    def line(self, text: str, level: int = logging.INFO) -> None:
        """Write a line of text."""
        if self.active:
            with tqdm.external_write_mode():  # not in the middle of a progress bar
                LOGGER.log(level, text)
        if self._text is not None:
            append(self._text, f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    def metrics(self, step: int, **values: float) -> None:
        """Write numbers that belong to a step."""
        self.records.append({"step": step, **values})
        if self._metrics is not None:
            append(self._metrics, to_json(self.records[-1]) + "\n")
        if self._tracker is not None:
            self._tracker.log(step, values)

    def start(self) -> None:
        """Open what else the numbers go to."""
        if self._tracker is not None:
            self._tracker.start()

    def close(self) -> None:
        """Write what is left to write, for now."""
        if self._tracker is not None:
            self._tracker.finish()

    def forget_after(self, step: int) -> None:
        """Drop the numbers of steps after `step`, and a line cut short."""
        if self._metrics is None or not self._metrics.exists():
            return
        text = read_bytes(self._metrics).decode("utf-8", errors="replace")
        kept = [line for line in text.splitlines(keepends=True) if _step(line) <= step]
        write_text(self._metrics, "".join(kept))
        self.records = [parse_json(line) for line in kept]

    def flush(self) -> None:
        """Make the numbers written so far durable."""
        if self._metrics is not None and self._metrics.exists():
            flush(self._metrics)

    @contextmanager
    def progress(self, total: int, done: int) -> Iterator[tqdm]:
        """A progress bar on a terminal's stderr; elsewhere the lines have to do."""
        disable = None if self.active else True
        with tqdm(total=total, initial=done, unit="step", disable=disable) as bar:
            yield bar


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _step(line: str) -> float:
    """The step of a line of numbers; infinite if it was cut short."""
    try:
        return float(parse_json(line)["step"]) if line.endswith("\n") else float("inf")
    except (ValueError, KeyError, TypeError, OverflowError):
        return float("inf")


doors.guard(__name__)
