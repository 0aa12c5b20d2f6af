"""The rows of a long ``add`` or ``update``, read some at a time: generators that yield between.

Step by step what ``rows.parse_rows``, ``parse_updates`` and ``complete_payloads`` do, each step
over all rows before the next: so the error is theirs where several rows have faults of different
kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final, TypeVar

import numpy as np
from omendb_core.model.change import RowBatch, UpdateRequest
from omendb_core.model.errors import OmenError
from omendb_core.model.packed import PackedPayloads
from omendb_core.model.types import Column, Definition, IdKind, Ids, StrColumn

from . import rows as row_room
from . import vectors as vector_room
from .limits import Limits

#: Rows in one step: 2 µs each where they are small, and ``counts`` bounds those that are not.
_MOST_ROWS: Final = 512

Result = TypeVar("Result")
Steps = Generator[None, None, Result]


def parse_rows(
    rows: list[Any], counts: Sequence[int], definition: Definition, limits: Limits
) -> Steps[RowBatch]:
    """As ``rows.parse_rows``; ``counts``: how many rows stood together in a piece of the text."""
    ends = _ends(counts)
    yield from _over(rows, ends, lambda some: row_room.check_objects(some, row_room.ROW_FIELDS))
    given_vectors = _joined(
        (yield from _over(rows, ends, lambda some: row_room.required(some, "vector")))
    )
    vectors = yield from _over(
        given_vectors, ends, lambda some: vector_room.from_lists(some, "vector", definition.dim)
    )
    given = yield from _over(rows, ends, lambda some: row_room.given_ids(some, definition.ids))
    ids = None
    if definition.ids != "auto":
        ids = yield from _ids(_joined(given), ends, definition.ids)
    metadata, payloads = yield from _metadata(rows, ends, limits)
    return RowBatch(np.concatenate(vectors), ids, {}, metadata, payloads)


def parse_updates(
    rows: list[Any], counts: Sequence[int], definition: Definition, limits: Limits
) -> Steps[UpdateRequest]:
    """As ``rows.parse_updates``."""
    ends = _ends(counts)
    yield from _over(rows, ends, lambda some: row_room.check_objects(some, row_room.UPDATE_FIELDS))
    given = yield from _over(rows, ends, lambda some: row_room.required(some, "id"))
    ids = yield from _ids(_joined(given), ends, definition.ids)
    yield from _over(rows, ends, lambda some: row_room.required(some, "metadata"))
    metadata, payloads = yield from _metadata(rows, ends, limits)
    return UpdateRequest(ids, metadata or [{}] * len(rows), payloads or [None] * len(rows))


def complete_payloads(rows: RowBatch, limits: Limits) -> Steps[RowBatch]:
    """As ``rows.complete_payloads``."""
    if rows.metadata is None:
        return row_room.complete_payloads(rows, limits)
    if row_room.may_exceed(rows.columns, limits.max_metadata_bytes):
        for start, some in _row_pieces(rows):
            _with_row(start, row_room.check_bare, some, limits)
            yield
    if not any(rows.metadata):
        return replace(rows, metadata=None, payloads=None)
    made = []
    for start, some in _row_pieces(rows):
        made.append(_with_row(start, row_room.payloads_of_rows, some, limits))
        yield
    data = b"".join(some.data for some in made)
    lengths = np.concatenate([some.lengths for some in made])
    return replace(rows, payloads=PackedPayloads(data, lengths))


def _row_pieces(rows: RowBatch) -> Iterator[tuple[int, RowBatch]]:
    """Some of the rows at a time, without their ids, and which of all is the first."""
    assert rows.metadata is not None
    for start in range(0, len(rows.vectors), _MOST_ROWS):
        here = slice(start, start + _MOST_ROWS)
        columns = {name: _part(column, here) for name, column in rows.columns.items()}
        yield start, RowBatch(rows.vectors[here], None, columns, rows.metadata[here])


def _part(column: Column, here: slice) -> Column:
    if isinstance(column, StrColumn):
        return StrColumn(column.codes[here], column.dictionary)
    part: Column = column[here]
    return part


def _with_row(start: int, call: Callable[..., Result], *arguments: Any) -> Result:
    """What ``call`` returns for rows from ``start`` on. Its errors, with the row among all."""
    try:
        return call(*arguments)
    except OmenError as error:
        if error.row is not None:
            error.row += start
        raise


def _ends(counts: Sequence[int]) -> list[int]:
    """Where each step ends."""
    ends: list[int] = []
    start = 0
    for count in counts:
        ends += range(start + _MOST_ROWS, start + count, _MOST_ROWS)
        start += count
        ends.append(start)
    return ends


def _over(
    items: list[Any], ends: Sequence[int], call: Callable[[list[Any]], Result]
) -> Steps[list[Result]]:
    """What ``call`` makes of each step's items. Its errors, with the row among all."""
    made, start = [], 0
    for end in ends:
        if end > start:
            made.append(_with_row(start, call, items[start:end]))
            start = end
            yield
    return made


def _joined(lists: Sequence[list[Any] | None]) -> list[Any]:
    return list(chain.from_iterable(some for some in lists if some is not None))


def _ids(given: list[Any], ends: Sequence[int], kind: IdKind) -> Steps[Ids]:
    made = yield from _over(given, ends, lambda some: row_room.parse_ids(some, kind, "id"))
    return _joined(made) if kind == "str" else np.concatenate(made)  # type: ignore[arg-type]


def _metadata(
    rows: list[Any], ends: Sequence[int], limits: Limits
) -> Steps[tuple[list[dict[str, Any]] | None, PackedPayloads | None]]:
    objects = _joined((yield from _over(rows, ends, row_room.metadata_objects)))
    if not any(objects):
        return None, None
    made = yield from _over(objects, ends, lambda some: row_room.payloads_of(some, limits))
    data = b"".join(some.data for some in made)
    return objects, PackedPayloads(data, np.concatenate([some.lengths for some in made]))
