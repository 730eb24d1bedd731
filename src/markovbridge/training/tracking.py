"""Numbers of a run in TensorBoard or Weights & Biases, by the trackers of `accelerate`.

    RUN/tensorboard/    events of TensorBoard
    RUN/wandb/          files of Weights & Biases, project "markovbridge", named as the folder

The numbers are those of metrics.jsonl. A package is imported when a run begins. A run
that is continued is a new one for Weights & Biases; TensorBoard draws it as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from markovbridge import doors

PROJECT = "markovbridge"


def check(name: str | None) -> None:
    """Refuse a tracker whose package is not installed.

    Args:
        name: "tensorboard" or "wandb", which are names of packages too; None for none.

    Raises:
        ImportError: If it is not, with what installs it.
    """
    if name is None:
        return
    spec = find_spec(name)
    if spec is None or spec.origin is None:  # a folder of that name has no origin
        raise ImportError(
            f"tracker is {name!r}, and the package {name} is not installed; run `pip install "
            f"{name}`, or leave the tracker out"
        )


class Tracker:
    """Where numbers of a run go beside its folder.

    Args:
        name: "tensorboard" or "wandb"; None for nowhere.
        folder: The run folder.
        config: What the run is trained with, by name.
    """

    def __init__(self, name: str | None, folder: Path, config: Mapping[str, Any]) -> None:
        self._name, self._folder, self._config = name, folder, dict(config)
        self._open: Any = None

    def start(self) -> None:
        """Make ready for numbers, which fails before the first step if it does."""
        if self._name is not None and self._open is None:
            self._open = self._start(LOGGER_TYPE_TO_CLASS[self._name])

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Track numbers that belong to a step."""
        if self._name is None:
            return
        self.start()
        known = {name: value for name, value in values.items() if value is not None}
        self._open.log(known, step=step)

    def finish(self) -> None:
        """Write what is left; what is tracked later is another part of the run."""
        if self._open is not None:
            self._open.finish()
            self._open = None

    def _start(self, kind: Any) -> Any:
        """A tracker of `accelerate`, ready for numbers."""
        if kind.requires_logging_directory:
            found = kind(self._name, str(self._folder))
        else:
            found = kind(PROJECT, name=self._folder.name, dir=str(self._folder))
        if hasattr(found, "start"):  # older versions begin when they are made
            found.start()
        if not kind.requires_logging_directory:  # TensorBoard would make a run of it
            found.store_init_configuration(self._config)
        return found


doors.guard(__name__)
