"""Making a window again out of a log: where it starts, its changes, live rows written again.

A log need not reach back to the first row. It starts at a ``Checkpoint``: what the window had come
to, rows aside. Changes that follow may name rows which the log does not hold any more, because they
have left the window since, or because they stand further on as ``KeptRows``; these names are passed
over. Once everything is replayed the window is the one that was logged, to the bit; in between rows
may be missing, and nobody is shown it.

``KeptRows`` let a log drop what lies before them: a stretch of seqs with its live rows, as they
were at that version. They change nothing in a window that holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from .change import Change, DeleteChange, UpdateChange
from .packed import PackedPayloads, packed
from .types import F32, I64, U64, Bool1, Column, Ids, StrColumn

if TYPE_CHECKING:
    from .window import Window


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a window has come to, rows aside.

    ``first_seq`` and ``time_us`` (of the last change) as in the window; ``producers`` as
    ``Producers.state`` says, the longest silent first.
    """

    version: int = 0
    first_seq: int = 1
    last_seq: int = 0
    time_us: int = 0
    producers: Sequence[tuple[str, int, Sequence[tuple[int, int]]]] = ()


@dataclass(frozen=True, slots=True)
class KeptRows:
    """The live rows among ``first_seq … last_seq``, as they are at ``version``.

    ``times_us`` int64 (last_seq - first_seq + 1,): when each seq of the stretch was accepted, dead
    ones too, since expiry counts them. ``seqs`` uint64 (n,), ascending; ``vectors`` float32 (n,
    dim) as stored; ``ids``, ``columns`` and ``payloads`` as in an AddChange. When the metadata of
    a row was updated last is not kept: that serves live queries, which end with the process.
    """

    version: int
    first_seq: int
    last_seq: int
    times_us: I64
    seqs: U64
    vectors: F32
    ids: Ids | None
    columns: Mapping[str, Column]
    payloads: PackedPayloads | None


def checkpoint_of(window: Window) -> Checkpoint:
    """What ``window`` has come to, everything that was admitted being applied."""
    return Checkpoint(
        window.version,
        window.first_seq,
        window.last_seq,
        window.admission.time_us,
        tuple(window.admission.producers.state()),
    )


def resume(window: Window, checkpoint: Checkpoint) -> None:
    """Let a new ``window`` stand where the log starts."""
    window.ring.last_seq = checkpoint.last_seq
    window.ring.expire(checkpoint.first_seq)
    window.ids.resume()
    window.version = checkpoint.version
    window.admission.resume(checkpoint)


def replay(window: Window, logged: Change | KeptRows) -> None:
    """Take in what a log holds next; nothing of it was admitted by this window."""
    if isinstance(logged, KeptRows):
        _restore(window, logged)
        return
    if isinstance(logged, DeleteChange | UpdateChange):
        logged = _of_live_rows(window, logged)
    window.admission.observe(logged)
    window.apply(logged)


def kept_rows(window: Window, first_seq: int, last_seq: int) -> KeptRows:
    """The live rows of a stretch, as far as it still lies in the window (copies)."""
    first_seq = max(first_seq, window.first_seq)
    last_seq = max(first_seq - 1, min(last_seq, window.last_seq))
    slots = window.ring.live_slots(first_seq, last_seq)
    every = window.ring.slots(np.arange(first_seq, last_seq + 1, dtype=np.uint64))
    payloads = packed(window.payloads.of(slots))
    return KeptRows(
        version=window.version,
        first_seq=first_seq,
        last_seq=last_seq,
        times_us=window.times_us[every],
        seqs=window.ring.seqs(slots),
        vectors=window.ring.vectors[slots],
        ids=None if window.definition.ids == "auto" else window.ids.of(slots),
        columns=window.columns.batch(slots),
        payloads=payloads if payloads.data else None,
    )


def _restore(window: Window, rows: KeptRows) -> None:
    every = window.ring.slots(np.arange(rows.first_seq, rows.last_seq + 1, dtype=np.uint64))
    window.times_us[every] = rows.times_us
    slots = window.ring.slots(rows.seqs)
    missing = ~window.ring.is_live(slots)
    slots = slots[missing]
    window.ring.restore(slots, rows.vectors[missing])
    if rows.ids is not None:
        window.ids.restore(slots, _some_ids(rows.ids, missing))
    window.columns.write(slots, _some_columns(rows.columns, missing))
    if rows.payloads is not None:
        window.payloads.write(slots, rows.payloads.some(missing))
    window.account()


def _of_live_rows(
    window: Window, change: DeleteChange | UpdateChange
) -> DeleteChange | UpdateChange:
    live = window.ring.is_live(window.ring.slots(change.seqs))
    if live.all():
        return change
    if isinstance(change, DeleteChange):
        return DeleteChange(change.version, change.time_us, change.seqs[live])
    return UpdateChange(
        change.version,
        change.time_us,
        change.seqs[live],
        _some_columns(change.columns, live),
        change.payloads.some(live),
    )


def _some_ids(ids: Ids, which: Bool1) -> Ids:
    return list(compress(ids, which)) if isinstance(ids, list) else ids[which]


def _some_columns(columns: Mapping[str, Column], which: Bool1) -> dict[str, Column]:
    return {
        name: StrColumn(column.codes[which], column.dictionary)
        if isinstance(column, StrColumn)
        else column[which]
        for name, column in columns.items()
    }
