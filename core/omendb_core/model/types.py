"""The shapes and dtypes that the whole engine speaks, in one place.

Knows nothing of the rest. Every array in the engine is C-contiguous and little-endian.

=============  ==========================  =====================================================
name           dtype, shape                meaning
=============  ==========================  =====================================================
vectors        float32 (n, dim)            rows, or queries
scores         float32 (n,)                larger is nearer (PROTOCOL section 3)
seqs           uint64 (n,)                 sequence numbers, from 1
slots          int64 (n,)                  positions in the ring, (seq - 1) mod capacity
mask words     uint64 (ceil(capacity/64))  bit b of word w stands for slot 64 w + b; tail bits 0
=============  ==========================  =====================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Bool1: TypeAlias = NDArray[np.bool_]
C128: TypeAlias = NDArray[np.complex128]
F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
I64: TypeAlias = NDArray[np.int64]
U8: TypeAlias = NDArray[np.uint8]
U32: TypeAlias = NDArray[np.uint32]
U64: TypeAlias = NDArray[np.uint64]

Metric = Literal["cosine", "dot", "l2"]
IdKind = Literal["auto", "u64", "str"]
ColumnType = Literal["f64", "i64", "bool", "str"]

METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
ID_KINDS: Final[tuple[IdKind, ...]] = get_args(IdKind)
COLUMN_TYPES: Final[tuple[ColumnType, ...]] = get_args(ColumnType)

#: The null of a ``str`` column's codes, on the wire and in memory (PROTOCOL section 7).
NULL_CODE: Final = 2**32 - 1
#: The largest integer that a JSON number carries safely, and the bound of ``i64`` values.
MAX_SAFE_INTEGER: Final = 2**53 - 1
#: What JSON's integers may be here: beyond it, parsers make them floats.
MIN_JSON_INTEGER: Final = -(2**63)
MAX_JSON_INTEGER: Final = 2**64 - 1
#: Levels of objects and lists in a row's metadata, itself the first. Everything that reads JSON
#: reads that, with what stands around it: the strictest parsers stop at 64, orjson writes 254.
MAX_METADATA_LEVELS: Final = 32

#: Ids of rows: ``uint64 (n,)`` for ``u64`` and ``auto`` (where the id is the seq), else strings.
Ids: TypeAlias = U64 | list[str]


class Include(NamedTuple):
    """What an answer carries of each row besides id, seq and score."""

    metadata: bool = False
    vector: bool = False


@dataclass(frozen=True, slots=True)
class StrColumn:
    """One ``str`` column of a batch: ``codes`` uint32 (n,) into ``dictionary``; null: NULL_CODE."""

    codes: U32
    dictionary: tuple[str, ...]


#: One typed column of a batch of rows: ``f64`` as float64 (NaN is null), ``i64`` as int64 with
#: ``NULL_INTEGER`` as null, ``bool`` as uint8 (0, 1, and ``NULL_BOOLEAN``), ``str`` as StrColumn.
Column: TypeAlias = F64 | I64 | U8 | StrColumn
NULL_INTEGER: Final = -(2**63)
NULL_BOOLEAN: Final = 255


@dataclass(frozen=True, slots=True)
class Hits:
    """Rows of an answer, flat: query after query, or one list.

    ``ids`` uint64 (m,) or m strings; ``seqs`` uint64 (m,); ``scores`` float32 (m,) where the rows
    were scored; ``metadata`` one for each row: compact JSON as bytes, or an object; ``vectors``
    float32 (m, dim). The last two where ``include`` asked for them. Where ``decay`` or ``rank``
    ordered the rows, ``ranks`` float64 (m,), NaN for null; where ``decay`` did, in searches and
    snapshots, ``weights`` float32 (m,), NaN for null. ``near``: of new rows, the id of the best row
    before each; whatever where its score is -inf.
    """

    ids: Ids
    seqs: U64
    scores: F32 | None = None
    metadata: Sequence[bytes | dict[str, Any]] | None = None
    vectors: F32 | None = None
    ranks: F64 | None = None
    weights: F32 | None = None
    near: Ids | None = None


def no_hits() -> Hits:
    """An empty answer."""
    return Hits(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class CountsBy:
    """``count`` rows at ``version`` by the values of a column; ``others`` have none of ``values``.

    ``counts`` say how many rows have each; values are numbers, booleans or texts, None for null.
    """

    version: int
    count: int
    values: list[Any]
    counts: list[int]
    others: int


@dataclass(frozen=True, slots=True)
class Definition:
    """What a window is; fixed for its life (PROTOCOL section 3)."""

    dim: int
    capacity: int
    metric: Metric = "cosine"
    ids: IdKind = "u64"
    columns: Mapping[str, ColumnType] = field(default_factory=dict)
    ttl_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """The bounds that one window keeps by itself (PROTOCOL section 9)."""

    max_rows: int = 16_384
    max_metadata_bytes: int = 4_096
    max_producers: int = 10_000
    max_payload_bytes: int = 1 << 30
