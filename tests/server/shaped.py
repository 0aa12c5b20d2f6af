"""A shaped search asked in text and in binary, and what the two say of each row."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from omendb_core.model.types import Include

from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results

from .raw import Raw

#: Fields of a SEARCH that the codec has arguments for; all others shape.
_NOT_SHAPING = ("vector", "vectors", "k", "filter", "min_score", "include", "last")


class Row(NamedTuple):
    """``score`` and ``weight`` as float32; ``rank`` and ``weight`` None for null or not there."""

    id: int | str
    seq: int
    score: float
    rank: float | None
    weight: float | None


class Found(NamedTuple):
    """An answer; ``keys`` are the names of what each row of the JSON held."""

    rows: list[Row]
    at: float | None
    version: int
    keys: frozenset[str]

    @property
    def ids(self) -> list[int | str]:
        return [row.id for row in self.rows]


async def both(raw: Raw, handle: int, **fields: Any) -> Found:
    """Ask in text and in binary, at one version; the answer, which is the same to the bit."""
    ok = await raw.ok("search", collection="items", **fields)
    asked = fields if ok.get("at") is None else {**fields, "at": ok["at"]}
    results = await ask_binary(raw, handle, **asked)
    assert isinstance(results, Results), results
    rows = [row_of(one) for one in ok["results"]]
    found = Found(
        rows,
        ok.get("at"),
        ok["version"],
        frozenset(*{frozenset(one) for one in ok["results"]} or {frozenset()}),
    )
    assert rows_of(results) == rows
    assert (results.version, results.at) == (found.version, found.at)
    return found


async def ask_binary(raw: Raw, handle: int, **fields: Any) -> Any:
    """The reply to a SEARCH with the fields that a text would have."""
    id_ = raw.next_id()
    given = [fields["vector"]] if "vector" in fields else fields.get("vectors")
    include = Include(*(name in fields.get("include", ()) for name in ("metadata", "vector")))
    frame = binary.encode_search(
        id_,
        handle,
        None if given is None else np.array(given, np.float32),
        fields.get("k", 10),
        fields.get("filter"),
        fields.get("min_score"),
        include,
        fields.get("last"),
        {name: value for name, value in fields.items() if name not in _NOT_SHAPING},
    )
    await raw.send_binary(frame)
    return await raw.reply(id_)


def row_of(row: Mapping[str, Any]) -> Row:
    """A row of a JSON answer."""
    weight = row.get("weight")
    return Row(
        row["id"],
        row["seq"],
        f32(row["score"]),
        row.get("rank"),
        None if weight is None else f32(weight),
    )


def rows_of(results: Results) -> list[Row]:
    """The rows of a binary answer."""
    hits = results.hits
    count = len(hits.seqs)
    assert hits.scores is not None
    columns: list[Sequence[Any]] = [
        hits.ids if isinstance(hits.ids, list) else hits.ids.tolist(),
        hits.seqs.tolist(),
        hits.scores.tolist(),
        _or_none(hits.ranks, count),
        _or_none(hits.weights, count),
    ]
    return [Row(*one) for one in zip(*columns, strict=True)]


def _or_none(values: Any, count: int) -> list[float | None]:
    if values is None:
        return [None] * count
    return [None if np.isnan(one) else float(one) for one in values]


def f32(value: float) -> float:
    """``value`` rounded to float32."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded
