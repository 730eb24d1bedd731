"""What a transport asks of a network and of laws, and what is said of those that do not fit.

network(features, t, condition)

features   (B, features, *event) float32
t          (B,) in [0, 1]
condition  (B, C) float32, NaN being unknown, or None
returns    (B, outputs, *event)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.couplings.base import check_same
from markovbridge.exact.base import DataLaw
from markovbridge.heads import Head
from markovbridge.processes import Process
from markovbridge.samplers.known_sites import Masking
from markovbridge.transport.bases import base_of

PASSED_ON = ("memory", "CUDA", "HIP", "XPU")  # of machines, and no fault of a network


def features(
    process: Process,
    coupling: Coupling,
    *,
    base: DataLaw | Literal["moments"] | None = None,
    masking: Masking | None = None,
    head: Head | None = None,
) -> int:
    """How many numbers a network sees of each entry of the event.

    Args:
        process: The process of its transport.
        coupling: The coupling, which shows x_0 if it is preserved.
        base: The base law, of which it is shown what it says.
        masking: Known sites in training, of which it is shown the values and which they are.
        head: The head, which may make ends of noise that it is shown.
    """
    count = coupling.features(process)
    count += base_of(base).features(process)
    count += masking.features(process) if masking else 0
    return count + (head.noise if head else 0)


def check_law(network: Any, process: Process, coupling: Coupling) -> None:
    """Refuse a law that holds for another process or coupling, as far as it says so."""
    own, check = getattr(network, "coupling", None), getattr(network, "check", None)
    if isinstance(own, Coupling):
        if callable(check):
            check(process, coupling)
        else:
            check_same("exact law", own, coupling)


def ask(
    network: Callable[..., Any],
    features: Tensor,
    t: Tensor,
    condition: Tensor | None,
    outputs: int,
) -> Tensor:
    """What a network says.

    Args:
        network: The network.
        features: What it sees, (B, features, *event).
        t: Times, (B,).
        condition: What it is told, (B, C), or None.
        outputs: Numbers that the head needs at each entry.

    Returns:
        (B, outputs, *event).

    Raises:
        ValueError: If it gives another shape.
        TypeError: If it gives no tensor. What the network raises itself is left as it is, with
            what is asked of it as a note.
    """
    expected = (len(features), outputs, *features.shape[2:])
    try:
        raw = network(features, t, condition)
    except (TypeError, IndexError, RuntimeError) as error:
        if any(word in str(error) for word in PASSED_ON):
            raise
        told = None if condition is None else tuple(condition.shape)
        hint = ""
        if features.ndim == 5:
            hint = (
                "; a module of images (batch, channels, height, width) goes into networks.Images"
            )
        error.add_note(
            f"{_name(network)} failed: it is called as network(features, t, condition) "
            f"with shapes {tuple(features.shape)}, {tuple(t.shape)} and {told}, which are (batch, "
            f"features, *event), (batch,) and (batch, C) or None, and gives {expected}, (batch, "
            f"outputs, *event){hint}"
        )
        raise
    if not isinstance(raw, Tensor):
        raise TypeError(
            f"{_name(network)} gave {type(raw).__name__}; its head needs a tensor {expected}: "
            "(batch, outputs, *event)"
        )
    if raw.shape != expected:
        raise ValueError(
            f"the network gave {tuple(raw.shape)}; its head needs {expected}: "
            "(batch, outputs, *event)"
        )
    return raw


def _name(network: Callable[..., Any]) -> str:
    return f"the network {getattr(network, '__name__', type(network).__name__)}"


doors.guard(__name__, inside=("ask", "check_law"))
