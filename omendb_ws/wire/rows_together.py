"""Pushes of rows for many subscriptions at once, each as ``encode_rows`` would write it.

What a row is written as is found once for all of them. Binary pushes without JSON are written as
arrays, those of equally many rows together: a push takes 0.3 µs so, and 9 µs by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.types import I64, Hits, no_hits

from .encoded import Message, Messages, Run
from .frames import Header, pack, padded
from .hits import id_texts, metadata_texts, row_objects
from .opcodes import (
    FLAG_MATCH,
    FLAG_VECTORS,
    HEADER_BYTES,
    KIND_NUMBERS,
    MAGIC,
    PROTOCOL_BYTE,
)

_ROWS: Final = KIND_NUMBERS["ROWS"]
#: Where the subscription stands in a header.
_SUB_AT: Final = 4
#: Behind the header: the version and the last seq.
_TOLD_BYTES: Final = 16


class Together(NamedTuple):
    """What some match subscriptions are told at ``version``: each everything up to ``to_seq``.

    ``hits`` are those of the first of ``subs``, then of the second, ``counts`` int64 of each.
    """

    subs: list[int]
    counts: I64
    version: int
    to_seq: int
    hits: Hits


def encode_together(told: Together, is_binary: bool) -> list[bytes]:
    """A message for each."""
    if not is_binary:
        return list(_texts(told))
    if isinstance(told.hits.ids, list) or told.hits.metadata is not None:
        return list(_with_json(told))
    return _bare(told)


def silent(subs: list[int], version: int, to_seq: int, is_binary: bool) -> list[Messages]:
    """Messages without rows: every row up to ``to_seq`` was none for these subscriptions."""
    told = Together(subs, np.zeros(len(subs), np.int64), version, to_seq, no_hits())
    if not is_binary:
        return [Message((data,), True) for data in _texts(told)]
    whole = _of_equal_length(told, 0, np.array(subs, "<u4"), told.counts)
    return [Run(whole.tobytes(), whole.shape[1])]


def _places(told: Together) -> Iterator[tuple[int, int, int]]:
    """Each subscription, and where its rows begin and end."""
    ends = accumulate(told.counts.tolist(), initial=0)
    for sub, (start, end) in zip(told.subs, pairwise(ends), strict=True):
        yield sub, start, end


def _texts(told: Together) -> Iterator[bytes]:
    objects = row_objects(told.hits)
    form = b'{"event":"match","sub":%%d,"version":%d,"to_seq":%d,"rows":[%%b]}' % (
        told.version, told.to_seq,
    )  # fmt: skip
    for sub, start, end in _places(told):
        yield form % (sub, b",".join(objects[start:end]))


def _with_json(told: Together) -> Iterator[bytes]:
    hits = told.hits
    metadata = None if hits.metadata is None else metadata_texts(hits.metadata)
    ids = id_texts(hits.ids) if isinstance(hits.ids, list) else None
    said = np.array([told.version, told.to_seq], "<u8")
    for sub, start, end in _places(told):
        parts = []
        if metadata is not None:
            parts.append(b'"metadata":[%b]' % b",".join(metadata[start:end]))
        if ids is not None:
            parts.append(b'"ids":[%b]' % b",".join(ids[start:end]))
        json = b"{%b}" % b",".join(parts)
        arrays = [said, *(one[start:end] for one in _arrays(hits))]
        yield pack(_header(told, sub, end - start, len(json)), json, arrays)


def _arrays(hits: Hits) -> list[NDArray[Any]]:
    """What stands behind version and last seq, in order."""
    arrays: list[Any] = [hits.seqs, hits.scores]
    if not isinstance(hits.ids, list):
        arrays.insert(0, hits.ids)
    if hits.vectors is not None:
        arrays.append(hits.vectors)
    return arrays


def _header(told: Together, sub: int, count: int, json_bytes: int) -> Header:
    vectors = told.hits.vectors
    flags, dim = (FLAG_VECTORS, vectors.shape[1]) if vectors is not None else (0, 0)
    return Header(
        MAGIC, PROTOCOL_BYTE, _ROWS, flags | FLAG_MATCH, sub, 0, count, dim, 0, json_bytes, 0
    )


def _bare(told: Together) -> list[bytes]:
    starts = np.cumsum(told.counts) - told.counts
    subs = np.array(told.subs, "<u4")
    messages: list[bytes] = [b""] * len(subs)
    for count in np.unique(told.counts).tolist():
        these = np.flatnonzero(told.counts == count)
        whole = _of_equal_length(told, count, subs[these], starts[these])
        length = whole.shape[1]
        text = whole.tobytes()
        for number, place in enumerate(these.tolist()):
            messages[place] = text[number * length : (number + 1) * length]
    return messages


def _of_equal_length(told: Together, count: int, subs: Any, starts: I64) -> NDArray[np.uint8]:
    """The messages of subscriptions with ``count`` rows each, uint8 (n, their length)."""
    rows = starts[:, None] + np.arange(count)
    sections = [
        one[rows].reshape(len(subs), -1).view(np.uint8) for one in _arrays(told.hits)
    ] if count else []  # fmt: skip
    length = HEADER_BYTES + _TOLD_BYTES + sum(padded(one.shape[1]) for one in sections)
    whole = np.zeros((len(subs), length), np.uint8)
    head = pack(_header(told, 0, count, 0), b"", [np.array([told.version, told.to_seq], "<u8")])
    whole[:, : len(head)] = np.frombuffer(head, np.uint8)
    whole[:, _SUB_AT : _SUB_AT + 4] = subs.view(np.uint8).reshape(-1, 4)
    at = len(head)
    for one in sections:
        whole[:, at : at + one.shape[1]] = one
        at += padded(one.shape[1])
    return whole
