"""What stands in a picture, so that it can be understood away from the page that shows it.

Pictures that are drawn by matplotlib have a title (`axes`), pictures of pixels a line of letters
below (`lettered`), which takes no font and no package.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.storage.lazily import optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LETTERS = 11  # to an inch of a title
ACROSS, DOWN = 6, 10  # pixels that a letter takes, with the space around it
LEAST = 36  # letters that a line has room for, at least
PAPER, INK = 255, 40  # shades

# Letters of 5 x 8 pixels, ASCII 32 to 126: a byte for each column, its lowest bit at the top.
FONT = bytes.fromhex(
    "000000000000005F00000007000700147F147F14242A7F2A12231308646236495522500005030000001C"
    "2241000041221C0014083E081408083E080800503000000808080808006060000020100804023E514945"
    "3E00427F400042615149462141454B311814127F1027454545393C4A4949300171090503364949493606"
    "4949291E003636000000563600000814224100141414141400412214080201510906324979413E7E1111"
    "117E7F494949363E414141227F4141221C7F494949417F090909013E4149497A7F0808087F00417F4100"
    "2040413F017F081422417F404040407F020C027F7F0408107F3E4141413E7F090909063E4151215E7F09"
    "192946464949493101017F01013F4040403F1F2040201F3F4038403F6314081463070870080761514945"
    "43007F41410002040810200041417F0004020102044040404040000102040020545454787F4844443838"
    "44444420384444487F3854545418087E09010218A4A4A47C7F0804047800447D40004080847D007F1028"
    "440000417F40007C041804787C080404783844444438FC2424241818242418FC7C080404084854545420"
    "043F4440203C4040207C1C2040201C3C4030403C44281028441CA0A0A07C4464544C4400083641000000"
    "7F000000413608001008081008"
)


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
    return textwrap.fill(caption, max(LEAST, int(LETTERS * width)))


def named(of: Any) -> str:
    """What a model, a process or states are called in a caption."""
    process = getattr(of, "process", None)
    own = type(of).__name__
    return own if process is None else f"{own} of {type(process).__name__}"


def lettered(text: str, width: int) -> np.ndarray:
    """Lines of dark letters on white, (rows, columns) uint8, for the lower edge of a picture.

    Letters are two pixels thick where a line of them has room enough, else one; those that the
    font lacks become question marks. A picture that is narrower than 36 letters needs to be
    widened to the width of the result.

    Args:
        text: The caption.
        width: Of the picture, in pixels.
    """
    scale = 2 if width >= 2 * LEAST * ACROSS else 1
    room = max(width // (scale * ACROSS), LEAST)
    lines = textwrap.wrap(text, room - 1)
    rows = np.full((DOWN * len(lines) + 2, room * ACROSS), PAPER, dtype=np.uint8)
    for number, line in enumerate(lines):
        for place, letter in enumerate(line):
            code = ord(letter) if 32 <= ord(letter) < 127 else ord("?")
            glyph = np.frombuffer(FONT, np.uint8)[5 * (code - 32) : 5 * (code - 31)]
            bits = (glyph[None] >> np.arange(8)[:, None]) & 1 == 1
            top, left = DOWN * number + 2, ACROSS * place + 3
            rows[top : top + 8, left : left + 5][bits] = INK
    large = rows.repeat(scale, 0).repeat(scale, 1)
    return np.pad(large, ((0, 0), (0, max(0, width - large.shape[1]))), constant_values=PAPER)


doors.guard(__name__)
