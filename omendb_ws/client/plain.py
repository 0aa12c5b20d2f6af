"""Values of a caller as JSON that gives the same values back: metadata, and filters.

What goes in: None, booleans, integers from -2**63 to 2**64 - 1, finite floats, text, and lists and
mappings of these, also as numpy has them; subclasses (an ``IntEnum``, a named tuple) as what they
are. Everything else is refused by a typed error that names the field: a NaN would come back as
null, a date as text, a set in another order. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np
import orjson
from omendb_core.model.errors import BadFilter, BadMetadata, BadRequest
from omendb_core.model.types import MAX_JSON_INTEGER, MAX_METADATA_LEVELS, MIN_JSON_INTEGER
from omendb_core.rows.metadata import is_text

from .arguments import Refusal, is_masked, is_missing, kind, number, unwrapped

#: Where a value stands: names and places, from the argument on.
Path: TypeAlias = tuple[str | int, ...]
#: Metadata of plain JSON values, an object or None a row.
Objects: TypeAlias = Sequence[dict[str, Any] | None]

#: Values that stand for themselves, but for a float that is not finite.
_SCALARS: Final = frozenset((str, int, float, bool, type(None)))
_NATIVE: Final = _SCALARS | {dict, list}
_ALREADY_PLAIN: Final = frozenset((dict, type(None)))
#: A filter's levels are counted by the server, which allows fewer.
_MAX_FILTER_LEVELS: Final = 64


def filter_document(given: object, path: Path = ("filter",)) -> dict[str, Any] | None:
    """A filter as plain JSON values, copied. Raises BadFilter."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise BadFilter(f"{'.'.join(map(str, path))}: must be a mapping, not {kind(given)}")
    made: dict[str, Any] = plain(given, path, BadFilter, _MAX_FILTER_LEVELS)
    return made


def near_document(given: object) -> dict[str, Any] | None:
    """``unless_near`` as plain JSON values, copied. Raises BadRequest, BadFilter."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise BadRequest(f"unless_near: must be a mapping, not {kind(given)}")
    unknown = [name for name in given if name not in ("score", "filter")]
    if unknown:
        raise BadRequest(f"unless_near.{unknown[0]}: unknown field")
    if "score" not in given:
        raise BadRequest("unless_near.score: missing")
    made: dict[str, Any] = {"score": number(given["score"], "unless_near.score")}
    if given.get("filter") is not None:
        made["filter"] = filter_document(given["filter"], ("unless_near", "filter"))
    return made


def metadata_objects(
    metadata: Sequence[Mapping[str, Any] | None],
) -> list[dict[str, Any] | None]:
    """Each row's metadata as plain JSON values, copied. Raises BadMetadata with ``row``.

    Rows are looked at together, level by level: 0.25 µs for one of four values, where one after
    the other they take 2. What is found to be anything else is looked at by itself.
    """
    if _ALREADY_PLAIN.issuperset(map(type, metadata)):
        with suppress(TypeError):
            objects = [entry for entry in metadata if entry]
            levels = _plain_levels(objects)
            if levels == 1:
                return [dict(entry) if entry else None for entry in metadata]
            if levels:
                copies = iter(orjson.loads(orjson.dumps(objects)))
                return [next(copies) if entry else None for entry in metadata]
    return [_object(entry, row) for row, entry in enumerate(metadata)]


def _plain_levels(objects: list[Mapping[str, Any]]) -> int:
    """How many levels they have; 0 if they are too deep or hold anything but plain JSON values.

    Raises TypeError for what only writing finds: long integers, texts that are none, odd keys.
    """
    # A float that is not finite is written as null, so mostly they need not be looked at.
    is_null_written = b"null" in orjson.dumps(objects)
    values = list(chain.from_iterable([entry.values() for entry in objects]))
    for level in range(1, MAX_METADATA_LEVELS + 1):
        kinds = set(map(type, values))
        if is_null_written and float in kinds:
            floats = [value for value in values if type(value) is float]
            if not all(map(math.isfinite, floats)):
                return 0
        if _SCALARS.issuperset(kinds):
            return level
        if not _NATIVE.issuperset(kinds):
            return 0
        within: list[Any] = [value.values() for value in values if type(value) is dict]
        within += [value for value in values if type(value) is list]
        values = list(chain.from_iterable(within))
    return 0


def _object(entry: object, row: int) -> dict[str, Any] | None:
    if entry is None:
        return None
    if not isinstance(entry, Mapping):
        raise BadMetadata("metadata: must be an object or null", row=row)
    try:
        made: dict[str, Any] = plain(entry, ("metadata",), BadMetadata, MAX_METADATA_LEVELS)
    except BadMetadata as error:
        error.row = row
        raise
    return made


def plain(value: Any, path: Path, refusal: Refusal, levels: int) -> Any:
    """``value`` of nothing but what JSON knows, copied; ``levels`` of lists and mappings at most.

    Raises ``refusal``, which begins with ``path`` and what is wrong below it.
    """
    type_ = type(value)
    if type_ is str:
        return _plain_text(value, path, refusal)
    if type_ is float or type_ is int:
        return _plain_number(value, path, refusal)
    if value is None or type_ is bool:
        return value
    if type_ is dict or type_ is list:
        return _plain_container(value, path, refusal, levels)
    if is_missing(value):
        return None
    value = unwrapped(value)
    if isinstance(value, str):
        return _plain_text(str.__str__(value), path, refusal)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _plain_number(int(value), path, refusal)
    if isinstance(value, float | np.floating):
        return _plain_number(float(value), path, refusal)
    return _plain_container(value, path, refusal, levels)


def _plain_text(value: str, path: Path, refusal: Refusal) -> str:
    if not (value.isascii() or is_text(value)):
        raise refusal(f"{_named(path)}: must be Unicode text (half of a surrogate pair is none)")
    return value


def _plain_number(value: float | int, path: Path, refusal: Refusal) -> float | int:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise refusal(f"{_named(path)}: must be a finite number (null is None)")
    elif not MIN_JSON_INTEGER <= value <= MAX_JSON_INTEGER:
        raise refusal(f"{_named(path)}: must be an integer from -2**63 to 2**64 - 1")
    return value


def _plain_container(value: Any, path: Path, refusal: Refusal, levels: int) -> Any:
    if isinstance(value, np.ndarray) and not is_masked(value) and value.dtype.kind in "fiubUO":
        value = value.tolist()
    if not isinstance(value, Mapping | list | tuple):
        raise refusal(f"{_named(path)}: must be a JSON value, not {kind(value)}")
    if levels == 0:
        raise refusal(f"{path[0]}: nested too deep")
    if not isinstance(value, Mapping):
        return [plain(one, (*path, at), refusal, levels - 1) for at, one in enumerate(value)]
    made = {}
    for key, one in value.items():
        if not isinstance(key, str):
            raise refusal(f"{_named(path)}: a key must be a string, not {kind(key)}")
        name = _plain_text(str.__str__(key), (*path, "…"), refusal)
        made[name] = plain(one, (*path, name), refusal, levels - 1)
    return made


def _named(path: Path) -> str:
    """``metadata.tags[3]``; names are cut."""
    return "".join(
        f"[{one}]" if isinstance(one, int) else f".{one[:40]}" for one in path
    ).removeprefix(".")
