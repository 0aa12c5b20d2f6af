"""Pictures of digits and little graphs out of characters. Pure; knows numpy and rich's Text.

A character cell is about twice as high as it is wide, so a half block ``▀`` is two square pixels:
the upper one in the foreground's colour, the lower one in the background's. Both are painted, so a
picture looks the same on a light terminal and on a dark one. Without colours the shape of the block
itself draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final, Literal

import numpy as np
from omendb_core.model.types import F32, F64, I64
from rich.color import Color
from rich.style import Style
from rich.text import Text

from .digits import SIDE

Ink = Literal["asked", "right", "wrong"]

#: Levels of ink that are told apart: one for each value of a pixel.
LEVELS: Final = 17
_PAPER: Final = (24, 27, 40)
#: Half ink has a hue; full ink is near white, on the same dark paper.
_INKS: Final[dict[Ink, tuple[int, int, int]]] = {
    "asked": (190, 130, 40), "right": (40, 140, 120), "wrong": (180, 60, 80),
}  # fmt: skip
_BARS: Final = "▁▂▃▄▅▆▇█"


def levels(vector: F32, width: int, height: int) -> I64:
    """Ink 0 … 16 of the image in ``vector`` float32 (64,), drawn ``height`` x ``width`` pixels.

    Pixels between those of the image are interpolated; the darkest is full ink, so that a
    normalised vector looks as the image it came from.
    """
    image = np.maximum(vector.reshape(SIDE, SIDE).astype(np.float64), 0.0)
    image = _stretch(_stretch(image, height).T, width).T
    ink: I64 = np.rint(image * ((LEVELS - 1) / max(image.max(), 1e-12))).astype(np.int64)
    return ink


def _stretch(image: F64, size: int) -> F64:
    """``image`` with ``size`` rows, by linear interpolation between the centres of its own."""
    at = np.clip((np.arange(size) + 0.5) * len(image) / size - 0.5, 0, len(image) - 1)
    below = np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, len(image) - 1)
    share = (at - below)[:, None]
    return image[below] * (1 - share) + image[above] * share


def picture(vector: F32, ink: Ink, columns: int, colours: bool) -> Text:
    """The image in ``vector`` as ``columns // 2`` lines of ``columns`` characters."""
    pixels = levels(vector, columns, columns)
    text = Text(no_wrap=True)
    for upper, lower in zip(pixels[0::2].tolist(), pixels[1::2].tolist(), strict=True):
        if text:
            text.append("\n")
        for pair in zip(upper, lower, strict=True):
            if colours:
                text.append("▀", _style(ink, *pair))
            else:
                text.append(_shape(*pair))
    return text


@cache
def _style(ink: Ink, upper: int, lower: int) -> Style:
    return Style(color=_colour(ink, upper), bgcolor=_colour(ink, lower))


def _colour(ink: Ink, level: int) -> Color:
    share = level / (LEVELS - 1)
    (start, end) = (_PAPER, _INKS[ink]) if share < 0.5 else (_INKS[ink], (250, 250, 245))
    part = share * 2 if share < 0.5 else share * 2 - 1
    return Color.from_rgb(*(a + (b - a) * part for a, b in zip(start, end, strict=True)))


def _shape(upper: int, lower: int) -> str:
    return " ▄▀█"[2 * (upper * 2 >= LEVELS - 1) + (lower * 2 >= LEVELS - 1)]


def bar(share: float, columns: int) -> str:
    """``share`` 0 … 1 of ``columns`` characters filled, to an eighth of a character."""
    eighths = round(min(max(share, 0.0), 1.0) * columns * 8)
    part = " ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else ""
    return ("█" * (eighths // 8) + part).ljust(columns, "░")


def sparkline(values: Sequence[float]) -> str:
    """One character a value, its height between 0 and the largest."""
    top = max(values, default=0.0)
    if top <= 0.0:
        return _BARS[0] * len(values)
    return "".join(_BARS[min(int(value / top * 8), 7)] for value in values)
