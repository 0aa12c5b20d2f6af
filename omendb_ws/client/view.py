"""The answer of one live query as its reader sees it: a snapshot, and the pushes that follow it.

Pure: no socket, no loop. A push is only noted; pushes are folded into the rows when the reader asks
for an answer, or when they hold a few times the rows of the answer. So a push costs next to
nothing, and a reader that never asks costs a few times its ``k`` rows, never a queue. The messages
name what leaves by seq alone: what a seq is (id, score, metadata, vector) is known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
from omendb_core.model.types import I64, Hits, Ids

from ..wire.messages import Live
from ..wire.opcodes import LEAVE_REASONS
from .answers import Left, LeftReason, LiveAnswer, Rows, Snapshot

#: Rows of pushes that may wait unfolded, beside twice the rows of the answer.
SPARE_ROWS: Final = 64

#: What orders an answer: the scores, or the ranks of ``decay`` or ``rank``.
Order: TypeAlias = Literal["score", "decay", "rank"]

_REASONS: Final = cast("tuple[LeftReason, ...]", LEAVE_REASONS)


class View:
    """Snapshot and pushes, put together. ``answer`` gives what the reader has not seen yet."""

    def __init__(self, order: Order = "score") -> None:
        self._order = order
        self._hits = Hits(np.empty(0, np.uint64), np.empty(0, np.uint64))
        self._epoch = ""
        self._version = 0
        self._versions: tuple[int, ...] = ()
        self._pushes: list[Live] = []
        self._pushed_rows = 0
        self._has_news = self._is_replaced = self._is_moved = self._is_resumed = False
        #: The answer returned last, the place of each seq in it, and why some have left since.
        self._shown: LiveAnswer | None = None
        self._places: dict[int, int] = {}
        self._reasons: dict[int, LeftReason] = {}

    @property
    def epoch(self) -> str:
        """The epoch of the rows."""
        return self._epoch

    def replace(self, snapshot: Snapshot, *, moved: bool = False, resumed: bool = False) -> None:
        """Begin anew with ``snapshot``: the first, after a move, or of another connection."""
        self._fold()
        self._hits = _read_only(snapshot.hits)
        self._epoch, self._version = snapshot.epoch, snapshot.version
        self._versions = snapshot.versions
        self._has_news = self._is_replaced = True
        self._is_moved |= moved
        self._is_resumed |= resumed

    def push(self, live: Live) -> None:
        """Note what has changed."""
        self._pushes.append(live)
        self._version, self._versions = live.version, tuple(live.versions or ())
        self._has_news = True
        self._pushed_rows += len(live.enter.seqs) + len(live.leave_seqs)
        if self._pushed_rows > 2 * len(self._hits.seqs) + SPARE_ROWS:
            self._fold()

    def answer(self) -> LiveAnswer | None:
        """Return the answer; None if it is the one returned last.

        The first answer after ``replace`` is returned even if nothing entered or left.
        """
        if not self._has_news:
            return None
        self._has_news = False
        self._fold()
        seqs: list[int] = self._hits.seqs.tolist()
        entered, left = self._delta(seqs)
        if not (entered or left or self._is_replaced):
            return None
        is_first = self._shown is None
        answer = LiveAnswer(
            **_fields(self._hits, self._version),
            epoch=self._epoch,
            entered=Rows(**_fields(_taken(self._hits, entered), self._version)),
            left=left,
            versions=self._versions,
            moved=self._is_moved and not is_first,
            resumed=self._is_resumed and not is_first,
        )
        self._shown = answer
        self._places = {seq: place for place, seq in enumerate(seqs)}
        self._reasons = {}
        self._is_replaced = self._is_moved = self._is_resumed = False
        return answer

    # -- inside ---------------------------------------------------------------------------

    def _fold(self) -> None:
        """Apply the noted pushes to the rows: each first its leaves, then its enters."""
        if not self._pushes:
            return
        blocks = [self._hits]
        places = {seq: place for place, seq in enumerate(self._hits.seqs.tolist())}
        end = len(places)
        for push in self._pushes:
            leaves = zip(push.leave_seqs.tolist(), push.leave_reasons.tolist(), strict=True)
            for seq, reason in leaves:
                places.pop(seq, None)
                if seq in self._places:
                    self._reasons[seq] = _REASONS[reason]
            for seq in push.enter.seqs.tolist():
                places[seq] = end
                end += 1
                self._reasons.pop(seq, None)
            blocks.append(push.enter)
        rows = _taken(_joined(blocks), list(places.values()))
        self._hits = _read_only(_taken(rows, best_first(rows, self._order).tolist()))
        self._pushes = []
        self._pushed_rows = 0

    def _delta(self, seqs: list[int]) -> tuple[list[int], list[Left]]:
        """Places of ``seqs`` that have entered since the answer returned last, and what left it."""
        shown = self._shown
        everything = list(range(len(seqs)))
        if shown is None:
            return everything, []
        if shown.epoch != self._epoch:
            return everything, [Left(row.id, row.seq, "epoch") for row in shown]
        before = self._places
        updated = self._updated(shown, seqs)
        entered = [place for place, seq in enumerate(seqs) if seq not in before or seq in updated]
        unsaid: LeftReason = "missed" if self._is_resumed else "moved"
        there = set(seqs)
        left = []
        for seq, place in before.items():
            if seq not in there:
                left.append(Left(_id(shown.ids, place), seq, self._reasons.get(seq, unsaid)))
            elif seq in updated:
                left.append(Left(_id(shown.ids, place), seq, "updated"))
        return entered, left

    def _updated(self, shown: LiveAnswer, seqs: list[int]) -> set[int]:
        """Those of ``seqs`` that were there before, with other metadata, or with another rank that
        is not for another target."""
        before, updated = self._places, set()
        old, new = shown.metadata, self._hits.metadata
        if old is not None and new is not None:
            updated = {
                seq
                for seq, now in zip(seqs, new, strict=True)
                if seq in before and old[before[seq]] is not now and old[before[seq]] != now
            }
        if shown.ranks is not None and self._hits.ranks is not None and not self._is_moved:
            places = [place for place, seq in enumerate(seqs) if seq in before]
            was = shown.ranks[[before[seqs[place]] for place in places]]
            now = self._hits.ranks[places]
            differs = (was != now) & ~(np.isnan(was) & np.isnan(now))
            updated.update(seqs[places[at]] for at in np.flatnonzero(differs).tolist())
        return updated


def best_first(rows: Hits, order: Order) -> I64:
    """The places of ``rows`` in the order of answers (PROTOCOL section 5)."""
    assert rows.scores is not None
    if order == "score" or rows.ranks is None:
        return np.lexsort((rows.seqs, rows.scores))[::-1]
    has_rank = ~np.isnan(rows.ranks)
    ranks = np.where(has_rank, rows.ranks, 0)
    scores = rows.scores if order == "rank" else np.where(has_rank, 0, rows.scores)
    return np.lexsort((rows.seqs, scores, ranks, has_rank))[::-1]


def _fields(hits: Hits, version: int) -> dict[str, Any]:
    """The fields of ``Rows``."""
    return {
        "ids": hits.ids,
        "seqs": hits.seqs,
        "scores": hits.scores,
        "ranks": hits.ranks,
        "metadata": hits.metadata,
        "vectors": hits.vectors,
        "version": version,
    }


def _id(ids: Ids, place: int) -> int | str:
    one = ids[place]
    return one if isinstance(one, str) else int(one)


def _taken(hits: Hits, places: Sequence[int]) -> Hits:
    """The rows of ``hits`` at ``places``, as copies."""
    at = np.array(places, np.int64)
    return Hits(
        ids=[hits.ids[place] for place in places] if isinstance(hits.ids, list) else hits.ids[at],
        seqs=hits.seqs[at],
        scores=None if hits.scores is None else hits.scores[at],
        metadata=None if hits.metadata is None else [hits.metadata[place] for place in places],
        vectors=None if hits.vectors is None else hits.vectors[at],
        ranks=None if hits.ranks is None else hits.ranks[at],
    )


def _joined(blocks: Sequence[Hits]) -> Hits:
    """The rows of ``blocks`` one after the other; empty ones do not count for what there is."""
    full = [block for block in blocks if len(block.seqs)] or [blocks[0]]
    if len(full) == 1:
        return full[0]
    first = full[0]
    ids: Ids
    if isinstance(first.ids, list):
        ids = [one for block in full for one in block.ids]
    else:
        ids = np.concatenate([block.ids for block in full])
    return Hits(
        ids=ids,
        seqs=np.concatenate([block.seqs for block in full]),
        scores=np.concatenate([cast("Any", block.scores) for block in full]),
        metadata=None
        if first.metadata is None
        else [one for block in full for one in block.metadata or ()],
        vectors=None
        if first.vectors is None
        else np.concatenate([cast("Any", block.vectors) for block in full]),
        ranks=None
        if first.ranks is None
        else np.concatenate([cast("Any", block.ranks) for block in full]),
    )


def _read_only(hits: Hits) -> Hits:
    """``hits`` themselves, whose arrays nobody can write to any more."""
    for array in (hits.ids, hits.seqs, hits.scores, hits.vectors, hits.ranks):
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return hits
