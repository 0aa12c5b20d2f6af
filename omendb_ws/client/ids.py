"""Ids as callers have them: for adds as the collection has them, for other calls as JSON does.

Integers and strings of any library go in, in lists, arrays, columns; what has no order (a set), is
raw bytes, or is hidden by a mask is refused. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.errors import BadId, DuplicateId
from omendb_core.model.types import MAX_SAFE_INTEGER, IdKind, Ids
from omendb_core.rows.metadata import is_text

from ..wire.batches import check_str_ids
from ..wire.opcodes import MAX_STR_ID_BYTES
from .arguments import is_masked, kind, whole
from .arrays import of_another_library
from .given import Id, IdsGiven

_MAX_U64: Final = 2**64 - 1
_WHAT_IDS_ARE: Final = "ids: must be integers from 0 to 2**64 - 1, or strings, not both"


def distinct_ids(ids: IdsGiven, count: int) -> Ids:
    """Return ids for ``count`` rows, of either kind: uint64 (n,), or n strings.

    Raises BadId, and DuplicateId with the row of the first that came before.
    """
    listed = in_order(ids)
    if len(listed) != count:
        raise BadId(f"ids: {len(listed)} for {count} rows")
    if isinstance(listed, np.ndarray) or not isinstance(listed[0], str):
        made: Ids = u64_ids(listed)
    else:
        made = str_ids(listed)
    if not are_distinct(made):
        raise DuplicateId("ids: this id came before", row=_first_repeated(list(made)))
    return made


def ids_of_kind(ids: Ids | None, kind: IdKind) -> Ids | None:
    """Return ``ids`` if a collection of that kind takes them. Raises BadId."""
    if kind == "auto":
        if ids is not None:
            raise BadId("ids: this collection gives its own (ids: auto)")
        return None
    if ids is None:
        raise BadId(f"ids: this collection needs them (ids: {kind})")
    if isinstance(ids, list) != (kind == "str"):
        wanted = "strings" if kind == "str" else "integers from 0 to 2**64 - 1"
        raise BadId(f"ids: must be {wanted}", row=0)
    return ids


def are_distinct(ids: Ids) -> bool:
    """Whether no id comes twice. (numpy's ``unique`` hashes: 90 ns an id and more, sorting 3.)"""
    if isinstance(ids, list):
        return len(set(ids)) == len(ids)
    if (ids[1:] > ids[:-1]).all():
        return True
    in_order = np.sort(ids)
    return bool((in_order[1:] != in_order[:-1]).all())


def in_order(ids: Any, name: str = "ids") -> Sequence[Any] | NDArray[Any]:
    """``ids`` as a list or the like, or as an array of integers (n,). Raises BadId."""
    if isinstance(ids, list | tuple | range):
        return ids
    if is_masked(ids):
        hidden = np.ma.getmaskarray(ids)
        raise BadId(
            f"{name}: one is masked", row=int(hidden.argmax()) if hidden.ndim == 1 else None
        )
    array = None
    if not isinstance(ids, str | bytes | bytearray | Mapping):
        array = np.asarray(ids) if isinstance(ids, np.ndarray) else of_another_library(ids)
    if array is not None and array.ndim == 1:
        listed: list[Any] = array.tolist() if array.dtype.kind not in "iu" else []
        return array if array.dtype.kind in "iu" else listed
    if array is None and isinstance(ids, Sequence) and not isinstance(ids, str | bytes | bytearray):
        return list(ids) if not isinstance(ids, memoryview) else _none_of(ids, name)
    return _none_of(ids, name)


def _none_of(ids: object, name: str) -> Sequence[Any]:
    raise BadId(f"{name}: must be a list of ids, not {kind(ids)}")


def u64_ids(ids: Sequence[Any] | NDArray[Any]) -> NDArray[np.uint64]:
    """Return ids as uint64 (n,). Raises BadId with ``row``."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        if ids.dtype.kind == "i" and len(ids) and ids.min() < 0:
            raise BadId("ids: must not be negative", row=int(np.argmax(ids < 0)))
        return ids.astype(np.uint64, copy=False)
    if set(map(type, ids)) == {int} and min(ids) >= 0 and max(ids) <= _MAX_U64:
        return np.array(ids, np.uint64)
    made = [whole(one) for one in ids]
    for row, one in enumerate(made):
        if one is None or not 0 <= one <= _MAX_U64:
            raise BadId(_WHAT_IDS_ARE, row=row)
    return np.array(made, np.uint64)


def str_ids(ids: Sequence[Any] | NDArray[Any]) -> list[str]:
    """Return ids as strings that the protocol allows. Raises BadId with ``row``."""
    made: list[Any] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    if set(map(type, made)) != {str}:
        made = [str.__str__(one) if isinstance(one, str) else one for one in made]
    for row, one in enumerate(made):
        if not isinstance(one, str):
            raise BadId(_WHAT_IDS_ARE, row=row)
        if not (one.isascii() or is_text(one)):
            raise BadId("ids: must be Unicode text", row=row)
    return check_str_ids(made)


def _first_repeated(ids: list[Any]) -> int:
    seen: set[Any] = set()
    for row, one in enumerate(ids):
        if one in seen:
            return row
        seen.add(one)
    raise AssertionError("no id is repeated")


# -- as JSON carries them -----------------------------------------------------------------------


def json_id(one: object, row: int | None = None, name: str = "ids") -> Id:
    """Return an id as JSON carries it: a string above 2**53 - 1. Raises BadId."""
    if isinstance(one, str):
        made = str.__str__(one)
        if not (made.isascii() or is_text(made)):
            raise BadId(f"{name}: must be Unicode text", row=row)
        if not 1 <= len(made.encode()) <= MAX_STR_ID_BYTES or "\0" in made:
            what = f"must have 1 to {MAX_STR_ID_BYTES} bytes of UTF-8, without NUL"
            raise BadId(f"{name}: {what}", row=row)
        return made
    number = whole(one)
    if number is None or not 0 <= number <= _MAX_U64:
        raise BadId(f"{name}: must be an integer from 0 to 2**64 - 1, or a string", row=row)
    return number if number <= MAX_SAFE_INTEGER else str(number)


def json_ids(ids: Any, name: str = "ids") -> list[Id]:
    """Return ids as JSON carries them, a list of its own. Raises BadId with ``row``."""
    listed = in_order(ids, name)
    plain: list[Any] = listed.tolist() if isinstance(listed, np.ndarray) else list(listed)
    if set(map(type, plain)) == {int} and min(plain) >= 0 and max(plain) <= MAX_SAFE_INTEGER:
        return plain
    return [json_id(one, row, name) for row, one in enumerate(plain)]
