"""Single arguments of calls, as what they are meant to be: texts, integers, numbers, names.

Each function returns the plain value (``numpy`` scalars, enumerations and other subclasses become
the ``int``, ``float`` or ``str`` that they are), or raises a typed error that names the argument,
before anything is sent. Bounds that the protocol fixes are those of its table; whether a value is
within the server's limits is the server's to say. Pure; knows no collection.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from omendb_core.model.errors import (
    BadName,
    BadRequest,
    OmenError,
    TooLarge,
    Unauthenticated,
)
from omendb_core.model.types import COLUMN_TYPES, MAX_SAFE_INTEGER, Include
from omendb_core.rows.metadata import is_text

from ..wire.fields import check_name, shown
from ..wire.messages import NOTHING
from ..wire.opcodes import MAX_COLUMNS, MAX_PRODUCER_BYTES, OPS, SUBSCRIPTION_KINDS, Field

Refusal = type[OmenError]

_FIELDS: Final = {name: op.fields for name, op in OPS.items()} | dict(SUBSCRIPTION_KINDS)
_TYPES: Final = ", ".join(COLUMN_TYPES)


def field(of: str, name: str) -> Field:
    """The row of the protocol's table for ``name`` of an op, or of a kind of subscription."""
    return next(one for one in _FIELDS[of] if one.target == name)


def kind(value: object) -> str:
    """What to call a value that is of the wrong type."""
    return type(value).__name__


def text(value: object, name: str, refusal: Refusal = BadRequest) -> str:
    """``value`` as a string that can be UTF-8."""
    if not isinstance(value, str):
        raise refusal(f"{name}: must be a string, not {kind(value)}")
    made = str.__str__(value)
    if not (made.isascii() or is_text(made)):
        raise refusal(f"{name}: must be Unicode text (half of a surrogate pair is none)")
    return made


def collection(value: object) -> str:
    """The name of a collection."""
    if not isinstance(value, str):
        raise BadRequest(f"collection: must be a string, not {kind(value)}")
    return check_name(str.__str__(value), "collection")


def chosen(value: object, field: Field) -> str:
    """``value`` as one of the field's choices."""
    made = text(value, field.target)
    if made not in field.choices:
        raise BadRequest(f"{field.target}: must be one of {', '.join(field.choices)}")
    return made


def producer(value: object) -> str:
    """The name of a producer."""
    made = text(value, "producer")
    if not 1 <= len(made.encode()) <= MAX_PRODUCER_BYTES:
        raise BadRequest(f"producer: must have 1 to {MAX_PRODUCER_BYTES} bytes of UTF-8")
    return made


def whole(value: object) -> int | None:
    """``value`` as an int if it is an integer of any library; booleans and fractions are none."""
    if type(value) is int:
        return value
    if isinstance(value, bool | np.bool_) or is_masked(value):
        return None
    try:
        return int(operator.index(value))  # type: ignore[arg-type]
    except Exception:  # what another library raises is not ours to know
        plain = unwrapped(value)
        return int(plain) if isinstance(plain, int) and not isinstance(plain, bool) else None


def integer(
    value: object,
    name: str,
    least: int = 0,
    most: int = MAX_SAFE_INTEGER,
    refusal: Refusal = BadRequest,
) -> int:
    """``value`` as an int from ``least`` to ``most``."""
    made = whole(value)
    if made is None:
        raise refusal(f"{name}: must be an integer, not {kind(value)}")
    if made < least:
        raise refusal(f"{name}: must be at least {least}")
    if made > most:
        raise refusal(f"{name}: must be at most {most}")
    return made


def bounded(value: object, field: Field) -> int:
    """``value`` as an int within the field's bounds; one that is a limit is the server's."""
    most = MAX_SAFE_INTEGER if isinstance(field.most, str) else field.most
    return integer(value, field.target, field.least, most)


def real(value: object) -> float | int | None:
    """``value`` as an int or float if it is a real number of any library; no boolean is one."""
    if type(value) is float or type(value) is int:
        return value
    plain = unwrapped(value)
    if isinstance(plain, bool):
        return None
    if isinstance(plain, int):
        return int(plain)
    return float(plain) if isinstance(plain, float | np.floating) else None


def number(value: object, name: str, refusal: Refusal = BadRequest) -> float:
    """``value`` as a finite float."""
    made = real(value)
    if made is None:
        raise refusal(f"{name}: must be a number, not {kind(value)}")
    try:
        found = float(made)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise refusal(f"{name}: must be finite")
    return found


def seconds(value: object, name: str, most: int = MAX_SAFE_INTEGER) -> float:
    """``value`` as a time above 0."""
    made = number(value, name)
    if made <= 0:
        raise BadRequest(f"{name}: must be above 0")
    if made > most:
        raise BadRequest(f"{name}: must be at most {most} seconds")
    return made


def patience(value: object, name: str) -> float:
    """``value`` as a time, which may be none."""
    made = number(value, name)
    if made < 0:
        raise BadRequest(f"{name}: must not be negative")
    return made


def token(value: object) -> str:
    """``value`` as a token that may stand in a header. Raises Unauthenticated, never showing it."""
    if not isinstance(value, str):
        raise BadRequest(f"token: must be a string, not {kind(value)}")
    made = str.__str__(value)
    if not made.isascii() or not made.isprintable() or not made.strip():
        raise Unauthenticated("token: must be visible ASCII")
    return made


def flag(value: object, name: str) -> bool:
    """``value`` as true or false."""
    if not isinstance(value, bool | np.bool_):
        raise BadRequest(f"{name}: must be True or False, not {kind(value)}")
    return bool(value)


_INCLUDE: Final = "include: must be a list out of metadata, vector"


def included(include: Iterable[str]) -> Include:
    """``include`` as the wire has it."""
    if type(include) is tuple and not include:
        return NOTHING
    if isinstance(include, str | bytes):
        raise BadRequest(_INCLUDE)
    try:
        names = set(include)
    except TypeError:
        raise BadRequest(_INCLUDE) from None
    if not names <= set(Include._fields):
        raise BadRequest(_INCLUDE)
    return Include(metadata="metadata" in names, vector="vector" in names)


def declared(columns: object) -> dict[str, str] | None:
    """The columns of a definition: name to type."""
    if columns is None:
        return None
    if not isinstance(columns, Mapping):
        raise BadRequest(f"columns: must be a mapping of names to types, not {kind(columns)}")
    if len(columns) > MAX_COLUMNS:
        raise TooLarge(f"columns: at most {MAX_COLUMNS}")
    made = {}
    for name, type_ in columns.items():
        key = text(name, "columns", BadName)
        check_name(key, f"columns.{shown(key)}")
        made[key] = text(type_, f"columns.{key}")
        if made[key] not in COLUMN_TYPES:
            raise BadRequest(f"columns.{key}: must be one of {_TYPES}")
    return made


# -- values of other libraries ------------------------------------------------------------------


def is_masked(value: object) -> bool:
    """Whether ``value`` is of a masked array, and something of it is hidden."""
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.getmaskarray(value).any())


def unwrapped(value: Any) -> Any:
    """What Python calls a scalar of numpy, or a tensor or array without dimensions; else itself."""
    if isinstance(value, np.generic):
        return value.item()
    if not hasattr(value, "__array__") or is_masked(value):
        return value
    try:
        array = np.asarray(value)
    except Exception:  # what another library raises is not ours to know
        return value
    return array[()].item() if array.ndim == 0 and array.dtype.kind in "fiubU" else value


def is_missing(value: object) -> bool:
    """Whether ``value`` says that there is none: None, and what masks and pandas have for it."""
    if value is None or value is np.ma.masked:
        return True
    return type(value).__module__.startswith("pandas.") and kind(value) in ("NAType", "NaTType")
