"""Pushes for many subscriptions at once are, byte for byte, those that each would get by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from omendb_core.model.types import Hits, no_hits

from omendb_ws.wire import binary_replies, text_replies
from omendb_ws.wire.messages import Rows
from omendb_ws.wire.rows_together import Together, encode_together

COUNTS = st.lists(st.integers(1, 4), min_size=1, max_size=12)


def hits_of(count: int, ids: str, dim: int, has_metadata: bool) -> Hits:
    random = np.random.default_rng(count)
    seqs = random.integers(1, 2**40, count, dtype=np.uint64)
    metadata: list[Any] | None = None
    if has_metadata:
        metadata = [{"n": one} if one % 2 else b'{"said":"\xc3\xa4"}' for one in range(count)]
    return Hits(
        [f"id \u00e4 {one}" for one in range(count)] if ids == "str" else seqs * np.uint64(5),
        seqs,
        random.standard_normal(count, np.float32),
        metadata,
        random.standard_normal((count, dim), np.float32) if dim else None,
    )


def by_itself(sub: int, told: Together, start: int, end: int, is_binary: bool) -> bytes:
    hits = told.hits
    some = Hits(
        hits.ids[start:end],
        hits.seqs[start:end],
        None if hits.scores is None else hits.scores[start:end],
        None if hits.metadata is None else hits.metadata[start:end],
        None if hits.vectors is None else hits.vectors[start:end],
    )
    rows = Rows(sub, "match", told.version, told.to_seq, some)
    encode = binary_replies.encode_rows if is_binary else text_replies.encode_rows
    return encode(rows)


@given(COUNTS, st.sampled_from(["u64", "str"]), st.sampled_from([0, 1, 3, 4]), st.booleans(),
       st.booleans(), st.integers(0, 2**63))  # fmt: skip
def test_rows_of_many_are_written_as_of_each(
    counts: list[int], ids: str, dim: int, has_metadata: bool, is_binary: bool, version: int
) -> None:
    subs = [2**32 - 1 - 3 * place for place in range(len(counts))]
    hits = hits_of(sum(counts), ids, dim, has_metadata)
    told = Together(subs, np.array(counts), version, version + 7, hits)
    starts = np.cumsum(counts) - counts
    assert encode_together(told, is_binary) == [
        by_itself(sub, told, start, start + count, is_binary)
        for sub, start, count in zip(subs, starts.tolist(), counts, strict=True)
    ]


@given(st.integers(1, 9), st.booleans())
def test_so_are_pushes_that_hold_no_row(count: int, is_binary: bool) -> None:
    told = Together(list(range(count)), np.zeros(count, np.int64), 5, 2**60, no_hits())
    expected = [by_itself(sub, told, 0, 0, is_binary) for sub in range(count)]
    assert encode_together(told, is_binary) == expected
