"""Rows of answers as JSON text, for text replies and for the JSON sections of binary ones.

A float32 is written so that whoever parses it as a double and rounds to float32 has its bits again.
Integer ids above 2**53 - 1 become strings. Metadata that is already compact JSON is copied as it
is, never parsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.model.types import F32, MAX_SAFE_INTEGER, Hits, Ids

_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
#: The shortest decimal of a float32 gives its bits back through a double for every one of the
#: 2**32 but this (all were tried): as a double it is the midpoint to the next, and ties go to even.
_ROUNDED_TWICE: Final = b"7.038531e-26"
_ROUNDED_ONCE: Final = b"7.0385307e-26"
#: What orjson returns keeps the room that it was written into, 4 KiB more than the text: forty
#: times as much as an error reply, which waits in an outbox until somebody reads. From here on it
#: is a quarter, and a copy costs more than 1 µs.
_EXACT_BELOW_BYTES: Final = 16 << 10


def dumps(value: Any) -> bytes:
    """Compact JSON; numpy arrays and scalars included. It may be kept: it takes what it holds."""
    text = orjson.dumps(value, option=_NUMPY)
    return bytes(memoryview(text)) if len(text) < _EXACT_BELOW_BYTES else text


def row_objects(hits: Hits) -> list[bytes]:
    """One JSON object for each row: id, seq, what else ``hits`` holds; NaN and -inf are null."""
    names = [b'{"id":%b,"seq":%d']
    values: list[Sequence[Any]] = [id_texts(hits.ids), hits.seqs.tolist()]
    if hits.scores is not None:
        names.append(b',"score":%b')
        values.append(number_texts(hits.scores))
    if hits.near is not None:
        names.append(b',"near":%b')
        values.append(near_texts(hits))
    if hits.ranks is not None:
        names.append(b',"rank":%b')
        values.append(number_texts(hits.ranks))
    if hits.weights is not None:
        names.append(b',"weight":%b')
        values.append(number_texts(hits.weights))
    if hits.metadata is not None:
        names.append(b',"metadata":%b')
        values.append(metadata_texts(hits.metadata))
    if hits.vectors is not None:
        names.append(b',"vector":[%b]')
        values.append(vector_texts(hits.vectors))
    form = b"".join(names) + b"}"
    return [form % row for row in zip(*values, strict=True)]


def place_objects(hits: Hits, places: F32) -> list[bytes]:
    """One JSON object for each row of a map: id, seq, and its place float32 (n, 2)."""
    values = (id_texts(hits.ids), hits.seqs.tolist(), *map(number_texts, places.T.copy()))
    return [b'{"id":%b,"seq":%d,"x":%b,"y":%b}' % row for row in zip(*values, strict=True)]


def id_texts(ids: Ids) -> list[bytes]:
    """Each id as JSON."""
    if isinstance(ids, list):
        return [orjson.dumps(one) for one in ids]
    if len(ids) == 0:
        return []
    texts = number_texts(ids)
    if int(ids.max()) > MAX_SAFE_INTEGER:
        above = np.flatnonzero(ids > MAX_SAFE_INTEGER).tolist()
        for place in above:
            texts[place] = b'"' + texts[place] + b'"'
    return texts


def near_texts(hits: Hits) -> list[bytes]:
    """What each new row is nearest to, as JSON; null where there was nothing."""
    assert hits.near is not None, "these are no new rows"
    assert hits.scores is not None, "new rows have scores"
    texts = id_texts(hits.near)
    for place in np.flatnonzero(hits.scores == -np.inf).tolist():
        texts[place] = b"null"
    return texts


def near_text(near: Ids | None) -> orjson.Fragment | None:
    """The ids of an add's ``near`` as JSON."""
    return None if near is None else orjson.Fragment(b"[%b]" % b",".join(id_texts(near)))


def array_text(numbers: NDArray[Any]) -> bytes:
    """An array as JSON."""
    text = orjson.dumps(np.ascontiguousarray(numbers), option=_NUMPY)
    return text.replace(_ROUNDED_TWICE, _ROUNDED_ONCE) if _ROUNDED_TWICE in text else text


def number_texts(numbers: NDArray[Any]) -> list[bytes]:
    """Each number of a one-dimensional array as JSON."""
    return array_text(numbers)[1:-1].split(b",") if len(numbers) else []


def vector_texts(vectors: F32) -> list[bytes]:
    """Each row's elements as JSON, without the brackets around them."""
    return array_text(vectors)[2:-2].split(b"],[") if len(vectors) else []


def metadata_texts(metadata: Sequence[bytes | dict[str, Any]]) -> list[bytes]:
    """Each row's metadata as JSON."""
    return [one if isinstance(one, bytes) else orjson.dumps(one) for one in metadata]
