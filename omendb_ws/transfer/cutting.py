"""Chunks of a file into batches, numbered 1, 2, 3 …: the same ones each time the file is read.

That is what makes a load resumable: the server remembers the number of the last batch that went in
(PROTOCOL section 4), and a number means the same rows in the next run. So nothing here may depend
on time, on the network, or on where a run began. A batch ends with its chunk, before it grows too
large, and before an id that it has already: within one request ids are unique, and in a file the
later row replaces the earlier one. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from omendb_core.model.types import F32, I64, Ids

from ..client.ids import are_distinct
from ..files.chunks import BadRow, Chunk
from ..wire.limits import Limits
from .usable import Wanted, as_rows, unusable, unusable_ids, unusable_metadata

#: Changes whenever the same file would be cut otherwise; it stands in the producer's name.
RULE: Final = 2
#: A batch of vectors alone is about this large (see ``client/frames.py`` for why).
BATCH_BYTES: Final = 256 * 1024
#: Bytes of a row beside its vector, as they are counted here: its id, and a typed column or so.
_ROW_OVERHEAD_BYTES: Final = 16
PACED_SECONDS: Final = 0.05
#: Metadata of a batch, as JSON.
_METADATA_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows that go out under one number. ``numbers``: where they stand in the file; ``read``: the
    share of the file up to here, None where that is not known."""

    number: int
    vectors: F32
    ids: Ids | None
    metadata: Sequence[dict[str, Any]] | None
    numbers: I64
    read: float | None

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides where batches begin and end, beside the file: at most ``rows`` rows a batch, and
    which rows are ``wanted``."""

    rows: int
    wanted: Wanted


def plan(
    dim: int,
    capacity: int,
    wanted: Wanted,
    limits: Limits,
    batch_rows: int | None = None,
    rate: float | None = None,
) -> Plan:
    """Return the plan for a collection of ``dim`` and ``capacity`` on a server of ``limits``.

    ``batch_rows``: so many, as far as they fit a message; else BATCH_BYTES of them. With a ``rate``
    no more than come in PACED_SECONDS: a stream comes in drops, not in buckets.
    """
    room = BATCH_BYTES if batch_rows is None else limits.max_message_bytes // 2
    most = [room // (4 * dim + _ROW_OVERHEAD_BYTES), capacity, limits.max_rows]
    if batch_rows is not None:
        most.append(batch_rows)
    if rate is not None:
        most.append(int(rate * PACED_SECONDS))
    return Plan(max(1, min(most)), wanted)


def cut(
    chunks: Iterable[Chunk], wanted: Wanted, found_bad: Callable[[BadRow], None]
) -> Iterator[Batch]:
    """Yield the batches. ``found_bad`` is told of each row left out, in the file's order, and may
    raise; the rows before it were yielded by then."""
    number = 0
    for chunk in chunks:
        vectors = as_rows(chunk.vectors)
        wrong = unusable_metadata(chunk.metadata, wanted) | unusable_ids(chunk.ids)
        wrong |= unusable(vectors, wanted.metric)
        bad = [BadRow(int(chunk.numbers[at]), why) for at, why in wrong.items()]
        bad = sorted([*bad, *chunk.bad])
        good = np.ones(len(vectors), np.bool_)
        good[list(wrong)] = False
        # Rows before the first bad one go out first: the load may end with it.
        first_bad = bad[0].number if bad else None
        for select in _around(chunk.numbers, good, first_bad):
            for part in _parts(chunk, vectors, select):
                number += 1
                yield _numbered(part, number)
            for one in bad:
                found_bad(one)
            bad = []


def _around(numbers: I64, good: Any, first_bad: int | None) -> list[Any]:
    """Masks of the good rows before the first bad one, and of those after it."""
    if first_bad is None:
        return [good]
    before = numbers < first_bad
    return [good & before, good & ~before]


def _parts(chunk: Chunk, vectors: F32, select: Any) -> Iterator[Batch]:
    """The selected rows in batches without a number yet."""
    if not select.any():
        return
    whole = _picked(0, vectors, chunk.ids, chunk.metadata, chunk.numbers, select, chunk.read)
    for start, stop in _limits(whole.ids, whole.metadata, len(whole)):
        if (start, stop) == (0, len(whole)):
            yield whole
            continue
        rows = np.arange(len(whole))
        mask = (rows >= start) & (rows < stop)
        yield _picked(0, whole.vectors, whole.ids, whole.metadata, whole.numbers, mask, whole.read)


def _limits(
    ids: Ids | None, metadata: Sequence[dict[str, Any]] | None, count: int
) -> Iterator[tuple[int, int]]:
    """Where batches begin and end."""
    if metadata is None and (ids is None or are_distinct(ids)):
        yield 0, count
        return
    listed = ids.tolist() if isinstance(ids, np.ndarray) else ids
    start, size_bytes = 0, 0
    seen: set[Any] = set()
    for row in range(count):
        adds = len(orjson.dumps(metadata[row], default=str)) if metadata is not None else 0
        twice = listed is not None and listed[row] in seen
        if row > start and (twice or size_bytes + adds > _METADATA_BYTES):
            yield start, row
            start, size_bytes = row, 0
            seen.clear()
        size_bytes += adds
        if listed is not None:
            seen.add(listed[row])
    yield start, count


def _picked(
    number: int,
    vectors: F32,
    ids: Ids | None,
    metadata: Sequence[dict[str, Any]] | None,
    numbers: I64,
    mask: Any,
    read: float | None,
) -> Batch:
    """A batch of the rows under ``mask``."""
    if mask.all():
        return Batch(number, vectors, ids, metadata, numbers, read)
    rows = np.flatnonzero(mask).tolist()
    picked_ids = [ids[at] for at in rows] if isinstance(ids, list) else ids
    if isinstance(picked_ids, np.ndarray):
        picked_ids = picked_ids[rows]
    return Batch(
        number=number,
        vectors=np.ascontiguousarray(vectors[rows]),
        ids=picked_ids,
        metadata=None if metadata is None else [metadata[at] for at in rows],
        numbers=numbers[rows],
        read=read,
    )


def _numbered(batch: Batch, number: int) -> Batch:
    return Batch(number, batch.vectors, batch.ids, batch.metadata, batch.numbers, batch.read)
