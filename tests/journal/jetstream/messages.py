"""Changes for streams, and the messages of them."""

from __future__ import annotations

import numpy as np
from omendb_core.model.change import AddChange, Change, DeleteChange, ExpireChange
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import Definition, WindowLimits

from omendb_ws.journal.interface import Logged, Manifest
from omendb_ws.journal.jetstream.checkpoints import checkpoint_body
from omendb_ws.journal.jetstream.records import encode, group_message
from omendb_ws.journal.local.contents import body_of

LIMITS = WindowLimits(
    max_rows=16_384, max_metadata_bytes=4096, max_producers=100, max_payload_bytes=1 << 30
)
MANIFEST = Manifest("default", "items", Definition(2, 100, "dot", "u64", {}, None), "everysec", "e")


def add(version: int, first_seq: int, *ids: int, dim: int = 2) -> AddChange:
    vectors = np.arange(len(ids) * dim, dtype=np.float32).reshape(len(ids), dim) + version
    known = np.array(ids, np.uint64)
    return AddChange(version, 1000 * version, first_seq, vectors, known, {}, None, "p", version)


def delete(version: int, *seqs: int) -> DeleteChange:
    return DeleteChange(version, 1000 * version, np.array(seqs, np.uint64))


def expire(version: int, first_seq: int) -> ExpireChange:
    return ExpireChange(version, 1000 * version, first_seq)


def first_message(term: int = 1, manifest: Manifest = MANIFEST) -> tuple[bytes, int]:
    """What a stream begins with, and its checksum."""
    buffers, checksum = encode(checkpoint_body(manifest, Checkpoint()), term, 0)
    return group_message(buffers), checksum


def message(term: int, previous: int, *changes: Logged) -> tuple[bytes, int]:
    """A group of changes, and the checksum of its last record."""
    made = []
    for change in changes:
        buffers, previous = encode(body_of(change), term, previous)
        made += buffers
    return group_message(made), previous


def equal(one: Change, other: Change) -> bool:
    """Whether two changes are the same to the bit."""
    return body_of(one).buffers == body_of(other).buffers or (
        b"".join(map(bytes, body_of(one).buffers)) == b"".join(map(bytes, body_of(other).buffers))
    )
