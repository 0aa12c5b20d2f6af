"""What a live query over several shards answers now, and how that differs from what was told.

Lives on the engine's thread, which has all windows of a server: so an answer is of one moment, and
states the version of each shard. Rows are ordered by what windows sort by, with seqs as they are
outside (``sharding/merging.py``): nothing is scored again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from omendb_core.model.hits_together import joined, picked
from omendb_core.model.types import F32, F64, I64, U8, U64, Hits, Include
from omendb_core.ranking import orders
from omendb_core.ranking.shape import Decay

from ...sharding.numbering import outer_seqs, own_seqs, shards_of
from .gathered_query import GatheredQuery, PartQuery
from .live_pushes import Difference, reasons_of


class Rows(NamedTuple):
    """Rows of an answer, best first: ``shards`` int64 (n,) says whose each is, ``own`` uint64 its
    seq there, ``seqs`` uint64 outside; ``scores`` float32; ``ranks`` float64, None by score."""

    shards: I64
    own: U64
    seqs: U64
    scores: F32
    ranks: F64 | None

    def at(self, places: I64) -> Rows:
        """Some of them."""
        ranks = None if self.ranks is None else self.ranks[places]
        return Rows(
            self.shards[places], self.own[places], self.seqs[places], self.scores[places], ranks
        )


def best_rows(parts: Sequence[PartQuery], k: int | None) -> Rows:
    """The k best of what the parts' lists answer; None: all."""
    count = len(parts)
    found = [
        part.shard.window.standing.lists.answers(np.array([part.handle], np.int64))
        for part in parts
    ]
    shards = np.repeat(np.arange(count), [len(one.seqs) for one in found])
    own = np.concatenate([one.seqs for one in found])
    seqs = np.concatenate([outer_seqs(one.seqs, shard, count) for shard, one in enumerate(found)])
    scores = np.concatenate([one.scores for one in found])
    ranks = None
    if parts[0].order is not None:
        ranks = np.concatenate([np.empty(0) if one.ranks is None else one.ranks for one in found])
    levels = orders.levels(parts[0].order, ranks, scores, seqs)
    best = np.lexsort(levels[::-1])[::-1][:k]
    return Rows(shards, own, seqs, scores, ranks).at(best)


def hits_of(
    parts: Sequence[PartQuery],
    rows: Rows,
    include: Include,
    at: float | None = None,
) -> Hits:
    """The rows with what ``include`` asks; ``at``: with their weights then, where they decay."""
    count = len(parts)
    is_auto = parts[0].shard.definition.ids == "auto"
    places, found = [], []
    for shard, part in enumerate(parts):
        here = np.flatnonzero(rows.shards == shard)
        if not len(here) and (shard or len(rows.seqs)):
            continue  # one at least says what rows hold
        state, order = part.shard.window.state, part.order
        slots = state.ring.slots(rows.own[here])
        hits = state.hits(slots, include)
        weights = None
        if at is not None and isinstance(order, Decay):
            weights = orders.weights(order, state, slots, at)
        seqs = outer_seqs(rows.own[here], shard, count)
        places.append(here)
        found.append(
            Hits(
                seqs if is_auto else hits.ids,
                seqs,
                rows.scores[here],
                hits.metadata,
                hits.vectors,
                None if rows.ranks is None else rows.ranks[here],
                weights,
            )
        )
    return picked(joined(found), np.argsort(np.concatenate(places), kind="stable"))


def difference(query: GatheredQuery, rows: Rows) -> Difference:
    """From what its reader has to ``rows``."""
    told, now = query.told, rows.seqs.tolist()
    updated = _updated(query, rows)
    leave = told.keys() - now
    if updated:
        leave |= updated
    enter = [place for place, seq in enumerate(now) if seq not in told or seq in updated]
    return Difference(sorted(leave), updated, enter)


def _updated(query: GatheredQuery, rows: Rows) -> set[int]:
    """Rows told of whose metadata, if included, or whose rank changed since."""
    found: set[int] = set()
    known = np.array([seq in query.told for seq in rows.seqs.tolist()], np.bool_)
    for shard, part in enumerate(query.parts):
        state, since = part.shard.window.state, query.told_versions[shard]
        if not state.updated_after(since):
            continue  # no row has another rank, either
        here = np.flatnonzero(known & (rows.shards == shard))
        changed = np.zeros(len(here), np.bool_)
        if query.include.metadata:
            changed |= state.update_versions(rows.own[here]) > since
        if rows.ranks is not None:
            changed |= _reranked(query, rows.seqs[here], rows.ranks[here])
        found.update(rows.seqs[here[changed]].tolist())
    return found


def _reranked(query: GatheredQuery, seqs: U64, ranks: F64) -> Any:
    assert query.ranks is not None, "its rows have ranks"
    was = np.array([query.ranks[seq] for seq in seqs.tolist()], np.float64)
    return (was != ranks) & ~(np.isnan(was) & np.isnan(ranks))


def reasons(query: GatheredQuery, said: Difference) -> tuple[list[int | str], U64, U8]:
    """Of what leaves: the ids, the seqs, and why."""
    ids = [query.told[seq] for seq in said.leave]
    seqs = np.array(said.leave, np.uint64)
    found = np.zeros(len(seqs), np.uint8)
    count = len(query.parts)
    own, of = own_seqs(seqs, count), shards_of(seqs, count)
    is_auto = query.shard.definition.ids == "auto"
    for shard, part in enumerate(query.parts):
        here = np.flatnonzero(of == shard)
        if not len(here):
            continue
        own_here = own[here]
        leave = own_here.tolist()
        known = leave if is_auto else [ids[place] for place in here.tolist()]
        updated = {
            seq for seq, place in zip(leave, here.tolist(), strict=True)
            if said.leave[place] in said.updated
        }  # fmt: skip
        found[here] = reasons_of([part], [Difference(leave, updated, [])], own_here, known)
    return ids, seqs, found
