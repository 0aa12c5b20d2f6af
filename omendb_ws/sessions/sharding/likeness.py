"""Searches of several shards by rows that are there: ``like``, ``positive`` and ``negative``.

The vectors of those rows are asked for first, of the shards that have them; they make the query, as
a window makes it. Each shard answers at a version of its own, so a row may be replaced between: the
answer stands if its shard has not moved on, or if the row is the same afterwards (by its seq), and
is made again if not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from omendb_core.model.errors import NotFound, Overloaded
from omendb_core.model.types import F32, U64, Ids, Include
from omendb_core.search.examples import as_ids, ids_of, target_of
from omendb_core.search.query import Query

from ...catalog.entry import Entry
from ...engine.model.shard import Shard
from ...engine.model.ticket import Reply, Ticket
from ...engine.reads import commands as reads
from ...sharding.merging import found_together
from ...wire.messages import Found
from .gathering import Gather

#: How often an answer is made whose examples are replaced meanwhile.
_MOST_TIMES: Final = 16
_VECTORS: Final = Include(vector=True)


class Likeness:
    """The examples of one search; ``search`` makes it, of a query of vectors."""

    def __init__(
        self,
        gather: Gather,
        collection: Entry,
        query: Query,
        search: Callable[[Query], None],
    ) -> None:
        self._gather, self._collection = gather, collection
        self._query, self._search = query, search
        self._ids = self._named()
        self._routed = collection.layout.route(self._ids)
        self._seqs: U64 = np.empty(0, np.uint64)
        self._versions: dict[int, int] = {}
        self._times = 0
        self._answer: Reply | None = None

    def begin(self) -> None:
        """Ask for the examples; the session expects a reply from now on."""
        self._gather.begin(self._shards(), self._asks, self._known, changes=False)

    def settle(self, versions: list[int], reply: Reply) -> Reply | None:
        """The reply to a search at ``versions`` if it stands; None: it is looked at again."""
        if all(versions[shard] == version for shard, version in self._versions.items()):
            return reply
        self._answer = reply
        self._gather.ask(self._shards(), self._asks, self._known, changes=False)
        return None

    def _named(self) -> Ids:
        query = self._query
        named = ids_of(query.examples) if query.examples is not None else list(query.like or ())
        return as_ids(self._collection.definition.ids, list(dict.fromkeys(named)))

    def _shards(self) -> list[tuple[int, Shard]]:
        shards = self._collection.shards
        found = [(n, shards[n]) for n, one in enumerate(self._routed) if len(one.places)]
        return found or [(0, shards[0])]  # vectors alone: nothing is asked, in order all the same

    def _asks(self, place: int, shard: Shard, part: Ticket) -> reads.Get:
        return reads.Get(part, shard, self._routed[place].ids, _VECTORS, self._query.visible)

    def _known(self, said: dict[int, Found]) -> Reply | None:
        routed = [self._routed[place] for place in said]
        answers = list(said.values())
        found, hits = found_together(answers, routed, self._collection.layout, list(said))
        if self._answer is not None and np.array_equal(self._seqs, hits.seqs) and found.all():
            return self._answer
        self._times += 1
        if self._times > _MOST_TIMES:
            raise Overloaded("the examples are replaced faster than they are found")
        self._seqs, self._answer = hits.seqs, None
        self._versions = {place: one.version for place, one in said.items() if len(found)}
        assert hits.vectors is not None, "they were asked for"
        self._search(self._asked(dict(zip(self._key(found), hits.vectors, strict=True))))
        return None

    def _key(self, found: Any) -> list[int | str]:
        ids = self._ids if isinstance(self._ids, list) else self._ids.tolist()
        return [one for one, is_there in zip(ids, found.tolist(), strict=True) if is_there]

    def _asked(self, vectors: dict[int | str, F32]) -> Query:
        """The query by vectors, without the examples' rows."""
        query, definition = self._query, self._collection.definition
        if query.examples is not None:
            target = target_of(definition, query.examples, vectors.get)
        else:
            (name,) = self._ids if isinstance(self._ids, list) else self._ids.tolist()
            if name not in vectors:
                raise NotFound(f"like: no row has the id {name!s}")
            target = vectors[name][None]
        exclude: Any = self._ids
        if query.exclude is not None and isinstance(exclude, list):
            exclude = [*query.exclude, *exclude]
        elif query.exclude is not None:
            exclude = np.concatenate([np.asarray(query.exclude, np.uint64), exclude])
        return replace(
            query, vectors=target, is_prepared=True, like=None, examples=None, exclude=exclude
        )
