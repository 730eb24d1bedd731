"""Pictures, read back by another decoder."""

import base64
import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from markovbridge.doors.randomness import generator
from markovbridge.storage.captions import lettered
from markovbridge.storage.png import data_uri, encode_png, grid_png, is_image, to_shades


def decode(png):
    image = Image.open(io.BytesIO(png))
    image.load()
    return image.mode, np.asarray(image)


def test_grey_grid_pixel_by_pixel():
    x = torch.tensor([[[[0, 4], [8, 16]]], [[[16, 16], [0, 0]]], [[[2, 1], [1, 2]]]])
    mode, pixels = decode(grid_png(x, 16, columns=2, scale=1))
    line = [128] * 5
    # 255/16 = 15.94: 4 -> 64, 8 -> 128 (half to even of 127.5), 2 -> 32, 1 -> 16.
    assert mode == "L"
    assert pixels.tolist() == [
        [0, 64, 128, 255, 255],
        [128, 255, 128, 0, 0],
        line,
        [32, 16, 128, 128, 128],
        [16, 32, 128, 128, 128],
    ]


def test_scale_repeats_pixels():
    x = torch.tensor([0, 1]).reshape(1, 1, 1, 2)
    _, pixels = decode(grid_png(x, 1, scale=3))
    assert pixels.tolist() == [[0, 0, 0, 255, 255, 255]] * 3


def test_rgb_keeps_every_byte():
    rng = generator("cpu", "rgb")
    x = torch.randint(256, (1, 3, 9, 7), generator=rng).to(torch.uint8)
    mode, pixels = decode(grid_png(x, 255, scale=1))
    assert mode == "RGB"
    assert np.array_equal(pixels, x[0].permute(1, 2, 0).numpy())


def test_default_grid_is_square_and_visible():
    _, pixels = decode(grid_png(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), 16))
    assert pixels.shape == ((3 * 9 - 1) * 7, (3 * 9 - 1) * 7)


def test_data_uri_holds_the_file():
    png = encode_png(np.full((2, 2, 1), 7, dtype=np.uint8))
    head, body = data_uri(png).split(",")
    assert head == "data:image/png;base64"
    assert decode(base64.b64decode(body))[1].tolist() == [[7, 7], [7, 7]]


@pytest.mark.parametrize(
    ("x", "maximum", "error", "message"),
    [
        (torch.zeros(1, 1, 2, 2), 1, TypeError, "float32"),
        (torch.zeros(1, 2, 2, 2, dtype=torch.int64), 1, ValueError, r"\(1, 2, 2, 2\)"),
        (torch.full((1, 1, 2, 2), 17), 16, ValueError, r"0\.\.16.*17\.\.17"),
        (torch.full((1, 1, 2, 2), -1), 16, ValueError, r"-1\.\.-1"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.int64), 0, ValueError, "at least 1, got 0"),
    ],
)
def test_invalid_images_are_named(x, maximum, error, message):
    with pytest.raises(error, match=message):
        grid_png(x, maximum)


def test_what_an_image_is():
    assert is_image((1, 8, 8)) and is_image((3, 2, 5))
    assert not is_image((8,)) and not is_image((2, 8, 8)) and not is_image((8, 8))


def test_shades_run_from_low_to_high_and_stop_there():
    x = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 9.0])
    assert to_shades(x, -1.0, 1.0).tolist() == [0, 0, 128, 191, 255, 255]
    assert to_shades(torch.tensor([0, 8, 16]), 0, 16).tolist() == [0, 128, 255]


def test_a_caption_stands_below_the_picture_and_leaves_it_alone():
    x = torch.arange(17).reshape(1, 1, 1, 17).repeat(1, 1, 17, 1)
    _, plain = decode(grid_png(x, 16, scale=16))
    _, with_caption = decode(grid_png(x, 16, scale=16, caption="T"))
    assert with_caption.shape[1] == plain.shape[1]
    assert np.array_equal(with_caption[: len(plain)], plain)
    below = with_caption[len(plain) :]
    assert below.shape[1] == 272 and 10 < len(below) < 30
    # A T: a bar, and a stem below its middle.
    dark = below < 148
    (rows,), (columns,) = dark.any(1).nonzero(), dark.any(0).nonzero()
    assert dark[rows[0]].sum() >= 4 and dark[rows[-1]].sum() <= 2
    assert 4 <= columns[0] and columns[-1] < 16
    assert abs(dark[rows[-1]].nonzero()[0].mean() - columns.mean()) <= 1


def test_a_narrow_picture_is_widened_for_its_caption_and_lines_are_broken():
    x = torch.zeros(1, 3, 8, 8, dtype=torch.int64)
    mode, pixels = decode(grid_png(x, 1, caption="counts " * 10 + "é"))
    assert mode == "RGB" and pixels.shape[1:] == (220, 3)
    assert (pixels[:56, 56:] == 255).all() and not pixels[:56, :56].any()
    _, one_line = decode(grid_png(x, 1, caption="counts"))
    high = len(one_line) - 56
    assert len(pixels) - 56 > 1.5 * high  # three lines
    assert not (pixels[:, -4:] < 148).any()


@pytest.mark.parametrize("missing", [False, True])
def test_a_caption_is_the_description_of_the_file(monkeypatch, missing):
    x = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    plain = decode(grid_png(x, 1))[1]
    monkeypatch.setitem(sys.modules, "PIL", None if missing else sys.modules["PIL"])
    png = grid_png(x, 1, caption="θ = 0.4, of Fréchet")
    monkeypatch.undo()
    image = Image.open(io.BytesIO(png))
    assert image.text["Description"] == "θ = 0.4, of Fréchet"
    assert (decode(png)[1].shape == plain.shape) == missing


def test_letters_of_a_caption_lose_what_the_font_does_not_have():
    assert np.array_equal(lettered("Mat\u00e9rn, \u03b8", 300), lettered("Matern, ?", 300))
    assert not np.array_equal(lettered("Matern", 300), lettered("Mat rn", 300))
