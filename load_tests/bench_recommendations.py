"""Pages of recommendations, shaped in the client and in the server: which are full, at what CPU.

    python -m load_tests.bench_recommendations [--visitors 2000] [--k 50 10] [--prefetch 50 200]

The rows are the store's items (``examples/recommendations``: real text embeddings) in three
releases: as they are, and twice slightly perturbed (by noise of a fifth of their length, so with a
cosine of 0.98 to the first). A visitor's interest is the mean of three items that are near each
other; seen are 20 of the 100 rows nearest to it. A page has k rows, none of them seen, at most 5 of
a section.

*Client* is the plain search and what a client does with it: it asks for so many rows, leaves out
what was seen, counts sections. *Server* is one search with ``exclude`` and ``group``. Every page is
compared with the one that numpy finds in float64 among all rows:

* *short*: pages with fewer than k rows; *no more*: how many of them hold all that the window has.
* *missed*: the share of the rows of numpy's pages that the pages lack.
* CPU of the client's thread and of the server's process, for a page.

The ways take turns in one run. Ends with 1 if a page of the server is not numpy's.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import omendb_ws
from examples.recommendations.catalogue import load

from .figures import where
from .simulation.resources import cpu_seconds
from .simulation.server import Target, serving

ROWS: Final = "items"
RELEASES: Final = 3
NOISE: Final = 0.2
OF_A_SECTION: Final = 5
SEEN: Final = 20
SEEN_AMONG: Final = 100
LIKED: Final = 3
LIKED_AMONG: Final = 50
#: Visitors of a turn.
TURN: Final = 50
#: More than float32 scores are off, less than what tells two rows apart.
SCORE_SLACK: Final = 1e-5

Matrix = NDArray[np.float32]
Scores = NDArray[np.float64]
#: What the client asks for; None: the server shapes.
Prefetch = int | None


class Shop(NamedTuple):
    """``vectors`` (n, dim) of length 1, ``sections`` n names."""

    vectors: Matrix
    sections: list[str]


class Visitor(NamedTuple):
    """``scores`` (n,) of all rows, exact enough; ``order`` their places, best first; ``seen`` ids,
    which are places."""

    interest: Matrix
    scores: Scores
    order: NDArray[np.intp]
    seen: set[int]


@dataclass
class Tally:
    """Of the pages of one size, made in one way."""

    pages: int = 0
    short: int = 0
    short_of_rows: int = 0
    missed: int = 0
    wanted: int = 0
    wrong: int = 0
    client_seconds: float = 0.0
    server_seconds: float = 0.0

    def judge(self, page: Sequence[int], shop: Shop, visitor: Visitor, k: int) -> None:
        """Compare a page with the best there is."""
        best = allowed(visitor.order.tolist(), shop, visitor, k)
        got, due = visitor.scores[page], visitor.scores[best]
        self.pages += 1
        self.wanted += len(best)
        self.short += len(page) < k
        self.short_of_rows += len(page) == len(best) < k
        is_right = (
            page == allowed(page, shop, visitor, k)
            and len(page) == len(best)
            and bool(np.all(np.abs(got - due) <= SCORE_SLACK))
        )
        if not is_right:
            self.wrong += 1
            self.missed += len(set(best) - set(page))


def unit(vectors: Matrix) -> Matrix:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def stocked(items: int, rng: np.random.Generator) -> Shop:
    """Every release of so many of the items."""
    catalogue = load()
    first = catalogue.vectors[:items]
    spread = NOISE / np.sqrt(first.shape[1])
    later = [
        unit(first + rng.normal(0, spread, first.shape).astype(np.float32))
        for _ in range(RELEASES - 1)
    ]
    return Shop(np.concatenate([first, *later]), catalogue.sections[:items] * RELEASES)


def visitors_of(shop: Shop, count: int, rng: np.random.Generator) -> list[Visitor]:
    """So many, each with an interest of their own."""
    items = len(shop.vectors) // RELEASES
    first, exact = shop.vectors[:items], shop.vectors.astype(np.float64)
    found = []
    for _ in range(count):
        near = np.argsort(-(first @ first[rng.integers(items)]))[:LIKED_AMONG]
        liked = rng.choice(near, min(LIKED, items), replace=False)
        interest = unit(first[liked].sum(axis=0))
        scores = exact @ interest.astype(np.float64)
        order = np.argsort(-scores, kind="stable")
        nearest = order[:SEEN_AMONG]
        seen = rng.choice(nearest, min(SEEN, len(nearest)), replace=False)
        found.append(Visitor(interest, scores, order, set(seen.tolist())))
    return found


def page_of(rows: Iterable[tuple[int, str]], seen: set[int], k: int) -> list[int]:
    """The first ``k`` of the rows with their sections, best first, that may stand on the page."""
    page: list[int] = []
    shown: Counter[str] = Counter()
    for row, section in rows:
        if row not in seen and shown[section] < OF_A_SECTION:
            shown[section] += 1
            page.append(row)
            if len(page) == k:
                break
    return page


def allowed(rows: Sequence[int], shop: Shop, visitor: Visitor, k: int) -> list[int]:
    """The same of rows whose sections the shop knows."""
    return page_of(((row, shop.sections[row]) for row in rows), visitor.seen, k)


async def ask(
    db: omendb_ws.Client, visitor: Visitor, k: int, prefetch: Prefetch
) -> tuple[list[int], Sequence[dict[str, object]]]:
    """A page, with what its rows are shown by."""
    if prefetch is None:
        answer = await db.search(
            ROWS, visitor.interest, k, include=["metadata"],
            exclude=list(visitor.seen), group={"by": "section", "size": OF_A_SECTION},
        )  # fmt: skip
        assert answer.metadata is not None
        return [int(row) for row in answer.ids], answer.metadata
    answer = await db.search(ROWS, visitor.interest, prefetch, include=["metadata"])
    assert answer.metadata is not None
    ids = [int(row) for row in answer.ids]
    told = dict(zip(ids, answer.metadata, strict=True))
    sections = (one["section"] for one in answer.metadata)
    page = page_of(zip(ids, sections, strict=True), visitor.seen, k)
    return page, [told[row] for row in page]


async def measure(
    target: Target,
    shop: Shop,
    visitors: Sequence[Visitor],
    sizes: Sequence[int],
    prefetches: Sequence[Prefetch],
) -> dict[tuple[int, Prefetch], Tally]:
    """All pages of all visitors, by size and way."""
    tallies = {(k, prefetch): Tally() for k in sizes for prefetch in prefetches}
    async with omendb_ws.connect(target.url) as db:
        count, dim = shop.vectors.shape
        await db.create(ROWS, dim=dim, capacity=count, columns={"section": "str"})
        metadata = [{"section": section} for section in shop.sections]
        await db.add(ROWS, shop.vectors, ids=np.arange(count), metadata=metadata)
        for start in range(0, len(visitors), TURN):
            turn = visitors[start : start + TURN]
            for (k, prefetch), tally in tallies.items():
                began, at_server = time.thread_time(), cpu_seconds(target.process_id) or 0.0
                pages = [(await ask(db, one, k, prefetch))[0] for one in turn]
                tally.client_seconds += time.thread_time() - began
                tally.server_seconds += (cpu_seconds(target.process_id) or 0.0) - at_server
                for page, one in zip(pages, turn, strict=True):
                    tally.judge(page, shop, one, k)
    return tallies


def show(tallies: dict[tuple[int, Prefetch], Tally]) -> None:
    """The table."""
    print(
        f"{'k':>3} {'shaped in':22}{'short':>12}{'no more':>9}{'missed':>9}"
        f"{'client CPU':>12}{'server CPU':>12}"
    )
    for (k, prefetch), one in tallies.items():
        way = "server" if prefetch is None else f"client, out of {prefetch}"
        missed = one.missed / max(1, one.wanted)
        client, server = (
            seconds / one.pages * 1e6 for seconds in (one.client_seconds, one.server_seconds)
        )
        short = f"{one.short:,}/{one.pages:,}"
        print(
            f"{k:3d} {way:22}{short:>12}{one.short_of_rows:9,}{missed:9.1%}"
            f"{client:9.0f} µs{server:9.0f} µs",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--visitors", type=int, default=2_000)
    parser.add_argument("--k", type=int, nargs="+", default=[50, 10], help="sizes of pages")
    parser.add_argument("--prefetch", type=int, nargs="+", default=[50, 200, 1000], help="rows")
    parser.add_argument("--items", type=int, default=2_000, help="each comes in three releases")
    options = parser.parse_args()
    rng = np.random.default_rng(5)
    shop = stocked(options.items, rng)
    visitors = visitors_of(shop, options.visitors, rng)
    print(f"{where()}; {len(shop.vectors):,} rows, {len(visitors):,} visitors")
    with serving() as target:
        ways = [*options.prefetch, None]
        tallies = asyncio.run(measure(target, shop, visitors, options.k, ways))
    show(tallies)
    wrong = sum(one.wrong for (_, prefetch), one in tallies.items() if prefetch is None)
    if wrong:
        sys.exit(f"{wrong} pages of the server are not numpy's")


if __name__ == "__main__":
    main()
