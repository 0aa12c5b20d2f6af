"""Live recommendations: what each visitor of a shop is shown, as items come and tastes move.

The items are handwritten digits (real ones, 8 x 8 pixels); the shop keeps the newest 200. A visitor
is a vector of interest with one live query: the three items nearest to it. New items are pushed to
those whom they concern. Looking at an item moves the vector, and the query with it.

It starts its own server and ends by itself: ``python examples/live_recommendations.py``
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import omendb_ws
from omendb_ws.demo import digits
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings

IN_STOCK = 200
NEW_ITEMS = 120
PAUSE_SECONDS = 0.01
#: Visitors, and the two digits between which each cannot decide.
VISITORS = {"Ada": (1, 7), "Ben": (3, 8), "Chloe": (4, 9), "Dan": (0, 6)}
#: How much of a visitor's interest the item they look at becomes.
PULL = 0.4
WHY = {"displaced": "others are nearer", "evicted": "out of stock", "moved": "tastes change"}


@dataclass
class Visitor:
    """``interest`` float32 (64,); ``titles`` of what was recommended so far, by id."""

    name: str
    interest: NDArray[np.float32]
    titles: dict[int | str, str] = field(default_factory=dict)
    looked_at: set[int | str] = field(default_factory=set)

    def says(self, text: str) -> None:
        print(f"{self.name:>5} {text}")


async def visit(db: omendb_ws.Client, visitor: Visitor) -> None:
    """Take recommendations until the shop closes; at every second change look at the last."""
    changes = 0
    query = db.live("shop", visitor.interest, k=3, include=["metadata", "vector"])
    async for answer in query:  # the first at once, then whenever it is another
        tell(visitor, answer)
        changes += 1
        fresh = [row for row in answer if row.id not in visitor.looked_at]
        if changes % 2 == 0 and fresh:
            await look(visitor, fresh[-1], query)


def tell(visitor: Visitor, answer: omendb_ws.LiveAnswer) -> None:
    """Print what is recommended now, which of it is new (+), and what has gone and why."""
    for row in answer.entered:
        visitor.titles[row.id] = f"{(row.metadata or {})['digit']}#{row.id}"
    new = {row.id for row in answer.entered}
    titles = [("+" if row.id in new else "") + visitor.titles[row.id] for row in answer]
    gone = [f"{visitor.titles[one.id]} ({WHY[one.reason]})" for one in answer.left]
    visitor.says("is shown " + "".join(f"{title:>8}" for title in titles))
    if gone:
        visitor.says(f"   and no more {', '.join(gone)}")


async def look(visitor: Visitor, row: omendb_ws.Row, query: omendb_ws.LiveQuery) -> None:
    """Look at an item, which moves the interest towards it, and the live query with it."""
    assert row.vector is not None
    visitor.says(f"looks at {visitor.titles[row.id]:>8}")
    visitor.looked_at.add(row.id)
    visitor.interest = unit((1 - PULL) * visitor.interest + PULL * row.vector)
    with suppress(omendb_ws.NotFound):  # the shop may have closed meanwhile
        await query.move(visitor.interest)


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vector with length 1, as a collection with the metric ``cosine`` keeps its rows."""
    return (vector / np.linalg.norm(vector)).astype(np.float32)


async def sell(db: omendb_ws.Client, items: digits.Digits, first: int, count: int) -> None:
    """Put items on the shelf; an item's id is its number."""
    ids = np.arange(first, first + count)
    metadata = [{"digit": int(label)} for label in items.labels[ids]]
    await db.add("shop", items.vectors[ids], ids=ids, metadata=metadata)


async def main() -> None:
    items, others = digits.split(digits.load(), held_out=100)
    likes = {digit: unit(others.vectors[others.labels == digit].mean(0)) for digit in range(10)}
    async with Server(Settings(port=0)) as server, omendb_ws.connect(server.url) as db:
        await db.create("shop", dim=64, capacity=IN_STOCK)
        await sell(db, items, 0, IN_STOCK)
        print(f"The shop keeps {IN_STOCK} items; 7#25 is item 25, a seven. + marks what is new.\n")
        visitors = []
        for name, (one, other) in VISITORS.items():
            visitors.append(Visitor(name, unit(likes[one] + likes[other])))
            visitors[-1].says(f"comes in, undecided between {one} and {other}")
        async with asyncio.TaskGroup() as visits:
            for visitor in visitors:
                visits.create_task(visit(db, visitor))
            for first in range(IN_STOCK, IN_STOCK + NEW_ITEMS):
                await sell(db, items, first, 1)
                await asyncio.sleep(PAUSE_SECONDS)
            await db.drop("shop")  # which ends every live query
        looks = sum(len(visitor.looked_at) for visitor in visitors)
        print(f"\n{NEW_ITEMS} items came, {looks} were looked at; now the shop is closed.")


asyncio.run(main())
