"""PNG images of 16 bits a channel, as microscopes write them: counts 0..65535.

Pillow makes bytes of colour of 16 bits. It decodes the high bytes or the low ones, as it is told
which comes first, so that it is asked for both and no bit is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from markovbridge import doors

if TYPE_CHECKING:
    from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TOP = 65535
GREY, COLOUR = 0, 2  # types of a PNG without transparency
LUMA = (0.299, 0.587, 0.114)  # of ITU-R 601-2, as Pillow makes grey of colour


def is_deep(path: Path) -> bool:
    """Whether a file is a PNG of 16 bits a channel."""
    return _header(path)[:1] == b"\x10"


def read_deep(
    path: Path, channels: int, upright: Callable[[Image.Image], Image.Image]
) -> np.ndarray:
    """The counts of an image.

    Args:
        path: The file.
        channels: 3 for colour, 1 for grey; the other becomes it.
        upright: Turns an image as its camera says.

    Returns:
        (height, width, channels) float32, whole numbers unless grey is made of colour.

    Raises:
        ValueError: If it is transparent somewhere, which no count is.
    """
    from PIL import Image

    kind = _header(path)[1]
    with Image.open(path, formats=("PNG",)) as image:
        see_through = "transparency" in image.info
    if kind not in (GREY, COLOUR) or see_through:
        raise ValueError(
            f"{path} has 16 bits a channel and transparency, which counts have not; save it "
            "without an alpha channel"
        )
    if kind == GREY:
        counts = np.asarray(upright(_loaded(path)), np.float32)[..., None]
        return counts.repeat(channels, 2)
    high, low = (np.asarray(upright(_loaded(path, f"RGB;16{order}"))) for order in "BL")
    counts = 256 * high.astype(np.float32) + low
    return counts if channels == 3 else (counts @ np.array(LUMA, np.float32))[..., None]


def resized(counts: np.ndarray, size: int) -> np.ndarray:
    """Counts (height, width, channels), resized as `ImageFolder` resizes: (size, size, channels).

    Returns:
        Whole numbers 0..65535, int32.
    """
    from PIL import Image

    planes = [
        np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR))
        for plane in np.ascontiguousarray(counts.transpose(2, 0, 1))
    ]
    return np.stack(planes, 2).round().clip(0, TOP).astype(np.int32)


def _header(path: Path) -> bytes:
    """Bits a channel and type of a PNG, a byte each; nothing of another file."""
    with path.open("rb") as file:
        head = file.read(26)
    png = head.startswith(SIGNATURE) and head[12:16] == b"IHDR"
    return head[24:26] if png else b""


def _loaded(path: Path, order: str | None = None) -> Image.Image:
    """An image, its bytes taken in another order than they are in if one is given."""
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        if order is not None:
            codec, extents, offset, _ = image.tile[0]
            tiles: Any = [(codec, extents, offset, order)]
            image.tile = tiles
        image.load()
    return image


doors.guard(__name__)
