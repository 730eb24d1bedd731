"""Ending a run in good order when it is told to stop.

SIGINT (Ctrl-C) and SIGTERM (a cluster's job limit) are noted, so that the step
under way is finished and a checkpoint written. A second signal acts at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from markovbridge import doors


class StopRequest:
    """The first signal received, or None."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def of_any(self, accelerator: Accelerator) -> bool:
        """Whether any process has received one, which all must ask and all agree on."""
        wish = torch.tensor(float(self.signal is not None), device=accelerator.device)
        return bool(cast(Tensor, accelerator.reduce(wish, "sum")).item())


@contextmanager
def stop_requests(catch: bool) -> Iterator[StopRequest]:
    """Note the first SIGINT or SIGTERM instead of acting on it.

    Args:
        catch: If false, signals act as before. So they do outside the main thread, the
            only one that can catch them.
    """
    request = StopRequest()
    if not catch or threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()


doors.guard(__name__)
