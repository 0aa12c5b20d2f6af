"""Requests for changes, and the changes they become.

A request is what a client asked for; ``Window.admit_*`` validates it and turns it into a change:
normalised, stamped with time, version and seqs. ``Window.apply`` takes a change as it is: it never
reads a clock, never normalises, never refuses. A change therefore says everything that a replay
needs, and nothing else (DESIGN "Admit, then apply").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .errors import OmenError
from .packed import PackedPayloads
from .types import F32, U64, Column, Ids


@dataclass(frozen=True, slots=True)
class RowBatch:
    """The rows of one add as they came, not yet looked into.

    ``vectors`` float32 (n, dim), often a view on the received frame; ``ids`` None for ``auto``.
    ``columns`` are typed arrays (n,) from a binary frame. ``metadata`` are the parsed objects, and
    ``payloads`` the same objects as compact JSON: *complete* metadata, columns of the frame
    included; None stands for a row whose metadata is exactly its non-null ``columns``. ``typed`` is
    what ``rows.metadata`` makes of ``metadata``, where somebody had it made before.
    """

    vectors: F32
    ids: Ids | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    metadata: Sequence[Mapping[str, Any] | None] | None = None
    payloads: Sequence[bytes | None] | None = None
    typed: Mapping[str, Column] | None = None


@dataclass(frozen=True, slots=True)
class AddRequest:
    """``rows`` may be an error found while decoding: a repeated batch is answered before it."""

    rows: RowBatch | OmenError
    producer: str | None = None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """New metadata for rows by id; ``payloads`` are ``metadata`` as compact JSON, None for {}.

    ``typed``: as ``RowBatch`` has it.
    """

    ids: Ids
    metadata: Sequence[Mapping[str, Any]]
    payloads: Sequence[bytes | None]
    typed: Mapping[str, Column] | None = None


@dataclass(frozen=True, slots=True)
class AddChange:
    """Rows ``first_seq … first_seq + n - 1``, normalised. ``payloads`` None: no row has one.

    One without rows is a producer's batch of which no row went in: its number is used up, and the
    version stays what it was.
    """

    version: int
    time_us: int
    first_seq: int
    vectors: F32
    ids: Ids | None
    columns: Mapping[str, Column]
    payloads: PackedPayloads | None
    producer: str | None
    batch: int | None

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing but what is known of its producer."""
        return not len(self.vectors)


@dataclass(frozen=True, slots=True)
class DeleteChange:
    """The live rows ``seqs`` leave the window."""

    version: int
    time_us: int
    seqs: U64


@dataclass(frozen=True, slots=True)
class UpdateChange:
    """The live rows ``seqs`` get other metadata."""

    version: int
    time_us: int
    seqs: U64
    columns: Mapping[str, Column]
    payloads: PackedPayloads


@dataclass(frozen=True, slots=True)
class ExpireChange:
    """``first_seq := first_seq``: every row below it leaves the window."""

    version: int
    time_us: int
    first_seq: int


Change: TypeAlias = AddChange | DeleteChange | UpdateChange | ExpireChange


def version_before(change: Change) -> int:
    """The version of the window that ``change`` is for."""
    is_empty = isinstance(change, AddChange) and change.is_empty
    return change.version if is_empty else change.version - 1


@dataclass(frozen=True, slots=True)
class Repeated:
    """What ``admit_add`` answers for a batch it has already; the seqs where still known."""

    first_seq: int | None
    last_seq: int | None


class NotCaughtUp(Exception):
    """A request that can only be looked at once every change ahead of it is applied."""
