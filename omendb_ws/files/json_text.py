"""JSON objects out of files: every number as it stands there, or refused. Pure.

orjson reads an integer beyond 64 bits as a float, which is another number. ``parse_object`` looks
for that where such a float came out, and only there.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

#: The least float that may have been an integer beyond 64 bits.
_LEAST: Final = 2.0**63


class BadText(Exception):
    """Text that is no JSON object, or one that JSON's readers do not agree on; says why."""


def parse_object(text: bytes | str) -> dict[str, Any]:
    """The object in ``text``. Raises BadText."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadText(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadText("not a JSON object")
    return found


def refuse_changed_integers(values: dict[str, Any], text: bytes | str, *, nested: bool) -> None:
    """Raise BadText if a value of ``values``, which came out of ``text``, was another integer.

    ``nested``: what its field ``metadata`` holds stands in ``values`` beside the other fields.
    """
    changed = [name for name, value in values.items() if _has_large(value)]
    if not changed:
        return
    try:
        exact = json.loads(text)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        raise BadText(f"{changed[0]}: a number that no reader keeps") from None
    if nested:
        exact |= exact.get("metadata") or {}
    for name in changed:
        if _has_changed(exact[name]):
            raise BadText(f"{name}: an integer beyond 64 bits, which would become another number")


def _has_large(value: Any) -> bool:
    if type(value) is float:
        return abs(value) >= _LEAST
    return isinstance(value, dict | list) and any(
        type(one) is float and abs(one) >= _LEAST for one in _inside(value)
    )


def _has_changed(value: Any) -> bool:
    return any(
        isinstance(one, int) and not -(2**63) <= one < 2**64 for one in (value, *_inside(value))
    )


def _inside(value: Any) -> list[Any]:
    """Every value in ``value``, at any depth."""
    found: list[Any] = []
    left = [value]
    while left:
        one = left.pop()
        parts = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        found += parts
        left += [part for part in parts if isinstance(part, dict | list)]
    return found
