"""A grid of images as a PNG file, with nothing but the standard library.

PNG (https://www.w3.org/TR/png-3/): a signature, then chunks IHDR (size, depth,
colour), IDAT (rows, each after a filter byte, compressed) and IEND; each chunk
is its length, name, content and CRC.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["is_image", "write_grid"]

LEAST_SIDE = 56  # pixels; smaller images are enlarged by a whole factor


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether events of this shape can be drawn: (1, H, W) or (3, H, W)."""
    return len(shape) == 3 and shape[0] in (1, 3)


def write_grid(path: Path, x: Tensor, maximum: float) -> None:
    """Draw images side by side, in a grid about as wide as high.

    Args:
        path: PNG file to write.
        x: Images (N, C, H, W), C being 1 or 3.
        maximum: The value that is white; 0 is black.
    """
    n, channels, height, width = x.shape
    factor = max(1, math.ceil(LEAST_SIDE / max(height, width)))
    levels = (x.detach().cpu().double() * (255 / maximum)).round().clamp(0, 255)
    images = levels.to(torch.uint8).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    images = functional.pad(images, (0, 2, 0, 2), value=128)
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = images.new_full((rows * columns, *images.shape[1:]), 128)
    sheet[:n] = images
    grid = sheet.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_png(grid.contiguous()))


def _png(pixels: Tensor) -> bytes:
    """Encode `pixels` (H, W, C), uint8."""
    height, width, channels = pixels.shape
    rows = functional.pad(pixels.flatten(1), (1, 0))  # filter 0 before every row
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(rows.contiguous().numpy().tobytes())),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
