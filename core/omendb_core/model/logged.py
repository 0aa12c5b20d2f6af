"""What a log holds beside changes: where a window stood, and live rows written again.

A log need not reach back to the first row. It starts at a ``Checkpoint``, and ``KeptRows`` let it
drop what lies before them: a stretch of seqs with its live rows, as they were at that version. They
change nothing in a window that holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .packed import PackedPayloads
from .types import F32, I64, U64, Column, Ids

#: A producer, the number of its last batch, and first and last seq of those that are remembered.
ProducerState: TypeAlias = tuple[str, int, Sequence[tuple[int, int]]]


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
    producers: Sequence[ProducerState] = ()


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
