"""The record that a stream begins with, and that is written again now and then. Pure.

It says of which collection the stream is, and where its window stood, rows aside, so that nothing
before it is needed once the rows before it have left the window.
"""

from __future__ import annotations

from omendb_core.model.logged import Checkpoint

from ..interface import Manifest, Stated
from ..local.layout import Malformed, PayloadReader, lay_out
from ..local.openings import checkpoint_of, manifest_json, manifest_of
from ..local.records import Body, Header, Type


def checkpoint_body(
    manifest: Manifest, checkpoint: Checkpoint, stated: Stated | None = None
) -> Body:
    """The record of a checkpoint, with what is ``stated`` of the window there."""
    json = manifest_json(manifest) | {
        "first_seq": checkpoint.first_seq,
        "producers": checkpoint.producers,
    }
    if stated is not None:
        json["digest"] = [stated.first_seq, stated.last_seq, f"{stated.digest:016x}"]
    return lay_out(
        Type.OPEN, checkpoint.version, json, [],
        dim=manifest.definition.dim, seq=checkpoint.last_seq, time_us=checkpoint.time_us,
    )  # fmt: skip


def read_checkpoint(header: Header, payload: memoryview) -> tuple[Manifest, Checkpoint]:
    """What a checkpoint says. Raises Malformed."""
    reader = PayloadReader(header, payload)
    try:
        found = manifest_of(reader.json), checkpoint_of(header, reader.json)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Malformed(f"a checkpoint: {error}") from error
    reader.finish()
    return found


def read_stated(header: Header, payload: memoryview) -> Stated | None:
    """What a checkpoint states of the window. Raises Malformed."""
    try:
        found = PayloadReader(header, payload).json.get("digest")
        if found is None:
            return None
        first_seq, last_seq, digest = found
        return Stated(header.version, int(first_seq), int(last_seq), int(digest, 16))
    except (AttributeError, TypeError, ValueError) as error:
        raise Malformed(f"a digest: {error}") from error
