"""The same recommendations in a backend: a live query for each visitor, moved by their clicks.

Start the store (``python -m examples.recommendations``), then, beside it,
``python -m examples.recommendations.service``. Whoever clicks in a window of the store is a visitor
here: their clicks come by a feed, and what is recommended to them is pushed here as it is there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import omendb_ws
from examples.recommendations.catalogue import APPS, CLICKS

SHOWN = 3
#: As on the page: newer releases first, at most two of a section.
FRESH = {"half_life": 120, "column": "released"}
VARIED = {"by": "section", "size": 2}
#: What an older click counts beside the newest one.
DECAY = 0.6
#: A query takes 64 examples of each sort at most.
EXAMPLES = 60
SAYS = {"look": "looks at", "more": "wants more like", "less": "wants less like"}


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.linalg.norm(vector)


class Click(NamedTuple):
    """A row of the collection of clicks, whose vector is the item's.

    ``verdict``: ``look``, or ``more`` or ``less`` of its kind.
    """

    session: str
    item: int
    name: str
    vector: NDArray[np.float32]
    verdict: str

    @classmethod
    def of(cls, row: omendb_ws.Row) -> Click:
        assert row.metadata is not None
        assert row.vector is not None
        told = row.metadata
        return cls(
            told["session"], told["item"], told["name"], unit(row.vector), told["verdict"]
        )  # fmt: skip


class Visitor:
    """Someone's interest, float32 (dim,) of length 1, and the query that stands for it.

    ``more`` and ``less`` are the items of which they want more and less. Who wants less before they
    looked at anything has an interest in nothing: any direction, as on the page.
    """

    def __init__(self, db: omendb_ws.Client, name: str, click: Click) -> None:
        self.name = name
        self.interest = click.vector
        if click.verdict == "less":
            any_way = np.random.default_rng().standard_normal(len(click.vector), dtype=np.float32)
            self.interest = unit(any_way)
        self.clicked: set[int] = set()
        self.more: list[int] = []
        self.less: list[int] = []
        self._note(click)
        self.query = db.live(
            APPS,
            k=SHOWN,
            include=["metadata"],
            decay=FRESH,
            group=VARIED,
            exclude=list(self.clicked),
            positive=[self.interest, *self.more],
            negative=self.less,
        )

    async def judge(self, click: Click) -> None:
        """Move the interest, and the query with it, which leaves out what was looked at."""
        if click.verdict != "less":
            self.interest = unit(click.vector + DECAY * self.interest)
        self._note(click)
        await self.query.move(
            positive=[self.interest, *self.more[-EXAMPLES:]],
            negative=self.less[-EXAMPLES:],
            exclude=list(self.clicked),
        )

    def _note(self, click: Click) -> None:
        """Remember it, and say it."""
        self.clicked.add(click.item)
        if click.verdict != "look":
            (self.more if click.verdict == "more" else self.less).append(click.item)
        print(f"{self.name} {SAYS[click.verdict]} {click.name}", flush=True)

    async def recommend(self) -> None:
        """Print what is recommended, each time it is something else."""
        shown: list[str] = []
        async for answer in self.query:
            names = [row.metadata["name"] for row in answer if row.metadata]
            if names != shown:
                print(f"{self.name} is shown {', '.join(names)}", flush=True)
            shown = names


async def serve(url: str) -> None:
    """Follow the clicks for ever; a session that is new is a new visitor."""
    visitors: dict[str, Visitor] = {}
    async with omendb_ws.connect(url) as db, asyncio.TaskGroup() as tasks:
        clicks = db.feed(CLICKS, include=["metadata", "vector"])
        print(f"Waiting for clicks at {url}; Ctrl-C ends it", flush=True)
        async for rows in clicks:
            for click in map(Click.of, rows):
                visitor = visitors.get(click.session)
                if visitor is None:
                    visitor = Visitor(db, f"visitor {len(visitors) + 1}", click)
                    visitors[click.session] = visitor
                    tasks.create_task(visitor.recommend())
                else:
                    await visitor.judge(click)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.recommendations.service")
    parser.add_argument("--url", default="ws://127.0.0.1:8765/v1", help="the store's server")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args().url))


if __name__ == "__main__":
    main()
