"""Streams handwritten digits into a window, for ever, and serves the page: draw one yourself."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import omendb_ws
from examples import serving
from omendb_ws.demo import digits

Images = NDArray[np.float32]

COLLECTION = "digits"
CAPACITY = 2_500
ROWS_AN_ADD = 5
PAUSE_SECONDS = 0.05
NOISE_INK = 1.0


def varied(vectors: Images, generator: np.random.Generator) -> Images:
    """Each image (float32 (n, 64), pixels 0 … 16) moved by up to a pixel sideways, with noise."""
    images = np.pad(vectors.reshape(-1, digits.SIDE, digits.SIDE), ((0, 0), (0, 0), (1, 1)))
    shifts = generator.integers(0, 3, len(images))
    columns = shifts[:, None] + np.arange(digits.SIDE)
    moved = np.take_along_axis(images, columns[:, None, :], axis=2)
    noisy = moved + NOISE_INK * generator.standard_normal(moved.shape) * (moved > 0)
    return noisy.clip(0, digits.FULL_INK).reshape(-1, digits.SIDE**2).astype(np.float32)


async def stream(db: omendb_ws.Client) -> None:
    """Add all images once, then variations of them, for ever."""
    known, generator = digits.load(), np.random.default_rng()
    await db.create(
        COLLECTION, dim=64, capacity=CAPACITY, metric="cosine", columns={"digit": "i64"}
    )
    await db.add(
        COLLECTION,
        known.vectors,
        ids=np.arange(len(known.labels)),
        columns={"digit": known.labels},
    )
    for first in count(len(known.labels), ROWS_AN_ADD):
        chosen = generator.integers(0, len(known.labels), ROWS_AN_ADD)
        await db.add(
            COLLECTION,
            varied(known.vectors[chosen], generator),
            ids=np.arange(first, first + ROWS_AN_ADD),
            columns={"digit": known.labels[chosen]},
        )
        await asyncio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    serving.run("digits", Path(__file__).with_name("page"), stream, {"collection": COLLECTION})
