"""One live query: the standing query, and what its reader was last told.

What a reader was told is all that it costs, however slow it is; ``told_bytes`` says how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from sys import getsizeof
from typing import Any, Final

import numpy as np
from omendb_core.model.budget import Share
from omendb_core.model.types import Ids, Include
from omendb_core.ranking.shape import Order
from omendb_core.standing.exclusions import Exclusions
from omendb_core.standing.table import StandingQuery

from ..model.shard import Shard
from .deliveries import Maker, Reader, Stream

#: What CPython takes for one.
_INTEGER_BYTES: Final = 32
_FLOAT_BYTES: Final = 24
#: What an id of 47 characters takes more. Longer ones are counted as readers are told of them.
TEXT_BYTES: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """Ids that a live query leaves out: those ``given`` as such, and those of its ``examples``."""

    given: Ids | None = None
    examples: Ids | None = None

    @property
    def ids(self) -> Ids | None:
        """All of them; None if there are none."""
        kinds = [ids for ids in (self.given, self.examples) if ids is not None and len(ids)]
        if len(kinds) < 2:
            return kinds[0] if kinds else None
        if isinstance(kinds[0], list):
            return list(dict.fromkeys([*kinds[0], *kinds[1]]))
        return np.concatenate(kinds)

    @property
    def nbytes(self) -> int:
        """Bytes that they take, here and in the standing query."""
        every = self.ids
        if every is None:
            return 0
        own = sum(len(ids) for ids in (self.given, self.examples, every) if ids is not None)
        return Exclusions.bytes_for(every) + _ID_BYTES * own


#: An id in an array, or the reference to a text, which is counted once.
_ID_BYTES: Final = 8
#: Who wants their memory.
LEFT_OUT_TAKES: Final = "ids that a live query leaves out take"
#: Nothing is left out.
ALL_IN: Final = LeftOut()


class LiveQuery(Stream):
    """One reader's standing query. Only ``LiveQueries`` changes it.

    ``handle`` is the window's, None before the reply and after the end. ``told``: seq -> id of the
    rows its reader has now, at version ``told_version``. ``every_us``: least time between pushes.
    ``is_beginning``: its list is there, or about to be, and its reply is not. ``ranks``: seq ->
    rank of the rows in ``told``, where its answer has an order of its own. ``texts``: what long
    ids in ``told`` take of the budget; None where ids are numbers. ``left_out``: ids, and
    ``left_out_share`` what they take, None for none.
    """

    __slots__ = ("every_us", "handle", "is_beginning", "is_dirty", "left_out", "left_out_share",
                 "query", "ranks", "ready_us", "texts", "told", "told_version")  # fmt: skip

    is_of_lists = True
    shard: Shard

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        shard: Shard,
        is_binary: bool,
        include: Include,
        usual_bytes: int,
        query: StandingQuery,
        every_us: int,
        texts: Share | None = None,
        left_out: LeftOut = ALL_IN,
        left_out_share: Share | None = None,
    ) -> None:
        super().__init__(maker, reader, shard, is_binary, include, usual_bytes)
        self.query = query
        self.every_us = every_us
        self.texts = texts
        self.left_out = left_out
        self.left_out_share = left_out_share
        self.handle: int | None = None
        self.told: dict[int, int | str] = {}
        self.ranks: dict[int, float] | None = None
        self.told_version = 0
        self.is_beginning = self.is_dirty = False
        self.ready_us = 0

    @property
    def has_more(self) -> bool:
        """Whether its answer may have changed since its last push."""
        return self.is_dirty

    def note_changed(self) -> Stream:
        """Its answer may have changed; who is to tell."""
        self.is_dirty = True
        return self

    def note_told(self, ids: dict[int, int | str], version: int) -> None:
        """Its reader is told of these rows, seq -> id, as of ``version``, and of no others."""
        if self.texts is not None:
            self.texts.settle(long_bytes(list(ids.values())))
        self.told = ids
        self.told_version = version
        self.is_dirty = False

    def reserve(self, left_out: LeftOut) -> None:
        """Take the memory that it needs to leave out these ids instead. Quota: there is none."""
        if left_out is self.left_out:
            return
        if self.left_out_share is None:
            assert self._budget is not None
            self.left_out_share = Share(self._budget, LEFT_OUT_TAKES)
        self.left_out_share.resize(max(left_out.nbytes, self.left_out_share.taken_bytes))

    def settle(self) -> None:
        """Give back what it took for ids that it does not leave out."""
        if self.left_out_share is not None:
            self.left_out_share.resize(self.left_out.nbytes)
            if self.left_out is ALL_IN:
                self.left_out_share = None

    @property
    def order(self) -> Order | None:
        """The order of its answer; None: by score."""
        return self.query.shape.order


def told_bytes(k: int, *, is_ranked: bool = False) -> int:
    """Bytes that ``k`` rows take which a reader was told, with ids that are numbers."""
    ranks_bytes = table_bytes(k) + _FLOAT_BYTES * k if is_ranked else 0
    return table_bytes(k) + 2 * _INTEGER_BYTES * k + ranks_bytes


def long_bytes(ids: Sequence[int | str]) -> int:
    """Bytes of ids that are texts, beyond what every row has for its own."""
    usual_bytes = _INTEGER_BYTES + TEXT_BYTES
    return sum(size - usual_bytes for size in map(getsizeof, ids) if size > usual_bytes)


@cache
def table_bytes(rows: int) -> int:
    """Bytes of a dict that so many rows were put into one after the other."""
    return getsizeof(dict(zip(range(rows), range(rows), strict=True)))


def listed(ids: Any) -> list[int | str]:
    """Ids of answers as a list."""
    found: list[int | str] = ids if isinstance(ids, list) else ids.tolist()
    return found
