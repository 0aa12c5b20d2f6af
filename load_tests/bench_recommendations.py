"""Pages of recommendations, shaped in the client and in the server: which are full, at what CPU.

    python -m load_tests.bench_recommendations [--visitors 2000] [--k 50 10] [--prefetch 50 200]

``visitors`` says who looks at what. Each visitor looks at three or four pages, clicks something on
each, and never wants to see a row again; 2,000 of them look at 7,261 pages. Two trials:

* *search*: a page is a search. *Client* is the plain one and what a client does with it: it asks
  for so many rows, leaves out what was seen, counts sections. *Server* is one search with
  ``exclude`` and ``group``. The ways take turns.
* *live*: every visitor has a standing query as long as they are there, moved by each click; all
  stand at once. *Client* is a plain one of so many rows, *server* one with ``exclude`` and
  ``group``. Between pages some rows are released anew, so answers change by push: *pushed* are the
  pages of the server that had to, each waited for and compared as it then is.

Every page is compared with the best among all rows, of the visit that it is a page of:

* *short*: pages with fewer than k rows; *no more*: how many of them hold all that the window has.
* *missed*: the share of the rows of the best pages that the pages lack.
* CPU of the client's thread and of the server's process, for a page (live: pushes included).

Ends with 1 if a page of the server is not the best.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

import omendb_ws

from .figures import where
from .simulation.resources import cpu_seconds
from .simulation.server import Target, serving
from .visitors import (
    OF_A_SECTION,
    Scores,
    Session,
    Shop,
    Tally,
    Visitor,
    due,
    is_right,
    page_of,
    stocked,
    visitors_of,
)

ROWS: Final = "items"
#: Visitors that are looked at together.
TURN: Final = 50
#: Connections that the standing queries share.
CONNECTIONS: Final = 8
#: One of so many rows is released anew between pages.
RELEASED: Final = 100
#: How long a page that is to come is waited for.
PATIENCE_SECONDS: Final = 30.0
GROUP: Final = {"by": "section", "size": OF_A_SECTION}
#: What the client asks for; None: the server shapes.
Prefetch = int | None


async def create(db: omendb_ws.Client, name: str, shop: Shop) -> None:
    """Put all rows in, with room for those that are released anew."""
    count, dim = shop.vectors.shape
    await db.create(name, dim=dim, capacity=2 * count, columns={"section": "str"})
    await add(db, name, shop, np.arange(count))


async def add(db: omendb_ws.Client, name: str, shop: Shop, places: Any) -> None:
    """Put rows in, in place of those that were there."""
    metadata = [{"section": shop.sections[one]} for one in places.tolist()]
    await db.add(name, shop.vectors[places], ids=places, metadata=metadata)


def page_from(
    answer: omendb_ws.Answer | omendb_ws.LiveAnswer, session: Session, k: int, prefetch: Prefetch
) -> list[int]:
    """The page that a client shows."""
    ids = [int(row) for row in answer.ids]
    if prefetch is None:
        return ids
    assert answer.metadata is not None
    sections = (one["section"] for one in answer.metadata)
    return page_of(zip(ids, sections, strict=True), session.seen, k)


@contextlib.contextmanager
def clocked(tally: Tally, target: Target) -> Iterator[None]:
    """Add what the client's thread and the server take meanwhile."""
    began, at_server = time.thread_time(), cpu_seconds(target.process_id) or 0.0
    yield
    tally.client_seconds += time.thread_time() - began
    tally.server_seconds += (cpu_seconds(target.process_id) or 0.0) - at_server


def scored(sessions: Sequence[Session], shop: Shop) -> Scores:
    """Of all rows, for each of some visits."""
    return shop.scores([one.interest for one in sessions])


# -- searches -------------------------------------------------------------------------------------


async def ask(db: omendb_ws.Client, session: Session, k: int, prefetch: Prefetch) -> list[int]:
    """A page by a search, with what its rows are shown by."""
    if prefetch is None:
        answer = await db.search(
            ROWS, session.interest, k, include=["metadata"],
            exclude=list(session.seen), group=GROUP,
        )  # fmt: skip
    else:
        answer = await db.search(ROWS, session.interest, prefetch, include=["metadata"])
    return page_from(answer, session, k, prefetch)


async def searched(
    target: Target,
    shop: Shop,
    visitors: Sequence[Visitor],
    sizes: Sequence[int],
    prefetches: Sequence[Prefetch],
) -> dict[tuple[int, str], Tally]:
    """All pages of all visitors, by size and way."""
    ways = {(k, prefetch): Tally() for k in sizes for prefetch in prefetches}
    async with omendb_ws.connect(target.url) as db:
        await create(db, ROWS, shop)
        for start in range(0, len(visitors), TURN):
            turn = visitors[start : start + TURN]
            for (k, prefetch), tally in ways.items():
                await visited(db, target, shop, turn, k, prefetch, tally)
        await db.drop(ROWS)
    return {(k, named(prefetch)): tally for (k, prefetch), tally in ways.items()}


async def visited(
    db: omendb_ws.Client,
    target: Target,
    shop: Shop,
    visitors: Sequence[Visitor],
    k: int,
    prefetch: Prefetch,
    tally: Tally,
) -> None:
    """The pages of some visitors."""
    sessions = [Session(one) for one in visitors]
    for number in range(max(one.pages for one in sessions)):
        there = [one for one in sessions if one.pages > number]
        with clocked(tally, target):
            pages = [await ask(db, one, k, prefetch) for one in there]
        for page, one, scores in zip(pages, there, scored(there, shop), strict=True):
            tally.judge(page, shop, one.seen, scores, k)
            one.look(page, shop)


def named(prefetch: Prefetch) -> str:
    return "server" if prefetch is None else f"client, out of {prefetch}"


# -- standing queries -----------------------------------------------------------------------------


class Standing:
    """A visit with its query, which stands until the end."""

    def __init__(
        self, db: omendb_ws.Client, name: str, visitor: Visitor, k: int, prefetch: Prefetch
    ) -> None:
        self.session = Session(visitor)
        self.page: list[int] = []
        self._k, self._prefetch = k, prefetch
        shape: dict[str, Any] = {}
        if prefetch is None:
            shape = {"exclude": list(self.session.seen), "group": GROUP}
        self._query = db.live(
            name, self.session.interest, k=prefetch or k, include=["metadata"], **shape
        )
        self._is_first = True

    async def turn(self) -> None:
        """Ask for the next page: the first, or what a click has moved the query to."""
        session = self.session
        if not self._is_first and self._prefetch is None:
            await self._query.move(session.interest, exclude=list(session.seen))
        elif not self._is_first:
            await self._query.move(session.interest)
        self._is_first = False
        await self.follow()

    async def follow(self) -> None:
        """Take the next answer."""
        answer = await anext(self._query)
        self.page = page_from(answer, self.session, self._k, self._prefetch)

    async def settle(self, best: Sequence[int], shop: Shop, scores: Scores) -> None:
        """Take answers until the page is as good as ``best``, or patience ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not is_right(self.page, best, shop, self.session.seen, scores):
                    await self.follow()


async def followed(
    target: Target, shop: Shop, visitors: Sequence[Visitor], k: int, prefetch: Prefetch
) -> dict[tuple[int, str], Tally]:
    """All pages of all visitors, each with a standing query; pushed ones apart."""
    asked, pushed, rng, shop = Tally(), Tally(), np.random.default_rng(11), shop.copy()
    async with contextlib.AsyncExitStack() as stack:
        connected = [omendb_ws.connect(target.url) for _ in range(CONNECTIONS + 1)]
        store, *clients = [await stack.enter_async_context(one) for one in connected]
        await create(store, ROWS, shop)
        standing = [
            Standing(clients[one.number % CONNECTIONS], ROWS, one, k, prefetch) for one in visitors
        ]
        for number in range(max(one.pages for one in visitors)):
            for turn in turns([one for one in standing if one.session.pages > number]):
                with clocked(asked, target):
                    await asyncio.gather(*[one.turn() for one in turn])
                judge(turn, shop, k, asked)
            with clocked(asked, target):
                released = max(1, len(shop.vectors) // RELEASED)
                await add(store, ROWS, shop, shop.release(released, rng))
            if prefetch is None:
                for turn in turns(standing):
                    await settle(turn, shop, k, pushed, asked, target)
            for one in standing:
                if one.session.pages > number + 1:  # who has done so stays at the last page
                    one.session.look(one.page, shop)
        await store.drop(ROWS)
    found = {(k, f"{named(prefetch)}, live"): asked}
    return found | ({(k, "server, pushed"): pushed} if prefetch is None else {})


def turns(standing: Sequence[Standing]) -> Iterator[Sequence[Standing]]:
    for start in range(0, len(standing), TURN):
        yield standing[start : start + TURN]


def judge(turn: Sequence[Standing], shop: Shop, k: int, tally: Tally) -> None:
    sessions = [one.session for one in turn]
    for one, scores in zip(turn, scored(sessions, shop), strict=True):
        tally.judge(one.page, shop, one.session.seen, scores, k)


async def settle(
    turn: Sequence[Standing], shop: Shop, k: int, pushed: Tally, asked: Tally, target: Target
) -> None:
    """Wait for the pages that must have changed by push; what that takes is ``asked``'s."""
    late = []
    for one, scores in zip(turn, scored([one.session for one in turn], shop), strict=True):
        best = due(shop, one.session.seen, scores, k)
        if not is_right(one.page, best, shop, one.session.seen, scores):
            late.append((one, best, scores))
    with clocked(asked, target):
        await asyncio.gather(*[one.settle(best, shop, scores) for one, best, scores in late])
    for one, _, scores in late:
        pushed.judge(one.page, shop, one.session.seen, scores, k)


# -- all of it ------------------------------------------------------------------------------------


def show(tallies: dict[tuple[int, str], Tally]) -> None:
    """The lines of a table."""
    for (k, way), one in tallies.items():
        missed = one.missed / max(1, one.wanted)
        short = f"{one.short:,}/{one.pages:,}"
        cpu = ""
        if one.client_seconds:
            spent = (one.client_seconds, one.server_seconds)
            cpu = "".join(f"{seconds / one.pages * 1e6:9.0f} µs" for seconds in spent)
        print(
            f"{k:3d} {way:26}{short:>14}{one.short_of_rows:9,}{missed:9.1%}{cpu}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--visitors", type=int, default=2_000)
    parser.add_argument("--k", type=int, nargs="+", default=[50, 10], help="sizes of pages")
    parser.add_argument("--prefetch", type=int, nargs="+", default=[50, 200, 1000], help="rows")
    parser.add_argument("--items", type=int, default=2_000, help="each comes in three releases")
    parser.add_argument("--live-k", type=int, nargs="*", default=[50, 10], help="of live pages")
    parser.add_argument("--live-prefetch", type=int, nargs="*", default=[50, 200], help="rows")
    options = parser.parse_args()
    rng = np.random.default_rng(5)
    shop = stocked(options.items, rng)
    visitors = visitors_of(shop, options.visitors, rng)
    print(f"{where()}; {len(shop.vectors):,} rows, {len(visitors):,} visitors")
    print(
        f"{'k':>3} {'shaped in':26}{'short':>14}{'no more':>9}{'missed':>9}"
        f"{'client CPU':>12}{'server CPU':>12}"
    )
    with serving() as target:
        ways = [*options.prefetch, None]
        tallies = asyncio.run(searched(target, shop, visitors, options.k, ways))
        show(tallies)
        for k in options.live_k:
            for prefetch in [*options.live_prefetch, None]:
                found = asyncio.run(followed(target, shop, visitors, k, prefetch))
                show(found)
                tallies |= found
    wrong = sum(one.wrong for (_, way), one in tallies.items() if way.startswith("server"))
    if wrong:
        sys.exit(f"{wrong} pages of the server are not the best")


if __name__ == "__main__":
    main()
