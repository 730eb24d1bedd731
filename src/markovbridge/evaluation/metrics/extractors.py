"""Feature extractors: what a Fréchet distance is measured in.

A Fréchet distance compares means and covariances, in raw values or in the
features of a network. Which network, and with which weights, is part of the
number: two figures compare only if both agree. So an extractor has a `name` and
a `weights` identity (the hash of its weights), and every record carries both.

"FID" means one network with one set of weights, `metrics.inception.Inception`.
No other extractor's figure is called that here.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.transport.saved import hash_weights

RAW = "raw values"  # the name of what no network looks at


class Extractor(ABC):
    """A function from events `(N, *event)` to features `(N, d)`, with an identity.

    Attributes:
        name: What it is, for people: `"raw values"`, `"MobileNetV2 at 96 px"`.
        weights: `"sha256:..."` of its weights, or None if it has none.
        identity: What tells it from all others, so that features of it may be kept for the next
            time; None if nothing does.
    """

    name: str
    weights: str | None
    identity: str | None = None

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Features of `x`, shape `(N, d)`, on the device of `x`."""


@final
class Pixels(Extractor):
    """The raw values themselves, for images, vectors and tables alike."""

    def __init__(self) -> None:
        self.name = self.identity = RAW
        self.weights = None

    def __call__(self, x: Tensor) -> Tensor:
        """Flatten events; shape `(N, *event)` to `(N, d)`, dtype unchanged."""
        return x.flatten(1) if x.ndim > 1 else x[:, None]


@final
class ModuleExtractor(Extractor):
    """Any module as a feature extractor.

    Args:
        module: Called with float32 events `(B, *event)` in raw units, in evaluation mode
            and without gradients; its output is flattened to `(B, d)`. It is moved to the
            device of the data.
        name: What to call it in records.
        batch: Events per call.
    """

    def __init__(self, module: nn.Module, name: str, *, batch: int = 256) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.module = module
        self.name = name
        self.weights = f"sha256:{hash_weights(module)[:8]}"
        self.batch = batch

    def __call__(self, x: Tensor) -> Tensor:
        """Features of `x`, shape `(N, d)`, float32 or what the module returns."""
        return run_in_batches(self.module, x, self.batch, lambda part: part.to(torch.float32))


def run_in_batches(
    module: nn.Module, x: Tensor, batch: int, prepare: Callable[[Tensor], Tensor]
) -> Tensor:
    """Apply `module` to `prepare(part)` for parts of `x`; flatten and join the outputs."""
    training = module.training
    module.to(x.device).eval()
    try:
        with torch.no_grad():
            return torch.cat([module(prepare(part)).flatten(1) for part in x.split(batch)])
    finally:
        module.train(training)


def images_to_rgb(x: Tensor, maximum: int) -> Tensor:
    """Integer images `(N, 1 or 3, H, W)` as float32 RGB `(N, 3, H, W)` in [0, 1].

    Raises:
        ValueError: On another shape, or values outside 0..maximum.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            "an image network needs images of shape (N, 1, H, W) or (N, 3, H, W), got "
            f"{tuple(x.shape)}; use Pixels or a ModuleExtractor for other data"
        )
    low, high = x.amin().item(), x.amax().item()
    if low < 0 or high > maximum:
        raise ValueError(f"pixels must lie in 0..{maximum} (`maximum`), got {low}..{high}")
    return (x.to(torch.float32) / maximum).expand(-1, 3, -1, -1)


def load_weights(path: str | Path, sha256: str, remedy: str) -> dict[str, Tensor]:
    """Read a state dict from a file whose hash is known, without unpickling objects.

    Args:
        path: The file.
        sha256: The leading hexadecimal digits that its sha256 must have.
        remedy: How to get the file, a sentence for the errors.

    Returns:
        The state dict, on the CPU, without BatchNorm's step counters.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its hash is another.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; {remedy}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise ValueError(
            f"{path} has sha256 {found[:16]}..., not {sha256[:16]}...: it is another file or "
            f"damaged; {remedy}"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    # Steps counted by BatchNorm have no use here, and older files lack them.
    return {key: value for key, value in state.items() if "num_batches_tracked" not in key}


doors.guard(__name__, inside=("images_to_rgb", "run_in_batches"))
