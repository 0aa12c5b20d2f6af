"""Rows of a held shard, copied at one version and written in pieces.

Lives on the engine's thread. What is found and not written yet is a copy; it is taken while nothing
changes (``Shard.is_held``), and written afterwards.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

from omendb_core.model.types import Hits

from ...wire.encoded import Message
from ...wire.hits import metadata_texts, row_objects
from ...wire.text_replies import JsonList
from ..model.rows import part_of
from ..model.shard import Shard

#: What a row of an answer takes to be gathered and written as JSON, and bytes of it besides.
_JSON_ROW_US: Final = 1.5
#: What is joined at once: a millisecond, as new memory is written.
_JOINED_BYTES: Final = 1 << 20


def is_free(shard: Shard) -> bool:
    """Whether a shard may be held: no changes come first, nor does expiry."""
    waits = shard.has_kept_waiting or shard.keeps_expiry_waiting
    return not (shard.is_held or waits)


def must_wait(shard: Shard) -> bool:
    """Whether a long read must not hold it yet: for that, or as a count comes first."""
    return not is_free(shard) or shard.keeps_count_waiting


def objects_written(hits: Hits) -> Generator[bool, None, list[bytes]]:
    """Each row as a JSON object."""
    objects: list[bytes] = []
    step = _rows_of_piece(hits)
    for start in range(0, len(hits.seqs), step):
        objects += row_objects(part_of(hits, start, start + step))
        yield True
    return objects


def list_written(message: JsonList) -> Generator[bool, None, Message]:
    """A message whose items are joined some at a time, and never all: 15 MB took 16 ms."""
    parts = yield from _with_commas(message.items)
    return Message((message.head, *parts, message.tail), True)


def _with_commas(items: Sequence[bytes]) -> Generator[bool, None, list[bytes]]:
    """Texts and what stands between them, joined some at a time."""
    parts: list[bytes] = []
    some: list[bytes] = []
    some_bytes = 0
    for item in items:
        some.append(item)
        some_bytes += len(item)
        if some_bytes >= _JOINED_BYTES:
            parts.append(b",".join(some))
            parts.append(b",")
            some, some_bytes = [], 0
            yield True
    if some:
        parts.append(b",".join(some))
    elif parts:
        parts.pop()
    return parts


def metadata_written(hits: Hits) -> Generator[bool, None, list[bytes]]:
    """Each row's metadata as JSON, with commas, in parts: 5 MB at once took 8 ms."""
    assert hits.metadata is not None
    texts: list[bytes] = []
    step = _rows_of_piece(hits)
    for start in range(0, len(hits.metadata), step):
        texts += metadata_texts(hits.metadata[start : start + step])
        yield True
    return (yield from _with_commas(texts))


def _rows_of_piece(hits: Hits) -> int:
    """How many rows take about a millisecond to write."""
    dim = 0 if hits.vectors is None else hits.vectors.shape[1]
    return max(1, int(1000 / (_JSON_ROW_US + 0.1 * dim)))
