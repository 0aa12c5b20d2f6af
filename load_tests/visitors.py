"""Visitors of a store, the pages that they should get, and a tally of those that they got.

The store's rows are the items of ``examples/recommendations`` (real text embeddings) in three
releases: as they are, and twice slightly perturbed (by noise of a fifth of their length, so with a
cosine of 0.98 to the first). A row's id is its place. A visitor's interest is the mean of three
items that are near each other; seen are 20 of the 100 rows nearest to it. A page has k rows, none
of them seen, at most 5 of a section; then all of them are seen, and a click on one of them moves
the interest. Pages are found by numpy in float64 among all rows: nothing here is the engine's.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.recommendations.catalogue import load

RELEASES: Final = 3
NOISE: Final = 0.2
OF_A_SECTION: Final = 5
SEEN: Final = 20
SEEN_AMONG: Final = 100
LIKED: Final = 3
LIKED_AMONG: Final = 50
#: What the interest before counts beside a click.
KEPT: Final = 0.6
#: 7,261 pages of 2,000 visitors.
PAGES_A_VISITOR: Final = 7_261 / 2_000
#: More than float32 scores are off, less than what tells two rows apart.
SCORE_SLACK: Final = 1e-5

Matrix = NDArray[np.float32]
Scores = NDArray[np.float64]


class Shop:
    """``vectors`` (n, dim) of length 1, ``sections`` n names."""

    def __init__(self, vectors: Matrix, sections: list[str]) -> None:
        self.vectors = vectors
        self.sections = sections
        self._exact = vectors.astype(np.float64)

    def copy(self) -> Shop:
        """One whose rows may change."""
        return Shop(self.vectors.copy(), self.sections)

    def release(self, rows: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Perturb so many rows; their places."""
        places = rng.choice(len(self.vectors), rows, replace=False)
        self.vectors[places] = perturbed(self.vectors[places], rng)
        self._exact[places] = self.vectors[places]
        return places

    def scores(self, interests: Sequence[Matrix]) -> Scores:
        """Of all rows for each of some interests (m, n)."""
        found: Scores = np.stack(interests).astype(np.float64) @ self._exact.T
        return found


class Visitor(NamedTuple):
    """``seen`` are ids. ``pages`` is how many they look at."""

    number: int
    interest: Matrix
    seen: frozenset[int]
    pages: int


class Session:
    """A visit: the interest and what was seen, as they change."""

    def __init__(self, visitor: Visitor) -> None:
        self.pages = visitor.pages
        self.interest = visitor.interest
        self.seen = set(visitor.seen)
        self._random = random.Random(visitor.number)

    def look(self, page: Sequence[int], shop: Shop) -> None:
        """See all of a page, and click one of it."""
        self.seen |= set(page)
        at = self._random.random()
        if page:
            clicked = shop.vectors[page[int(at * len(page))]]
            self.interest = unit(clicked + np.float32(KEPT) * self.interest)


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

    def judge(
        self, page: Sequence[int], shop: Shop, seen: set[int], scores: Scores, k: int
    ) -> None:
        """Compare a page with the best there is; ``scores`` (n,) are those of all rows."""
        best = due(shop, seen, scores, k)
        self.pages += 1
        self.wanted += len(best)
        self.short += len(page) < k
        self.short_of_rows += len(page) == len(best) < k
        if not is_right(page, best, shop, seen, scores):
            self.wrong += 1
            self.missed += len(set(best) - set(page))


def due(shop: Shop, seen: set[int], scores: Scores, k: int) -> list[int]:
    """The best page."""
    return allowed(np.argsort(-scores, kind="stable").tolist(), shop, seen, k)


def is_right(
    page: Sequence[int], best: Sequence[int], shop: Shop, seen: set[int], scores: Scores
) -> bool:
    """Whether it is as good as the best one, and all of it may stand there."""
    return (
        list(page) == allowed(page, shop, seen, len(page))
        and len(page) == len(best)
        and all(
            abs(scores[got] - scores[due]) <= SCORE_SLACK
            for got, due in zip(page, best, strict=True)
        )
    )


def unit(vectors: Matrix) -> Matrix:
    found: Matrix = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def perturbed(vectors: Matrix, rng: np.random.Generator) -> Matrix:
    """Another release of them."""
    spread = NOISE / np.sqrt(vectors.shape[1])
    return unit(vectors + rng.normal(0, spread, vectors.shape).astype(np.float32))


def stocked(items: int, rng: np.random.Generator) -> Shop:
    """Every release of so many of the items."""
    catalogue = load()
    first = catalogue.vectors[:items]
    later = [perturbed(first, rng) for _ in range(RELEASES - 1)]
    return Shop(np.concatenate([first, *later]), catalogue.sections[:items] * RELEASES)


def visitors_of(shop: Shop, count: int, rng: np.random.Generator) -> list[Visitor]:
    """So many, each with an interest of their own."""
    items = len(shop.vectors) // RELEASES
    first = shop.vectors[:items]
    few, more = divmod(round(count * PAGES_A_VISITOR), count)
    found = []
    for number in range(count):
        near = np.argsort(-(first @ first[rng.integers(items)]))[:LIKED_AMONG]
        liked = rng.choice(near, min(LIKED, items), replace=False)
        interest = unit(first[liked].sum(axis=0))
        nearest = np.argsort(-shop.scores([interest])[0], kind="stable")[:SEEN_AMONG]
        seen = rng.choice(nearest, min(SEEN, len(nearest)), replace=False)
        pages = few + (number < more)
        found.append(Visitor(number, interest, frozenset(seen.tolist()), pages))
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


def allowed(rows: Sequence[int], shop: Shop, seen: set[int], k: int) -> list[int]:
    """The same of rows whose sections the shop knows."""
    return page_of(((row, shop.sections[row]) for row in rows), seen, k)
