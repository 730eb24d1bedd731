"""Pictures of count images, as PNG bytes, from the standard library's zlib alone.

A PNG file (ISO/IEC 15948) is a signature and chunks: IHDR (size, 8 bits, grey or
RGB), IDAT (zlib of the rows, each behind a filter byte, here 0) and IEND. Images
of a few hundred pixels need no cleverer filter.

Counts are drawn linearly: 0 is black, `maximum` is white. Nothing is rescaled per
image, so that two pictures with the same `maximum` compare.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.storage.captions import PAPER, lettered

GAP = 1  # pixels of a grid's lines, before scaling
LINE = 128  # their shade: visible beside black and beside white images


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether events of this shape can be drawn: (1, H, W) or (3, H, W)."""
    return len(shape) == 3 and shape[0] in (1, 3)


def grid_png(
    x: Tensor,
    maximum: int,
    *,
    columns: int | None = None,
    scale: int | None = None,
    caption: str = "",
) -> bytes:
    """Draw count images side by side, row by row, as one PNG.

    Args:
        x: Integer images, shape `(N, 1, H, W)` or `(N, 3, H, W)`, values in 0..maximum.
        maximum: The count that is white.
        columns: Images per row; by default as many as make the grid square.
        scale: Side of a square of equal pixels that stands for one pixel; by default
            what makes an image at least 56 pixels wide.
        caption: What the picture shows: in the file, as its description, and where Pillow is
            installed in lines below the picture, which it may widen.

    Returns:
        The bytes of a PNG file, grey for one channel and RGB for three.

    Raises:
        TypeError: If `x` is no integer tensor.
        ValueError: On another shape, or values outside 0..maximum.
    """
    images = to_bytes(x, maximum)
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    scale = scale or math.ceil(56 / width)
    if columns < 1 or scale < 1:
        raise ValueError(f"columns and scale must be at least 1, got {columns} and {scale}")
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    shape = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels)
    canvas = np.full(shape, LINE, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + GAP), i % columns * (width + GAP)
        canvas[top : top + height, left : left + width] = image
    large = canvas.repeat(scale, 0).repeat(scale, 1)
    return encode_png(_captioned(large, caption) if caption else large, caption)


def _captioned(picture: np.ndarray, caption: str) -> np.ndarray:
    """A picture (H, W, C) with its caption below."""
    letters = lettered(caption, picture.shape[1])
    if letters is None:
        return picture
    wider = ((0, 0), (0, letters.shape[1] - picture.shape[1]), (0, 0))
    below = letters[..., None].repeat(picture.shape[2], 2)
    return np.concatenate([np.pad(picture, wider, constant_values=PAPER), below])


def to_shades(x: Tensor, low: float, high: float) -> Tensor:
    """Images of any numbers as uint8 for `grid_png(..., 255)`: low is black, high white.

    Values beyond are cut off.

    Raises:
        ValueError: If high is below low.
    """
    checks.number(high, "high", least=low)
    scaled = (x.detach().cpu().double() - low) * (255 / max(high - low, 1e-300))
    return scaled.round().clamp(0, 255).to(torch.uint8)


def to_bytes(x: Tensor, maximum: int) -> np.ndarray:
    """Count images `(N, C, H, W)` in 0..maximum as uint8 `(N, H, W, C)` in 0..255."""
    if not isinstance(x, Tensor) or x.is_floating_point() or x.is_complex():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"pictures are drawn of integer tensors, got {kind}; round counts first")
    if not is_image(tuple(x.shape[1:])) or x.numel() == 0:
        raise ValueError(
            "pictures are drawn of images of shape (N, 1, H, W) or (N, 3, H, W), got "
            f"{tuple(x.shape)}"
        )
    if maximum < 1:
        raise ValueError(f"maximum, the count that is white, must be at least 1, got {maximum}")
    low, high = int(x.min()), int(x.max())
    if low < 0 or high > maximum:
        raise ValueError(f"counts must lie in 0..{maximum} (`maximum`), got {low}..{high}")
    shades = (x.detach().cpu().to(torch.float64) * (255 / maximum)).round()
    return shades.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def encode_png(pixels: np.ndarray, description: str = "") -> bytes:
    """A PNG file of a uint8 array of shape `(H, W, 1)` (grey) or `(H, W, 3)` (RGB).

    Args:
        pixels: The array.
        description: What the picture shows, for a text of the file.

    Raises:
        ValueError: If it is another array.
    """
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        raise ValueError(
            f"pixels must be uint8 of shape (H, W, 1) or (H, W, 3), not {pixels.dtype} of "
            f"{pixels.shape}"
        )
    height, width, channels = pixels.shape
    colour_type = 0 if channels == 1 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), dtype=np.uint8)  # column 0: no filter
    rows[:, 1:] = pixels.reshape(height, -1)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    if description:
        parts.insert(1, (b"iTXt", b"Description" + bytes(5) + description.encode()))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def data_uri(png: bytes) -> str:
    """PNG bytes as an address that a page can hold."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


doors.guard(__name__, inside=("to_bytes",))
