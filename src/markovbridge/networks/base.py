"""What the networks of this package share: their signature and their configuration.

A network is called as `network(features, t, condition)`:

    features   (B, features, *shape) float32, of unit variance given t
    t          (B,) in [0, 1]
    condition  (B, condition) float32, NaN being unknown, or None for all unknown
    returns    (B, outputs, *shape)

`features` and `outputs` come from the process and the head. A transport accepts
any `nn.Module` of this signature; deriving from `Network` adds one thing only:
the constructor's arguments are kept in `network.config`, which is saved beside
the weights, so that a saved model can be rebuilt.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from markovbridge import doors
from markovbridge.doors import checks


class Network(nn.Module, ABC):
    """A network that knows its constructor's arguments.

    A subclass calls `super().__init__(shape, features, outputs, condition)` first.

    Args:
        shape: Event shape, without the batch.
        features: Numbers the process gives about each entry of the event.
        outputs: Numbers the head asks for about each entry of the event.
        condition: Numbers in the condition of one sample; 0 takes none.

    Attributes:
        config: All arguments of the constructor by name, as JSON can hold them.

    Raises:
        ValueError: If a size is not a positive integer.
    """

    any_grid: ClassVar[bool] = False
    """Whether the sizes of space come from the features, so that the weights serve finer grids."""

    config: dict[str, Any]

    def __init__(
        self, shape: Sequence[int], features: int, outputs: int, condition: int = 0
    ) -> None:
        super().__init__()
        for name, size in [
            *((f"shape[{i}]", size) for i, size in enumerate(shape)),
            ("features", features),
            ("outputs", outputs),
            ("condition", condition),
        ]:
            checks.whole(size, name, least=0 if name == "condition" else 1)
        self.shape = tuple(shape)
        self.features = features
        self.outputs = outputs
        self.condition = condition

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the constructor of every subclass record its arguments in `config`."""
        super().__init_subclass__(**kwargs)
        construct = cls.__init__
        signature = inspect.signature(construct)

        @functools.wraps(construct)
        def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
            if "config" not in self.__dict__:  # the outermost constructor is the one to call
                bound = signature.bind(self, *args, **kwargs)
                bound.apply_defaults()
                own = list(bound.arguments.items())[1:]
                self.config = {name: _plain(value) for name, value in own}
            construct(self, *args, **kwargs)

        cls.__init__ = recorded

    @abstractmethod
    def forward(self, features: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """See the module's first lines."""


def _plain(value: Any) -> Any:
    """`value` with lists for tuples, as it would come back from JSON."""
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


doors.guard(__name__)
