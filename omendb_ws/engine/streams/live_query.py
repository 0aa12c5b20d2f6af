"""One live query: the standing query, and what its reader was last told.

What a reader was told is all that it costs, however slow it is; ``told_bytes`` says how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final

from omendb_core.model.budget import Share
from omendb_core.model.types import Include
from omendb_core.standing.table import StandingQuery

from .deliveries import Maker, Reader, Stream

if TYPE_CHECKING:
    from ..model.collection import Collection

#: What CPython takes for one.
_INTEGER_BYTES: Final = 32
#: What an id of 47 characters takes more. Longer ones are counted as readers are told of them.
TEXT_BYTES: Final = 64


class LiveQuery(Stream):
    """One reader's standing query. Only ``LiveQueries`` changes it.

    ``handle`` is the window's, None before the reply and after the end. ``told``: seq -> id of the
    rows its reader has now, at version ``told_version``. ``every_us``: least time between pushes.
    ``is_beginning``: its list is there, or about to be, and its reply is not. ``texts``: what long
    ids in ``told`` take of the budget; None where ids are numbers.
    """

    __slots__ = ("every_us", "handle", "is_beginning", "is_dirty", "query", "ready_us", "texts",
                 "told", "told_version")  # fmt: skip

    is_of_lists = True

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        collection: Collection,
        is_binary: bool,
        include: Include,
        usual_bytes: int,
        query: StandingQuery,
        every_us: int,
        texts: Share | None = None,
    ) -> None:
        super().__init__(maker, reader, collection, is_binary, include, usual_bytes)
        self.query = query
        self.every_us = every_us
        self.texts = texts
        self.handle: int | None = None
        self.told: dict[int, int | str] = {}
        self.told_version = 0
        self.is_beginning = self.is_dirty = False
        self.ready_us = 0

    @property
    def has_more(self) -> bool:
        """Whether its answer may have changed since its last push."""
        return self.is_dirty


def told_bytes(k: int) -> int:
    """Bytes that ``k`` rows take which a reader was told, with ids that are numbers."""
    return table_bytes(k) + 2 * _INTEGER_BYTES * k


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
