"""Streams the items of the store in, goes on with new releases of them, and serves the page."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import omendb_ws
from examples import serving
from examples.recommendations.catalogue import APPS, CLICKS, Catalogue, load

ITEMS_AN_ADD = 4
PAUSE_SECONDS = 0.1
#: A click concerns others for this long.
CLICK_TTL_SECONDS = 60
CLICK_CAPACITY = 1_000


async def create(db: omendb_ws.Client, items: Catalogue) -> None:
    """The items by number, and the clicks of all windows, which pass."""
    count, dim = items.vectors.shape
    await db.create(
        APPS,
        dim=dim,
        capacity=count,
        metric="cosine",
        columns={"section": "str", "released": "f64"},
    )
    await db.create(
        CLICKS,
        dim=dim,
        capacity=CLICK_CAPACITY,
        metric="cosine",
        ids="auto",
        columns={"session": "str"},
        ttl=CLICK_TTL_SECONDS,
    )


async def stream(db: omendb_ws.Client) -> None:
    """Release items, a few at a time: each once, then any of them again, in place of the old."""
    items, generator = load(), np.random.default_rng()
    await create(db, items)
    for first in count(0, ITEMS_AN_ADD):
        chosen = np.arange(first, first + ITEMS_AN_ADD)
        if first >= len(items.names):
            chosen = generator.choice(len(items.names), ITEMS_AN_ADD, replace=False)
        chosen = chosen[chosen < len(items.names)]
        await db.add(APPS, items.vectors[chosen], ids=chosen, metadata=told(items, chosen))
        await asyncio.sleep(PAUSE_SECONDS)


def told(items: Catalogue, chosen: NDArray[np.int64]) -> list[dict[str, object]]:
    """What a card shows; ``section`` is a column, so that filters and groups know it, and
    ``released``, Unix seconds, so that it ages by it."""
    now = time.time()
    return [
        {
            "name": items.names[one],
            "section": items.sections[one],
            "about": items.abouts[one],
            "released": now,
        }
        for one in chosen.tolist()
    ]


if __name__ == "__main__":
    sections = [section for section, _ in Counter(load().sections).most_common()]
    told_to_the_page = {"apps": APPS, "clicks": CLICKS, "sections": sections}
    serving.run("recommendations", Path(__file__).with_name("page"), stream, told_to_the_page)
