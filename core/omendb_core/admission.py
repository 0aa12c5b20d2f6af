"""Admission: from what a client asks to a change that says everything.

Knows a definition and what was admitted so far (the last version, seq, time and batches), nothing
of what the window holds: an add can be admitted, and logged, before the adds ahead of it are
applied. Every admitted change, and every replayed one, passes ``observe`` exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from . import ids as ids_room
from . import score
from .change import AddChange, AddRequest, Change, Repeated, RowBatch
from .columns import TEXT_OVERHEAD_BYTES
from .errors import BadId, DimMismatch, DuplicateId, OmenError, TooLarge
from .metadata import check_columns, from_metadata, merge
from .packed import NO_PAYLOAD, PackedPayloads, packed
from .producers import Producers
from .replay import Checkpoint
from .types import Column, Definition, Ids, WindowLimits


class Admission:
    """What one window has admitted: ``version``, ``last_seq``, ``time_us``, ``producers``."""

    def __init__(self, definition: Definition, limits: WindowLimits) -> None:
        self.definition = definition
        self.limits = limits
        self.version = 0
        self.last_seq = 0
        self.time_us = 0
        self.producers = Producers(limits.max_producers)

    def add(self, request: AddRequest, now_us: int) -> AddChange | Repeated:
        """The change that an add becomes, or what is known of a repeated batch.

        The batch is looked at before the rows (PROTOCOL section 4). Nothing is remembered yet:
        the caller passes the change to ``observe`` once it is sure to go on. Raises OmenError.
        """
        if request.producer is not None and request.batch is not None:
            repeated = self.producers.look(request.producer, request.batch)
            if repeated is not None:
                return repeated
        if isinstance(request.rows, OmenError):
            raise request.rows
        rows = request.rows
        self._check_shape(rows)
        check_ids(rows.ids, self.definition, len(rows.vectors))
        payloads = None
        if rows.payloads is not None:
            payloads = checked_payloads(rows.payloads, self.limits.max_metadata_bytes)
        vectors = score.prepare(rows.vectors, self.definition.metric)
        return AddChange(
            version=self.version + 1,
            time_us=self.time(now_us),
            first_seq=self.last_seq + 1,
            vectors=vectors,
            ids=rows.ids,
            columns=self._columns(rows),
            payloads=payloads,
            producer=request.producer,
            batch=request.batch,
        )

    def time(self, now_us: int) -> int:
        """``now_us``, or the time of the last change if the clock went back."""
        return max(now_us, self.time_us)

    def observe(self, change: Change) -> None:
        """Remember a change as admitted; in order, each once. After a fault nothing is."""
        last_seq = self.last_seq
        if isinstance(change, AddChange):
            last_seq = change.first_seq + len(change.vectors) - 1
            if change.producer is not None and change.batch is not None:
                self.producers.accept(change.producer, change.batch, change.first_seq, last_seq)
        self.version, self.time_us, self.last_seq = change.version, change.time_us, last_seq

    def resume(self, checkpoint: Checkpoint) -> None:
        """Stand where ``checkpoint`` stands; whatever was admitted since is forgotten."""
        self.version = checkpoint.version
        self.last_seq = checkpoint.last_seq
        self.time_us = checkpoint.time_us
        self.producers.resume(checkpoint.producers)

    def _check_shape(self, rows: RowBatch) -> None:
        count, dim = rows.vectors.shape
        if dim != self.definition.dim:
            raise DimMismatch(
                f"vectors have {dim} dimensions, the collection {self.definition.dim}", row=0
            )
        most = min(self.limits.max_rows, self.definition.capacity)
        if count > most:
            raise TooLarge(f"{count} rows in one add; at most {most} here")

    def _columns(self, rows: RowBatch) -> Mapping[str, Column]:
        declared = self.definition.columns
        check_columns(rows.columns, declared, len(rows.vectors))
        if rows.metadata is None:
            return rows.columns
        typed = from_metadata(rows.metadata, declared)
        return merge(typed, rows.columns)


def check_ids(ids: Ids | None, definition: Definition, count: int) -> None:
    """Refuse ids of another kind than the definition's, and the same id twice.

    Raises BadId, or DuplicateId with the row of the second one.
    """
    if definition.ids == "auto":
        if ids is not None:
            raise BadId("ids: this collection numbers its rows itself (ids: auto)", row=0)
        return
    if ids is None:
        raise BadId(f"ids: required, of kind {definition.ids}", row=0)
    if isinstance(ids, list) != (definition.ids == "str"):
        raise BadId(f"ids: of another kind than the collection's ({definition.ids})", row=0)
    if len(ids) != count:
        raise BadId(f"ids: {len(ids)} of them for {count} rows")
    twice = ids_room.first_duplicate(ids)
    if twice is not None:
        raise DuplicateId(f"ids: {ids[twice]!s} stands twice in this request", row=twice)


def checked_payloads(payloads: Sequence[bytes | None], max_metadata_bytes: int) -> PackedPayloads:
    """``payloads`` as one; TooLarge, with its row, for one over ``max_metadata_bytes``."""
    together = packed(payloads)
    if len(together.data) <= max_metadata_bytes:
        return together
    too_long = (together.lengths > max_metadata_bytes) & (together.lengths != NO_PAYLOAD)
    if too_long.any():
        row = int(too_long.argmax())
        raise TooLarge(
            f"metadata: {together.lengths[row]} bytes as compact JSON; at most"
            f" {max_metadata_bytes}",
            row=row,
        )
    return together


def str_id_bytes(ids: Ids | None) -> int:
    """UTF-8 bytes of string ids; 0 for other kinds."""
    return sum(len(text.encode()) for text in ids) if isinstance(ids, list) else 0


def dictionary_bytes(columns: Mapping[str, Column]) -> int:
    """Bytes that the distinct texts of a batch add to the dictionaries, at most."""
    return sum(
        len(text.encode()) + TEXT_OVERHEAD_BYTES
        for column in columns.values()
        if not isinstance(column, np.ndarray)
        for text in column.dictionary
    )
