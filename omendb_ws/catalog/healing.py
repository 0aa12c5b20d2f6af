"""A collection whose stream is not what was written, healed out of a window that a node kept.

The window goes into a new stream, under a new epoch, which is what says that something may be
missing; then the collection's name leads there. Who wrote it reads it again as everybody else does,
so nothing is shown that is not in the log. In a thread: the window is broken, so nobody changes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace

from omendb_core.model.errors import Unavailable
from omendb_core.model.logged import KeptRows
from omendb_core.replay import checkpoint_of, kept_rows
from omendb_core.window import Window

from ..engine.model.shard import Shard
from ..journal.interface import Log, Stored
from ..journal.local.compaction import PIECE_BYTES, row_bytes
from ..journal.store_thread import Storage


def log_of(shard: Shard) -> Log:
    """The log of a shard that has one."""
    assert shard.pending is not None
    assert shard.pending.log is not None
    return shard.pending.log


def version_read(storage: Storage, stored: Stored) -> int:
    """Up to which version its stream can be read now. Damaged, Unavailable."""
    following = storage.follow(stored).result()
    try:
        version = following.checkpoint.version
        for logged in following.changes():
            version = logged.version
        return version
    finally:
        following.close()


def renew(storage: Storage, shard: Shard, now_us: int) -> None:
    """Write the window of ``shard``, which is broken, into a stream in place of its own.

    Unavailable, StorageFailed, StorageFull: then nothing is left of it.
    """
    old, window = log_of(shard), shard.window
    if window.admission.admitted.version != window.version:
        raise Unavailable("changes are being refused still")
    checkpoint = checkpoint_of(window)
    manifest = replace(old.manifest, epoch=secrets.token_hex(8))
    time_us = shard.time_us(now_us)
    receiving = storage.renew(old.stored, manifest, checkpoint, time_us).result()
    try:
        for rows in _pieces(window):
            receiving.keep(rows)
        log = storage.finish_receiving(receiving, lambda tags, error: None).result()
    except BaseException:
        receiving.abandon()
        raise
    storage.close_log(log)


def _pieces(window: Window) -> Iterator[KeptRows]:
    count = max(1, PIECE_BYTES // row_bytes(window.definition))
    for first in range(window.first_seq, window.last_seq + 1, count):
        yield kept_rows(window, first, first + count - 1)
