"""A window made again out of the pieces of a ``snapshot.Snapshot``, which nobody vouches for.

They come from a file or over the network, so each is held to what the window would have admitted
before anything of it is taken in: a fault is BadRequest, and the window is good for nothing then.
Metadata as text is not parsed here; whoever read it did.

Order: what is known of producers comes first, with the checkpoint; rows in any order; ``finish``
says whether that was all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .admission.checks import check_ids
from .model.errors import BadRequest, OmenError, Quota
from .model.logged import Checkpoint, KeptRows, ProducerState
from .model.types import NULL_BOOLEAN, NULL_INTEGER, Bool1, Column, StrColumn
from .replay import replay, resume
from .rows.metadata import check_columns
from .scoring import score
from .window import Window

#: How far the norm of a row that was normalised may be from 1: rounding moves it by 2⁻²³ or so.
_NORM_ERROR = 1e-5


class Restored:
    """Takes pieces into ``window``, which is new, on behalf of ``checkpoint``. BadRequest, Quota.

    ``rows``: how many there are to be.
    """

    def __init__(
        self,
        window: Window,
        checkpoint: Checkpoint,
        producers: Sequence[ProducerState],
        rows: int,
    ) -> None:
        self.window = window
        self._rows = rows
        _check_checkpoint(checkpoint, rows, window.definition.capacity)
        self.checkpoint = replace(checkpoint, producers=tuple(producers))
        resume(window, self.checkpoint)
        span = max(0, checkpoint.last_seq - checkpoint.first_seq + 1)
        #: Seqs whose times have come.
        self._timed: Bool1 = np.zeros(span, np.bool_)

    def take(self, rows: KeptRows) -> None:
        """Take some rows in."""
        try:
            self._check(rows)
        except OmenError as error:
            raise BadRequest(
                f"snapshot: rows from seq {rows.first_seq} on: {error.message}"
            ) from None
        replay(self.window, rows)
        first = rows.first_seq - self.checkpoint.first_seq
        self._timed[max(first, 0) : first + len(rows.times_us)] = True
        self._refuse_beyond_quotas()

    def _refuse_beyond_quotas(self) -> None:
        window = self.window
        most = window.admission.limits.max_payload_bytes
        if window.payload_bytes > most:
            raise Quota(f"metadata and ids: {window.payload_bytes} bytes are over {most}")
        window.refuse_beyond_budget()
        window.share.budget.refuse_excess("metadata, ids and texts of this window take")

    def finish(self) -> None:
        """Nothing more comes. BadRequest where something is missing, or is not what it was."""
        if self.window.rows != self._rows:
            raise BadRequest(f"snapshot: {self.window.rows} rows came, of {self._rows}")
        if not self._timed.all():
            raise BadRequest("snapshot: some of the window did not come")
        slots = self.window.state.ring.slots_of(self.checkpoint.first_seq, len(self._timed))
        times = self.window.state.times_us[slots]
        if (np.diff(times) < 0).any() or (len(times) and times[-1] > self.checkpoint.time_us):
            raise BadRequest(
                "snapshot: rows were accepted in another order than that of their seqs"
            )

    def _check(self, rows: KeptRows) -> None:
        definition, ring = self.window.definition, self.window.state.ring
        first, last = np.uint64(self.checkpoint.first_seq), np.uint64(self.checkpoint.last_seq)
        count = len(rows.seqs)
        _demand(rows.version == self.checkpoint.version, "another version")
        _demand(rows.vectors.shape == (count, definition.dim), "vectors of another dimension")
        stretch = rows.last_seq - rows.first_seq + 1
        _demand(len(rows.times_us) == stretch, "times of other seqs")
        if len(rows.times_us):
            inside = int(first) <= rows.first_seq and rows.last_seq <= int(last)
            _demand(inside, "beyond the window")
        if not count:
            return
        seqs = rows.seqs
        _demand(bool((seqs >= first).all() and (seqs <= last).all()), "a seq beyond the window")
        _demand(len(np.unique(seqs)) == count, "a seq twice")
        _demand(not ring.is_live(ring.slots(seqs)).any(), "a seq that came before")
        check_ids(rows.ids, definition, count)
        if rows.ids is not None:
            there = self.window.state.ids.find(rows.ids)
            _demand(bool((there < 0).all()), "an id that came before")
        _check_vectors(rows, definition.metric)
        check_columns(
            {name: _without_nulls(column) for name, column in rows.columns.items()},
            definition.columns,
            count,
        )
        if rows.payloads is not None:
            _demand(len(rows.payloads) == count, "metadata of other rows")


def _check_checkpoint(checkpoint: Checkpoint, rows: int, capacity: int) -> None:
    first, last = checkpoint.first_seq, checkpoint.last_seq
    fits = 1 <= first <= last + 1 and last - first < capacity
    _demand(fits and 0 <= rows <= last - first + 1, "snapshot: a window that cannot be")
    most = 2**53
    numbers = (checkpoint.version, last, abs(checkpoint.time_us) // 1000)
    _demand(all(0 <= number < most for number in numbers), "snapshot: numbers out of range")


def _check_vectors(rows: KeptRows, metric: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        norms = score.norms(rows.vectors)
    _demand(bool((norms <= score.MAX_NORM).all()), "a vector that is not finite")
    if metric == "cosine":
        _demand(bool((np.abs(norms - 1) <= _NORM_ERROR).all()), "a vector that is not normalised")


def _without_nulls(column: Column) -> Column:
    """Nulls as ``check_columns`` allows them; what a window keeps may be null in every column."""
    if isinstance(column, StrColumn) or column.dtype == np.float64:
        return column
    found = column.copy()
    found[found == (NULL_INTEGER if column.dtype == np.int64 else NULL_BOOLEAN)] = 0
    return found


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadRequest(otherwise)
