"""What stands in a picture, so that it can be understood away from the page that shows it.

Pictures that are drawn by matplotlib have a title (`axes`), pictures of pixels lines of letters
below (`lettered`), which Pillow draws; without it the caption is in the file only.
"""

from __future__ import annotations

import textwrap
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.storage.lazily import optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LETTERS = 11  # to an inch of a title
LEAST_LETTERS = 36  # that a title has room for, at least
LEAST = 220  # pixels that a line has room for, at least
SMALL, LARGE = 11, 18  # pixels of a letter, in narrow and in wide pictures
WIDE = 440
MARGIN = 4
PAPER, INK = 255, 40  # shades


def axes(ax: Axes | None, caption: str, size: tuple[float, float] = (5.4, 3.2)) -> Axes:
    """The axes to draw on: new ones under a caption, or those given, with what they have above.

    Args:
        ax: Axes, whose title is a matter of who made them; None makes a figure.
        caption: What the picture shows.
        size: Width and height of a new figure, in inches.

    Raises:
        ModuleNotFoundError: Without matplotlib.
        TypeError: If `ax` are no axes.
    """
    if ax is None:
        figure = optional("matplotlib.figure", "drawing")
        ax = figure.Figure(figsize=size, layout="constrained").add_subplot()
        assert ax is not None
        ax.set_title(wrapped(caption, size[0]), fontsize="small")
    elif not hasattr(ax, "pcolormesh") or isinstance(ax, type):
        raise TypeError(f"ax must be Axes of matplotlib or None, not {checks.shown(ax)}")
    return ax


def wrapped(caption: str, width: float) -> str:
    """A caption in lines that fit above a figure of so many inches."""
    return textwrap.fill(caption, max(LEAST_LETTERS, int(LETTERS * width)))


def named(of: Any) -> str:
    """What a model, a process or states are called in a caption."""
    process = getattr(of, "process", None)
    own = type(of).__name__
    return own if process is None else f"{own} of {type(process).__name__}"


def lettered(text: str, width: int) -> np.ndarray | None:
    """Lines of dark letters on white, (rows, columns) uint8, for the lower edge of a picture.

    A picture that is narrower than the result needs to be widened. The font that Pillow brings
    has ASCII: letters lose their accents, and whatever else there is becomes "?".

    Args:
        text: The caption.
        width: Of the picture, in pixels.

    Returns:
        The letters; None without Pillow, which draws them.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        return None
    font = ImageFont.load_default(LARGE if width >= WIDE else SMALL)
    room = max(width, LEAST) - 2 * MARGIN
    lines: list[str] = []
    letters = (
        one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one)
    )
    plain = "".join(letters).encode("ascii", "replace").decode("ascii")
    for word in (part for long in plain.split() for part in textwrap.wrap(long, room // SMALL)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    high = round(font.getbbox("\u00c4gj")[3]) + 1
    size = room + 2 * MARGIN, high * len(lines) + 2 * MARGIN
    image = Image.new("L", size, PAPER)
    for number, line in enumerate(lines):
        place = MARGIN, MARGIN + high * number
        ImageDraw.Draw(image).text(place, line, fill=INK, font=font)
    return np.asarray(image)


doors.guard(__name__)
