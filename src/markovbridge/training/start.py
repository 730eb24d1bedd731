"""The weights that a new run starts from: those of a run whose model means the same.

Weights fit any model of their shapes. So names and order of the features, the covariates, the
process, the head and the network are compared too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.exact import DataLaw
from markovbridge.storage.config import from_config, short, to_config
from markovbridge.storage.parts import ForeignClass
from markovbridge.training import checkpoint
from markovbridge.training.replacing import existing
from markovbridge.training.resume import difference
from markovbridge.training.run_folder import RunFolder
from markovbridge.training.trained_on import Names, TrainedOn, check_columns
from markovbridge.transport import Transport, saved

PARTS = ("process", "head", "base")  # which have to be the same
# Of the network, what need not be: dropout, and what follows from data and other parts, of which
# the shapes of the weights tell.
FREE = {f"network.init_args.{k}" for k in "shape features outputs condition dropout".split()}


@dataclass(frozen=True)
class StartingWeights:
    """What a run starts from.

    Attributes:
        origin: The run folder, or that of a model.
        columns: Names of its features, in the order of the model; None if they have none.
        config: The configuration of the model.
        weights: Its weights, mean and variance.
    """

    origin: Path
    columns: tuple[str, ...] | None
    config: dict[str, Any]
    weights: dict[str, Tensor]

    @classmethod
    def read(cls, origin: Path) -> StartingWeights:
        """That of a run folder, or of a model.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged.
        """
        folder = existing(origin).path
        config, weights = saved.stored(folder)
        inner = RunFolder(folder.parent).model.name == folder.name  # of a run, which knows names
        known = TrainedOn.read(folder.parent if inner else folder)
        return cls(origin, known.columns, config, weights)

    def law(self) -> DataLaw | None:
        """The base law that the weights correct, to be filled with them.

        None without one, and if its class is not of this package.
        """
        return _law(self.config["base"])

    def into(self, transport: Transport, columns: Names, *, encoded: bool = True) -> None:
        """Give the weights to a transport.

        Args:
            transport: The transport.
            columns: Names of the features of its data, or None.
            encoded: Whether its covariates are those of the data, and no stand-in.

        Raises:
            ValueError: If it is another model, naming what differs.
        """
        check_columns(columns, self.columns, f"the data to start from {self.origin} with")
        other = isinstance(transport.base, torch.nn.Module) and self.config["base"] != to_config(
            transport.base
        )
        if other and (law := self.law()) is not None:
            transport.base = law  # what weights correct is the law that they were trained with
        for part in PARTS:
            self._check(part, transport)
        if encoded:
            self._check_covariates(_columns(to_config(transport.covariates)))
        self._check("network", transport)
        saved.fill(transport, self.weights, self.origin)

    def _check(self, part: str, transport: Transport) -> None:
        """Refuse a part that is another one."""
        own = to_config(getattr(transport, part))
        found = difference(self.config[part], own, FREE, part)
        if found is not None:
            name, before, now = found
            raise ValueError(
                f"{name} is {short(now)}, and the weights of {self.origin} are of "
                f"{short(before)}; set it to that, or train without --from"
            )

    def _check_covariates(self, now: list[Any]) -> None:
        """Refuse covariates that are encoded otherwise."""
        before = _columns(self.config.get("covariates"))
        for k in range(max(len(before), len(now))):
            one, other = (short(known[k]) if k < len(known) else "none" for known in (before, now))
            if one != other:
                raise ValueError(
                    f"covariate {k} is {other}, and the weights of {self.origin} were told "
                    f"{one}; give data with the covariates of that run, or train without --from"
                )


def law_of(run: RunFolder) -> DataLaw | None:
    """The base law of a run that goes on, to be filled from its checkpoint; None without one.

    It is None too if its class is not of this package; then it has to be fitted again.
    Of a run that started from another's weights it is the law of those.
    """
    state = checkpoint.newest_state(run.checkpoints)
    return None if state is None else _law(state["run"]["model"].get("base"))


def _law(config: Any) -> DataLaw | None:
    try:
        return from_config(config, DataLaw, "base") if isinstance(config, dict) else None
    except ForeignClass:
        return None


def _columns(config: Any) -> list[Any]:
    """The covariates in a configuration."""
    return [] if config is None else config["init_args"]["columns"]


doors.guard(__name__)
