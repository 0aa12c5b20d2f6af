"""The kinds of binary messages: headers, flags, sections (PROTOCOL section 7).

Part of THE table (``opcodes.py`` hands them on); ``frames.py`` lays messages out by it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

from .op_table import TRACEPARENT

MAGIC: Final = 0xDB
PROTOCOL_BYTE: Final = 1
#: magic, protocol, kind, flags, id, handle, n, dim, k, json_bytes, took_us.
HEADER: Final = struct.Struct("<BBBBIIIIIII")
HEADER_BYTES: Final = HEADER.size
HEADER_FIELDS: Final = (
    "magic", "protocol", "kind", "flags", "id", "handle", "n", "dim", "k", "json_bytes", "took_us",
)  # fmt: skip
#: Every section is padded with zeros to a multiple of this.
ALIGNMENT: Final = 8


@dataclass(frozen=True, slots=True)
class Section:
    """An array of a binary message: little-endian ``dtype``, ``shape`` in ``n``, ``k``, ``dim``.

    ``flag``: there only with that flag bit. ``unless_json``: not there if the JSON section has
    this field.
    """

    name: str
    dtype: str
    shape: tuple[str, ...]
    flag: int = 0
    unless_json: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of binary message (PROTOCOL section 7).

    ``flags``: bit -> what it says. ``header``: the fields from ``handle`` on that it uses; the
    others are 0. ``json``: fields that its JSON section may have. ``columns_flag``: the bit with
    which one array [n] per name in JSON ``columns`` follows the sections. With the field
    ``empty_with`` in the JSON section ``n`` is 0, without it 1 or more, or if it ``may_be_empty``
    any number.
    """

    number: int
    name: str
    direction: Literal["request", "reply", "push"]
    header: tuple[str, ...]
    sections: tuple[Section, ...]
    json: tuple[str, ...] = ()
    flags: Mapping[int, str] = field(default_factory=dict)
    columns_flag: int = 0
    empty_with: str = ""
    may_be_empty: bool = False

    @property
    def flag_bits(self) -> int:
        """Every flag that it knows."""
        return sum(self.flags)


#: Flag bits of ADD, of ADDED, of ROWS, and of every answer with rows.
FLAG_IDS: Final = 1
FLAG_COLUMNS: Final = 2
FLAG_DUPLICATE: Final = 1
FLAG_COMPARED: Final = 2
FLAG_MATCH: Final = 1
FLAG_VECTORS: Final = 2
FLAG_RANKS: Final = 4
#: Of SNAPSHOT.
FLAG_LAST: Final = 1

#: type of a column -> dtype of its array in ADD.
COLUMN_DTYPES: Final[Mapping[str, str]] = MappingProxyType(
    {"f64": "<f8", "i64": "<i8", "bool": "|u1", "str": "<u4"}
)
#: number -> reason of a leaving row in LIVE.
LEAVE_REASONS: Final = (
    "displaced", "evicted", "expired", "replaced", "deleted", "filtered", "updated",
)  # fmt: skip


_VERSION = Section("version", "<u8", ("1",))


def _hits(count: str) -> tuple[Section, ...]:
    return (
        Section("ids", "<u8", (count,), unless_json="ids"),
        Section("seqs", "<u8", (count,)),
        Section("scores", "<f4", (count,)),
        Section("ranks", "<f8", (count,), flag=FLAG_RANKS),
        Section("vectors", "<f4", (count, "dim"), flag=FLAG_VECTORS),
    )


_QUERIES = Section("vectors", "<f4", ("n", "dim"))
_KINDS = (
    Kind(
        1, "ADD", "request", ("handle", "n", "dim", "json_bytes"),
        (Section("ids", "<u8", ("n",), flag=FLAG_IDS), _QUERIES),
        json=("columns", "dictionaries", "metadata", "ids", "producer", "batch", "unless_near",
              TRACEPARENT),
        flags={FLAG_IDS: "ids as u64", FLAG_COLUMNS: "columns"}, columns_flag=FLAG_COLUMNS,
    ),
    Kind(
        2, "ADDED", "reply", ("json_bytes",),
        (_VERSION, Section("first_seq", "<u8", ("1",)), Section("last_seq", "<u8", ("1",))),
        json=("skipped", "near", "shards"),
        flags={FLAG_DUPLICATE: "duplicate", FLAG_COMPARED: "compared"},
    ),
    Kind(
        3, "SEARCH", "request", ("handle", "n", "dim", "k", "json_bytes"), (_QUERIES,),
        json=(
            "filter", "min_score", "include", "last", "positive", "negative", "exclude", "decay",
            "rank", "group", "spread", "mmr", "at", "min_version", "epoch", TRACEPARENT,
        ),
        empty_with="positive",
    ),
    Kind(
        4, "RESULTS", "reply", ("n", "dim", "k", "json_bytes", "took_us"),
        (_VERSION, Section("counts", "<u4", ("n",)), *_hits("k")),
        json=("metadata", "ids", "subs", "at", "weights", "to_seq", "to_seqs", "versions"),
        flags={FLAG_VECTORS: "vectors", FLAG_RANKS: "ranks"},
    ),
    Kind(
        5, "LIVE", "push", ("n", "dim", "k", "json_bytes"),
        (_VERSION, *_hits("n"), Section("leave_seqs", "<u8", ("k",)),
         Section("leave_reasons", "|u1", ("k",))),
        json=("metadata", "ids", "versions"),
        flags={FLAG_VECTORS: "vectors", FLAG_RANKS: "ranks"},
    ),
    Kind(
        6, "ROWS", "push", ("n", "dim", "json_bytes"),
        (_VERSION, Section("to_seq", "<u8", ("1",)),
         *(replace(one, flag=FLAG_MATCH) if one.name == "scores" else one
           for one in _hits("n") if one.name != "ranks")),
        json=("metadata", "ids", "near", "shard"),
        flags={FLAG_MATCH: "match or novel, with scores", FLAG_VECTORS: "vectors"},
    ),
    Kind(
        7, "SUBSCRIBE", "request", ("handle", "n", "dim", "k", "json_bytes"), (_QUERIES,),
        json=(
            "kind", "filter", "min_score", "include", "every", "encoding", "positive", "negative",
            "exclude", "decay", "rank", "group", "spread", "min_version", "epoch",
        ),
        empty_with="positive",
    ),
    Kind(
        8, "MOVE", "request", ("handle", "n", "dim", "json_bytes"), (_QUERIES,),
        json=("positive", "negative", "exclude", "filter", "min_score"),
        empty_with="positive", may_be_empty=True,
    ),
    Kind(
        9, "SNAPSHOT", "reply", ("n",), (Section("data", "|u1", ("n",)),),
        flags={FLAG_LAST: "the last"},
    ),
    Kind(
        10, "RESTORE", "request", ("handle", "n"), (Section("data", "|u1", ("n",)),),
    ),
)  # fmt: skip

#: number -> its row of PROTOCOL section 7.
KINDS: Final[Mapping[int, Kind]] = MappingProxyType({one.number: one for one in _KINDS})
#: The same by name.
KIND_NUMBERS: Final[Mapping[str, int]] = MappingProxyType({one.name: one.number for one in _KINDS})
