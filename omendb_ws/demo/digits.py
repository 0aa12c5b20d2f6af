"""The demo's data: 1,797 handwritten digits, 8 x 8 pixels each, shipped with the package.

Knows the file beside it and numpy. Where the images come from, who made them and under which
licence (CC BY 4.0) is in ``digits-LICENSE.txt``.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final, NamedTuple

import numpy as np
from omendb_core.model.types import F32, I64

#: Pixels a side of an image.
SIDE: Final = 8
#: The largest value of a pixel: full ink. The smallest is 0.
FULL_INK: Final = 16


class Digits(NamedTuple):
    """``vectors`` float32 (n, 64), pixels 0 … 16 row by row; ``labels`` int64 (n,), 0 … 9."""

    vectors: F32
    labels: I64


def load() -> Digits:
    """All 1,797 images with their labels, in the order of the data set; new arrays."""
    with (files(__package__) / "digits.npz").open("rb") as file, np.load(file) as arrays:
        return Digits(arrays["pixels"].astype(np.float32), arrays["labels"].astype(np.int64))


def split(digits: Digits, held_out: int, seed: int = 0) -> tuple[Digits, Digits]:
    """Shuffle with ``seed`` and part: (all but ``held_out`` images, ``held_out`` images).

    The two parts share no image; the same seed gives the same parts.
    """
    order = np.random.default_rng(seed).permutation(len(digits.labels))
    asked, streamed = order[:held_out], order[held_out:]
    return (
        Digits(digits.vectors[streamed], digits.labels[streamed]),
        Digits(digits.vectors[asked], digits.labels[asked]),
    )
