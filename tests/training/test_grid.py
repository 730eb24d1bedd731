import struct
import zlib

import pytest
import torch

from markovbridge.training.grid import is_image, write_grid


def decode(path):
    """Rows of a PNG without filters, as (H, W, channels)."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        name, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        (crc,) = struct.unpack(">I", content[at + 8 + length : at + 12 + length])
        assert crc == zlib.crc32(name + body)
        chunks[name] = body
        at += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    channels = {0: 1, 2: 3}[colour]
    assert depth == 8
    raw = torch.frombuffer(bytearray(zlib.decompress(chunks[b"IDAT"])), dtype=torch.uint8)
    rows = raw.reshape(height, 1 + width * channels)
    assert rows[:, 0].eq(0).all()
    return rows[:, 1:].reshape(height, width, channels)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_where_they_belong(tmp_path, channels):
    x = torch.arange(3 * channels * 60 * 70).reshape(3, channels, 60, 70) % 17
    write_grid(tmp_path / "deep" / "grid.png", x, 16)
    pixels = decode(tmp_path / "deep" / "grid.png")
    assert pixels.shape == (2 * 62, 2 * 72, channels)
    wanted = (x.double() * 255 / 16).round().to(torch.uint8).permute(0, 2, 3, 1)
    assert torch.equal(pixels[:60, :70], wanted[0])
    assert torch.equal(pixels[:60, 72:142], wanted[1])
    assert torch.equal(pixels[62:122, :70], wanted[2])
    assert pixels[62:, 72:].eq(128).all()


def test_small_images_are_enlarged_and_values_beyond_white_stay_white(tmp_path):
    write_grid(tmp_path / "grid.png", torch.tensor([[[[0, 9], [3, 6]]]]), 6)
    pixels = decode(tmp_path / "grid.png")[..., 0]
    assert pixels.shape == (58, 58)
    assert pixels[:28, :28].eq(0).all()
    assert pixels[:28, 28:56].eq(255).all()
    assert pixels[28:56, :28].eq(128).all()
    assert pixels[28:56, 28:56].eq(255).all()


def test_what_an_image_is():
    assert is_image((1, 8, 8)) and is_image((3, 2, 5))
    assert not is_image((8,)) and not is_image((2, 8, 8)) and not is_image((8, 8))
