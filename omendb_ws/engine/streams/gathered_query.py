"""A live query over the shards of a collection: a list of each shard, and what its reader knows.

Each shard keeps a list of its own for it, with a floor, as for any live query: a *part*, which says
nothing by itself. A row among the k best of all is among the k best of its shard, so the lists have
the answer (``gathered.py``). What its reader was told is kept once, by the seqs outside.
"""

from __future__ import annotations

from collections.abc import Sequence

from omendb_core.model.budget import Share
from omendb_core.model.types import Include
from omendb_core.ranking.shape import Order, Shape

from ...sharding.routing import Layout
from ..model.shard import Shard
from ..model.sharded import Sharded
from .live_query import LiveQuery
from .stream import Maker, Reader, Stream


class PartQuery(LiveQuery):
    """What one shard does of a live query; ``whole`` tells."""

    __slots__ = ("whole",)

    whole: GatheredQuery

    def note_changed(self) -> Stream:
        """See ``LiveQuery.note_changed``."""
        self.whole.is_dirty = True
        return self.whole

    def note_told(self, ids: dict[int, int | str], version: int) -> None:
        """Nobody is told by a part."""


class GatheredQuery(Stream):
    """One reader's live query over several shards. Only ``GatheredQueries`` changes it.

    ``parts``: by shard; ``coming``: those that take their place when it moves, of the loop until
    then. ``is_beginning``: its reply is not there. ``told``, ``ranks``, ``every_us``, ``ready_us``,
    ``texts``: as a ``LiveQuery`` has them, by seqs outside; ``told_versions``: of each shard, of
    when its reader was told. ``shape``: of the whole answer; ``deeper``: what parts take that had
    to be asked for more than the first rows, None where nothing selects.
    """

    __slots__ = ("coming", "deeper", "every_us", "is_beginning", "is_dirty", "k", "layout", "parts",
                 "ranks", "ready_us", "shape", "texts", "told", "told_versions")  # fmt: skip

    is_of_lists = True
    shard: Sharded

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        whole: Sharded,
        layout: Layout,
        is_binary: bool,
        include: Include,
        usual_bytes: int,
        k: int,
        shape: Shape,
        every_us: int,
        texts: Share | None = None,
        deeper: Share | None = None,
    ) -> None:
        super().__init__(maker, reader, whole, is_binary, include, usual_bytes)
        self.layout = layout
        self.k = k
        self.every_us = every_us
        self.shape = shape
        self.texts = texts
        self.deeper = deeper
        self.parts: Sequence[PartQuery] = ()
        self.coming: Sequence[PartQuery] = ()
        self.told: dict[int, int | str] = {}
        self.ranks: dict[int, float] | None = None
        self.told_versions: list[int] = []
        self.is_dirty, self.is_beginning = False, True
        self.ready_us = 0

    @property
    def has_more(self) -> bool:
        """Whether its answer may have changed since its last push."""
        return self.is_dirty

    @property
    def order(self) -> Order | None:
        """The order of its answer; None: by score."""
        return self.shape.order

    @property
    def is_known(self) -> bool:
        """Whether every part has a list that says what its shard answers now."""
        return all(
            part.handle is not None and not part.shard.window.standing.lists.is_waiting(part.handle)
            for part in self.parts
        )

    def of_shard(self, shard: Shard) -> PartQuery:
        """Its part there."""
        return next(part for part in self.parts if part.shard is shard)
