"""One site of states over time: where it is in an event, and when it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks

FRAMES = 61  # times that are looked at, if none are given


def at_times(times: Sequence[float] | None, count: int | None) -> list[float]:
    """The times to look at, `count` of them if that is known.

    Raises:
        ValueError: If they are fewer than two, outside of [0, 1], or not as many.
    """
    if times is None:
        return np.linspace(0, 1, FRAMES if count is None else count).tolist()
    found = [float(t) for t in times]
    if len(found) < 2 or not all(0 <= t <= 1 for t in found):
        raise ValueError(f"times must be two or more in [0, 1], not {checks.shown(found)}")
    if count not in (None, len(found)):
        raise ValueError(f"there are {len(found)} times for states at {count} times")
    return found


def walked(
    of: Any,
    when: list[float],
    site: int | tuple[int, ...] | None,
    n: int,
    generator: torch.Generator | None,
) -> Tensor:
    """States of a site, (times, n), as given or drawn from a model that has this site.

    Raises:
        ValueError: If there is no such site.
    """
    if not isinstance(of, Tensor):
        place(tuple(of.shape), site)
        of = of.frames(n, when, generator=generator)
    return at_site(of, site)


def at_site(x: Tensor, site: int | tuple[int, ...] | None) -> Tensor:
    """A site of states (times, n, *event): (times, n).

    Raises:
        ValueError: If there is no such site.
    """
    if x.ndim < 2 or not x.shape[1]:
        raise ValueError(f"states must be (times, paths, *event), not {tuple(x.shape)}")
    return x[:, :, *place(tuple(x.shape[2:]), site)]


def place(event: tuple[int, ...], site: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """Where a site is in an event, if it is said and there.

    Raises:
        ValueError: If it is not.
    """
    if site is None:
        if max(event, default=1) > 1:
            raise ValueError(f"events have shape {event}: say which number to draw as `site`")
        return (0,) * len(event)
    found = (site,) if isinstance(site, int) else site
    there = [-size <= i < size for i, size in zip(found, event, strict=False)]
    if len(found) != len(event) or not all(there):
        raise ValueError(f"there is no site {site} in events of shape {event}")
    return found


doors.guard(__name__)
