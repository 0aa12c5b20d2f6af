"""What shapes an answer, as callers have it: examples, exclusions, order and selection.

Checked for types and copied, so that it is what JSON carries; what it means for a collection is the
server's to say. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Unpack

from omendb_core.model.errors import BadRank, BadRequest, BadVector, OmenError

from ..wire.fields import check_needs
from ..wire.messages import JsonObject
from ..wire.opcodes import MAX_EXAMPLES, OPS
from .arguments import is_masked, kind, number
from .arrays import as_vectors, of_another_library
from .given import Examples, Shaping
from .ids import json_id, json_ids
from .plain import plain

#: Levels are counted by the server, which allows fewer.
_MAX_LEVELS: Final = 64
_OBJECTS: Final = [one.name for one in OPS["search"].fields if one.type == "object"]


def shaping(
    *,
    positive: Examples | None = None,
    negative: Examples | None = None,
    **shape: Unpack[Shaping],
) -> JsonObject:
    """Return what was given, as the wire has it, by name. Raises OmenError naming the argument."""
    made: JsonObject = {}
    given: Mapping[str, Any] = {name: one for name, one in shape.items() if one is not None}
    if not given and positive is None and negative is None:
        return made
    for name, examples in (("positive", positive), ("negative", negative)):
        if examples is not None:
            made[name] = _examples(examples, name)
    if "exclude" in given:
        made["exclude"] = json_ids(given["exclude"], "exclude")
    for name in _OBJECTS:
        if name in given:
            made[name] = _object(given[name], name)
    if "rank" in given:
        made["rank"] = plain(given["rank"], ("rank",), BadRank, _MAX_LEVELS)
    if "at" in given:
        made["at"] = number(given["at"], "at")
    check_needs(made)
    return made


def _examples(given: Any, name: str) -> list[Any]:
    """Ids as JSON has them, vectors float32 (dim,), copied."""
    if isinstance(given, list | tuple | range):
        listed: Sequence[Any] = given
    else:
        array = None if is_masked(given) else of_another_library(given)
        if array is None or array.ndim not in (1, 2):
            raise BadRequest(f"{name}: must be a list of ids and vectors, not {kind(given)}")
        listed = list(array)
    if name == "positive" and not listed:
        raise BadRequest("positive: must not be empty")
    if len(listed) > MAX_EXAMPLES:
        raise BadRequest(f"{name}: at most {MAX_EXAMPLES}")
    return [_example(one, name, row) for row, one in enumerate(listed)]


def _example(one: Any, name: str, row: int) -> Any:
    if isinstance(one, str) or not _has_elements(one):
        return json_id(one, row, name)
    try:
        vector = as_vectors(one, name)
        if vector.ndim != 1 or not len(vector):
            raise BadVector(f"{name}: must be ids or vectors (dim,)")
    except OmenError as error:
        error.row = row
        raise
    return vector.copy()


def _has_elements(one: Any) -> bool:
    """Whether it is a vector rather than an id. (A tensor of one element is an index, too.)"""
    return isinstance(one, Sequence | memoryview) or getattr(one, "ndim", 0) > 0


def _object(given: object, name: str) -> JsonObject:
    if not isinstance(given, Mapping):
        raise BadRequest(f"{name}: must be a mapping, not {kind(given)}")
    made: JsonObject = plain(given, (name,), BadRequest, _MAX_LEVELS)
    return made
