"""What a run remembers of its data, and its data again: put in order by that, or refused.

    RUN/data.json    {"columns": names of the features or null, "hash": of the training samples,
                      "split": "train", "started_from": whose weights it started from, or null}

Every verb that reads data for a run, and the report, reads them by `RunData.load`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling, Data
from markovbridge.data import Dataset, Source
from markovbridge.data.meeting import Say, in_order
from markovbridge.storage.config import from_config, to_config
from markovbridge.storage.documents import read_json
from markovbridge.storage.files import write_json
from markovbridge.training import Examples
from markovbridge.training.run_folder import RunFolder

Names = Sequence[str] | None  # of features


@dataclass(frozen=True)
class TrainedOn:
    """What a run remembers of its data.

    Attributes:
        columns: Names of the features, in the order of the model; None if they have none.
        hash: What tells the training samples from others; None if it is not known.
        split: Which split they were.
        started_from: The run whose weights the training started from; None if from none.
    """

    columns: tuple[str, ...] | None = None
    hash: str | None = None
    split: str = "train"
    started_from: str | None = None

    @classmethod
    def of(cls, data: Dataset, started_from: str | None = None) -> TrainedOn:
        """That of the training samples."""
        return cls(data.column_names, _hash(data), data.split, started_from)

    def write(self, run: Path) -> None:
        """Write it into a run folder."""
        write_json(RunFolder(run).record("data"), dataclasses.asdict(self), indent=None)

    @classmethod
    def read(cls, run: Path) -> TrainedOn:
        """That of a run folder; one that knows nothing if there is none.

        Raises:
            ValueError: If the file is damaged.
        """
        folder = RunFolder(run)
        older = folder.record("count_model"), {"features": "columns"}  # of runs without data.json
        for path, keys in ((folder.record("data"), {}), older):
            if not path.is_file():
                continue
            try:
                content = read_json(path)
                names = {field.name for field in dataclasses.fields(cls)}
                found = {keys.get(name, name): value for name, value in content.items()}
                made = cls(**{name: value for name, value in found.items() if name in names})
                if made.columns is not None:
                    columns = tuple(map(str, made.columns))
                    made = dataclasses.replace(made, columns=columns)
                return made
            except (TypeError, AttributeError) as error:
                raise ValueError(f"{path} is damaged: {error}") from error
        return cls()


def check_start(coupling: Coupling | None, columns: Sequence[str] | None) -> None:
    """Refuse a coupling that starts from a table of other features, or in another order.

    Args:
        coupling: The coupling, or None.
        columns: Names of the features that it goes to, or None.

    Raises:
        ValueError: If it starts from a data set whose features have other names.
    """
    start = getattr(coupling, "source", None)
    if not isinstance(start, Data):
        return
    check_columns(start.column_names, columns, f"the source of the coupling, {start.source},")


def check_columns(names: Names, known: Names, what: str) -> None:
    """Refuse other features than those of a model, and the same in another order.

    Args:
        names: Names of the features, or None.
        known: Those of the model, or None.
        what: What has these features, for a message.

    Raises:
        ValueError: If both are known and differ.
    """
    if names is not None and known is not None:
        width, expected = len(names), len(known)
        in_order(names, known, width=width, expected=expected, what=what, say=_refuse)


def _refuse(text: str) -> None:
    raise ValueError(
        f"{text.partition(':')[0]}: store both tables with their columns in one order"
    )


class RunData:
    """The data of a run, and other data for it, with features in the order of the run.

    Args:
        run: The run folder.
        config: The configuration it was trained with.
        say: Called with a line where data are put in order, or are no longer those that the
            run was trained on; each line once.

    Attributes:
        trained_on: What the run remembers.
        split: The split that it was trained on.
    """

    def __init__(self, run: Path, config: Mapping[str, Any], say: Say) -> None:
        self.trained_on = TrainedOn.read(run)
        self.split: str = config.get("split", "train")
        self._run, self._config, self._say = run, config.get("data"), say
        self._said: set[str] = set()
        self._training: Dataset | None = None

    def load(self, source: Source, split: str) -> Dataset:
        """Read one split of a source.

        Raises:
            ValueError: If its features are not those of the run, or the source refuses.
        """
        if self._training is not None and split == self.split and self._own(source):
            return self._training
        data = self.meet(source.load(split))
        if self._own(source) and self._training is None:
            same = split == self.split
            self._training = data if same else self.meet(source.load(self.split))
            if self.trained_on.hash not in (None, _hash(self._training)):
                self._once(
                    f"warning: the data of {self._run} ({self._training.source}) have changed "
                    "since it was trained on them"
                )
        return data

    def again(self, source: Source, split: str) -> Dataset:
        """Read one split to train on it again, which looks at what has changed by itself."""
        return self.meet(source.load(split))

    def meet(self, data: Dataset) -> Dataset:
        """Data with features in the order of the run.

        Raises:
            ValueError: If they are not the features of the run.
        """
        order = self.order(data)
        return data if order is None else data.turned(order)

    def order(self, data: Dataset) -> Tensor | None:
        """For each feature of the run its position in data, int64; None if in order.

        Raises:
            ValueError: If they are not the features of the run.
        """
        width = math.prod(data.shape)
        columns = self.trained_on.columns
        return in_order(
            data.column_names,
            columns,
            width=width,
            expected=width if columns is None else len(columns),
            what=data.source,
            say=self._once,
        )

    def _own(self, source: Source) -> bool:
        """Whether a source is that of the training, and not a class of the user's own."""
        try:
            own = from_config(self._config, Source, "data")
            return isinstance(own, Source) and _plain(own) == _plain(source)
        except ValueError:
            return False

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)


def _plain(source: Source) -> str:
    """A source as text, however its paths are held."""
    return json.dumps(to_config(source), sort_keys=True, default=str)


def _hash(data: Dataset) -> str:
    """What tells samples, and what is known of them, from others."""
    told = data.condition
    if told is None and data.labels is not None:
        told = data.labels[:, None]
    return str(Examples(data.x, told, data.start).fingerprint()["hash"])


doors.guard(__name__)
