"""Making a window again out of a log: where it starts, its changes, live rows written again.

A log need not reach back to the first row. It starts at a ``Checkpoint``: what the window had come
to, rows aside. Changes that follow may name rows which the log does not hold any more, because they
have left the window since, or because they stand further on as ``KeptRows``; these names are passed
over. Once everything is replayed the window is the one that was logged, to the bit; in between rows
may be missing, and nobody is shown it.
"""

from __future__ import annotations

import numpy as np

from .model.batches import some_columns, some_ids
from .model.change import Change, DeleteChange, UpdateChange
from .model.logged import Checkpoint, KeptRows
from .model.packed import packed
from .model.types import I64
from .state import WindowState
from .window import Window


def checkpoint_of(window: Window, *, with_producers: bool = True) -> Checkpoint:
    """What ``window`` has come to, everything that was admitted being applied."""
    admitted = window.admission.admitted
    return Checkpoint(
        window.version,
        window.first_seq,
        window.last_seq,
        admitted.time_us,
        tuple(admitted.producers.state()) if with_producers else (),
    )


def resume(window: Window, checkpoint: Checkpoint) -> None:
    """Let a new ``window`` stand where the log starts."""
    window.state.ring.last_seq = checkpoint.last_seq
    window.state.ring.expire(checkpoint.first_seq)
    window.state.ids.resume()
    window.state.version = checkpoint.version
    window.admission.resume(checkpoint)


def replay(window: Window, logged: Change | KeptRows) -> None:
    """Take in what a log holds next; nothing of it was admitted by this window."""
    if isinstance(logged, KeptRows):
        _restore(window, logged)
        return
    if isinstance(logged, DeleteChange | UpdateChange):
        logged = _of_live_rows(window, logged)
    window.admission.admitted.observe(logged)
    window.apply(logged)


def kept_rows(window: Window, first_seq: int, last_seq: int) -> KeptRows:
    """The live rows of a stretch, as far as it still lies in the window (copies)."""
    first_seq = max(first_seq, window.first_seq)
    last_seq = max(first_seq - 1, min(last_seq, window.last_seq))
    slots = window.state.ring.live_slots(first_seq, last_seq)
    return rows_kept(window.state, first_seq, last_seq, slots, window.version)


def rows_kept(
    state: WindowState, first_seq: int, last_seq: int, slots: I64, version: int
) -> KeptRows:
    """Live rows of a window, with the times of a stretch of it that may be empty (copies)."""
    every = state.ring.slots(np.arange(first_seq, last_seq + 1, dtype=np.uint64))
    payloads = packed(state.payloads.of(slots))
    return KeptRows(
        version=version,
        first_seq=first_seq,
        last_seq=last_seq,
        times_us=state.times_us[every],
        seqs=state.ring.seqs(slots),
        vectors=state.ring.vectors[slots],
        ids=None if state.definition.ids == "auto" else state.ids.of(slots),
        columns=state.columns.batch(slots),
        payloads=payloads if payloads.data else None,
    )


def _restore(window: Window, rows: KeptRows) -> None:
    every = window.state.ring.slots(np.arange(rows.first_seq, rows.last_seq + 1, dtype=np.uint64))
    window.state.times_us[every] = rows.times_us
    slots = window.state.ring.slots(rows.seqs)
    missing = ~window.state.ring.is_live(slots)
    slots = slots[missing]
    window.state.ring.restore(slots, rows.vectors[missing])
    if rows.ids is not None:
        window.state.ids.restore(slots, some_ids(rows.ids, missing))
    window.state.columns.write(slots, some_columns(rows.columns, missing))
    if rows.payloads is not None:
        window.state.payloads.write(slots, rows.payloads.some(missing))
    window.admission.quotas.account()


def _of_live_rows(
    window: Window, change: DeleteChange | UpdateChange
) -> DeleteChange | UpdateChange:
    live = window.state.ring.is_live(window.state.ring.slots(change.seqs))
    if live.all():
        return change
    if isinstance(change, DeleteChange):
        return DeleteChange(change.version, change.time_us, change.seqs[live])
    return UpdateChange(
        change.version,
        change.time_us,
        change.seqs[live],
        some_columns(change.columns, live),
        change.payloads.some(live),
    )
