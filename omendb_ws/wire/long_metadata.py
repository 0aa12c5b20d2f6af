"""The metadata of many rows, as clients of ours write it, parsed in pieces: a generator.

Where an object's end, a comma and the next one's beginning stand side by side, the rows are cut,
and each part is parsed as a list of its own; that takes no look at what stands between. The cut may
be wrong: inside of a string, or of a list in some row. Then a part is no JSON, and the answer is
None: ``long_json`` reads it, which takes a third longer.

Invariant: a value is what ``orjson.loads`` makes of the whole text. If ``[P]`` and ``[Q]`` are
lists with members, ``[P,Q]`` is the list of both; and if a text with ``[]`` in one place is an
object whose ``metadata`` is that list, it is so with any other list there.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

import orjson

from .long_json import PIECE_CHARACTERS, Entered, Loaded

_FIELD: Final = b'"metadata":['
_BETWEEN: Final = b"},{"
#: A part with more lists and objects than one in so many characters takes too long.
_CHARACTERS_A_CONTAINER: Final = 6
#: How many pieces long what is no metadata may be: ids are texts, which take 2 ns a byte.
_MOST_REST: Final = 4


def load_rows(
    text: bytes, most_containers: int, piece_bytes: int = PIECE_CHARACTERS
) -> Generator[None, None, Loaded | None]:
    """The value of ``text``; None where it is to be read otherwise."""
    start, end = text.find(_FIELD) + len(_FIELD), text.rfind(b"]")
    rest = text[:start] + text[end:]
    containers = rest.count(b"[") + rest.count(b"{")
    if not len(_FIELD) <= start < end or len(rest) > _MOST_REST * piece_bytes:
        return None
    if containers * _CHARACTERS_A_CONTAINER > piece_bytes:
        return None
    try:
        body = orjson.loads(rest)
    except orjson.JSONDecodeError:
        return None
    if type(body) is not dict or body.get("metadata") != []:
        return None
    rows: list[Any] = []
    counts: list[int] = []
    body["metadata"] = rows
    loaded = Loaded(body, [Entered(rows, counts)])
    while start < end:
        stop = _cut(text, start, end, piece_bytes)
        part = text[start:stop]
        brackets = part.count(b"[") + part.count(b"{")
        containers += brackets
        is_dense = brackets * _CHARACTERS_A_CONTAINER > max(len(part), piece_bytes)
        found = None if is_dense or containers > most_containers else _parsed(part)
        if not found:
            yield from loaded.free()
            return None
        rows += found
        counts.append(len(found))
        start = stop + 1
        yield
    return loaded


def _cut(text: bytes, start: int, end: int, piece_bytes: int) -> int:
    """Where a part that begins at ``start`` ends."""
    if end - start <= piece_bytes:
        return end
    cut = text.find(_BETWEEN, start + piece_bytes, min(end, start + 2 * piece_bytes))
    return min(end, start + 2 * piece_bytes) if cut < 0 else cut + 1


def _parsed(part: bytes) -> list[Any] | None:
    try:
        found: list[Any] = orjson.loads(b"[%b]" % part)
    except orjson.JSONDecodeError:
        return None
    return found
