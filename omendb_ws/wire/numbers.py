"""Numbers in metadata that JSON can write and a parser would change: refused, with row and field.

An integer beyond 64 bits is read as a float by orjson and every parser of its kind, and a number
beyond every double not at all. Both are valid JSON, so they are looked for: what was read for a
float that large (written again, it has an exponent: 0.1 µs a row), then the text for a run of
digits that long (1.7 ns a byte), and only if both are there the text is read again, by the standard
library, which keeps integers as they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final

import orjson
from omendb_core.model.errors import BadMetadata
from omendb_core.model.types import MAX_JSON_INTEGER, MIN_JSON_INTEGER

#: The shortest integer beyond 64 bits has so many digits.
RUN_DIGITS: Final = 19
_LONG_RUN: Final = b"0" * RUN_DIGITS
_LARGE: Final = 2.0**63
#: What is in every such float as orjson writes it, and in little else.
_EXPONENT: Final = b"e+" if b"e+" in orjson.dumps(_LARGE) else b"e"
_DIGITS_ALONE: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))


class _Beyond(float):
    """An integer beyond 64 bits, as ``exactly`` reads it."""


def check_integers(text: str | bytes | memoryview, metadata: Sequence[Any]) -> None:
    """Raise BadMetadata where ``text`` has an integer that ``metadata``, read from it, has not.

    ``metadata`` are the objects of its rows, under ``rows`` or ``metadata``; anything may be among
    them.
    """
    if not may_be_large(metadata):
        return
    raw = text.encode(errors="surrogatepass") if isinstance(text, str) else bytes(text)
    if not has_long_run(raw) or not has_large(metadata):
        return
    refuse(metadata_of(exactly(raw)))


def may_be_large(metadata: Sequence[Any]) -> bool:
    """Whether a large float may be in ``metadata``; cheap, and never wrongly False."""
    try:
        return any(metadata) and _EXPONENT in orjson.dumps(metadata)
    except TypeError:  # too deep, which is refused later
        return True


def has_long_run(raw: bytes) -> bool:
    """Whether ``RUN_DIGITS`` stand in a row."""
    return _LONG_RUN in raw.translate(_DIGITS_ALONE)


def has_large(metadata: Sequence[Any]) -> bool:
    """Whether a float in ``metadata`` may have been an integer beyond 64 bits."""
    return any(_place(one, _is_large) is not None for one in metadata)


def exactly(text: str | bytes) -> Any:
    """``text`` with infinities, and integers beyond 64 bits marked; None where it is too deep."""
    try:
        return parse_exactly(text)
    except (ValueError, RecursionError):
        return None


def parse_exactly(text: str | bytes) -> Any:
    """As ``exactly``. ValueError, RecursionError."""
    return json.loads(text, parse_int=_integer)


def metadata_of(body: Any) -> list[Any]:
    """The metadata of each row in a request, or in the JSON section of a binary one."""
    if type(body) is not dict:
        return []
    rows, metadata = body.get("rows"), body.get("metadata")
    if type(rows) is list:
        return [one.get("metadata") if type(one) is dict else None for one in rows]
    return metadata if type(metadata) is list else []


def refuse(metadata: Sequence[Any]) -> None:
    """Raise BadMetadata for the first row with a number that cannot be kept as it was written."""
    for row, one in enumerate(metadata):
        path = _place(one, _is_changed)
        if path is not None:
            what = "numbers are finite as f64, integers from -2**63 to 2**64 - 1"
            raise BadMetadata(f"metadata{path}: {what}", row=row)


def is_deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists stand in each other more than ``levels`` deep, itself counted."""
    waiting = [value]
    for _ in range(levels):
        if not waiting:
            return False
        within = [one.values() if type(one) is dict else one for one in waiting]
        waiting = [one for some in within for one in some if type(one) in (dict, list)]
    return bool(waiting)


def _integer(text: str) -> int | float:
    if len(text) <= 20 and MIN_JSON_INTEGER <= int(text) <= MAX_JSON_INTEGER:
        return int(text)
    return _Beyond(text)


def _is_large(value: Any) -> bool:
    return isinstance(value, float) and abs(value) >= _LARGE


def _is_changed(value: Any) -> bool:
    return isinstance(value, float) and (type(value) is _Beyond or not math.isfinite(value))


def _place(value: Any, is_meant: Any) -> str | None:
    """The path of the first value that is meant, in no particular order; None if there is none."""
    waiting = [("", value)]
    while waiting:
        path, one = waiting.pop()
        if is_meant(one):
            return path
        if type(one) is dict:
            waiting += [(f"{path}.{key[:40]}", inner) for key, inner in one.items()]
        elif type(one) is list:
            waiting += [(f"{path}[{at}]", inner) for at, inner in enumerate(one)]
    return None
