"""A network of images as it is usually written, for a transport.

A transport gives features (B, features, channels, height, width) and wants (B, outputs,
channels, height, width). Networks of images take and give (B, channels, height, width). Here the
two axes are one: the module is given features * channels planes, and gives outputs * channels,
output o of channel c in plane o * channels + c.

    >>> import markovbridge as mb
    >>> process, head, coupling = mb.PureDeath(maximum=255), mb.MeanHead(), mb.Noised()
    >>> features, outputs = coupling.features(process), head.outputs(process)
    >>> planes = nn.Conv2d(features * 3, outputs * 3, 3, padding=1)  # of images of 3 channels
    >>> model = mb.Transport(process, Images(planes), head, shape=(3, 8, 8))
    >>> model.sample(4, steps=2).shape
    torch.Size([4, 3, 8, 8])

A class of one's own for the command line derives from `Images` and is made as other networks are,
of (shape, features, outputs).

Shapes: features (B, features, channels, height, width) to (B, outputs, channels, height, width).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.doors import checks

MOST = 3  # what a module may be given: images, times, a condition
# Names of an argument with a default that is given times, or a condition.
TIMES = ("t", "time", "times", "timestep", "timesteps", "sigma", "noise_level")
CONDITION = ("condition", "conditions", "conditioning", "cond", "c", "class_labels", "labels", "y")
NAMED = ((), TIMES, CONDITION)


class Images(nn.Module):
    """A module that maps images (B, channels, height, width) to such images.

    It is called as `module(images)`, `module(images, t)` or, where there is a condition (B, C),
    `module(images, t, condition)`, as many of these as its `forward` takes. An argument of it that
    has a default is given one only if it is called so: t, time, timestep; condition, cond, c, y,
    class_labels. What it returns may also be the first of a tuple, or have it as `sample`, as the
    models of diffusers do.

    Args:
        module: The module.
        times: What times in [0, 1] are multiplied by: 1000 for models of diffusers. Weights
            remember it, and are refused by a network of another.
    """

    factor: Tensor

    def __init__(self, module: nn.Module, times: float = 1.0) -> None:
        super().__init__()
        checks.number(times, "times", above=0)
        self.module, self.times = module, times
        self.register_buffer("factor", torch.tensor(float(times)))
        self.register_load_state_dict_pre_hook(_same_times)
        self._takes = _positions(module)
        # In files it goes by the name of what is the user's own: that is for whoever loads it to
        # bring.
        own = type(module) if type(self) is Images else type(self)
        self.__qualname__, self.__module__ = own.__qualname__, own.__module__

    def forward(self, features: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `markovbridge.networks.base`.

        Raises:
            TypeError: If the module gives no tensor.
            ValueError: If the event is no image, the module takes no condition and there is one,
                or what it gives is no such image.
        """
        if features.ndim != 5:
            raise ValueError(
                f"an event of shape {tuple(features.shape[2:])} is no image (channels, height, "
                "width); take a network for it, such as networks.MLP"
            )
        name, channels = type(self.module).__name__, features.shape[2]
        given: list[Tensor] = [features.flatten(1, 2), self.times * t]
        if condition is not None:
            if self._takes < MOST:
                raise ValueError(
                    f"{name} takes no condition; let its forward take (images, t, condition), "
                    "called so, or train without one"
                )
            given.append(condition)
        out: Any = self.module(*given[: self._takes])
        out = out[0] if isinstance(out, tuple) else getattr(out, "sample", out)
        if not isinstance(out, Tensor):
            raise TypeError(f"{name} gave {type(out).__name__}; it must give a tensor of images")
        rows, *_, height, width = features.shape
        if out.ndim != 4 or out.shape[1] % channels or out.shape[2:] != (height, width):
            raise ValueError(
                f"{name} gave {tuple(out.shape)}; images of {channels} channels need ({rows}, "
                f"outputs * {channels}, {height}, {width})"
            )
        return out.unflatten(1, (-1, channels))


def _positions(module: nn.Module) -> int:
    """How many arguments a module is given, of those that it takes by position."""
    found = inspect.signature(module.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in found):
        return MOST
    named = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    pairs = enumerate(zip(named, NAMED, strict=False))
    other = (
        k for k, (p, names) in pairs if k and p.default is not p.empty and p.name not in names
    )
    return next(other, min(MOST, len(named)))


def _same_times(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Refuse weights that were trained with times multiplied by another number."""
    assert isinstance(module, Images)
    found = state.get(f"{prefix}factor")
    if found is not None and float(found) != float(module.factor.to(found.dtype)):
        raise ValueError(
            f"times of {type(module).__name__} is {module.times:g}, and these weights are of "
            f"times {float(found):g}; make it with times={float(found):g}"
        )


doors.guard(__name__)
