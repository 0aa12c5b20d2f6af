"""Single arguments of calls, as what they are meant to be: texts, integers, numbers, names.

Each function returns the plain value (``numpy`` scalars, enumerations and other subclasses become
the ``int``, ``float`` or ``str`` that they are), or raises a typed error that names the argument,
before anything is sent. Whether a value is within the server's limits is the server's to say.
Pure; knows no collection.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from omendb_core.errors import BadName, BadRequest, OmenError, Unauthenticated
from omendb_core.metadata import is_text
from omendb_core.types import MAX_SAFE_INTEGER, Include

Refusal = type[OmenError]


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
    """The name of a collection; whether it is one that may be is the server's to say."""
    if not isinstance(value, str):
        raise BadRequest(f"collection: must be a string, not {kind(value)}")
    return text(value, "collection", BadName)


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
    if not least <= made <= most:
        raise refusal(f"{name}: must be an integer from {least} to {most}")
    return made


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


def seconds(value: object, name: str) -> float:
    """``value`` as a time above 0."""
    made = number(value, name)
    if made <= 0:
        raise BadRequest(f"{name}: must be above 0")
    return made


def token(value: object) -> str:
    """``value`` as a token that may stand in a header. Raises Unauthenticated, never showing it."""
    if not isinstance(value, str):
        raise BadRequest(f"token: must be a string, not {kind(value)}")
    made = str.__str__(value)
    if not made.isascii() or not made.isprintable() or not made.strip():
        raise Unauthenticated("a token is visible ASCII")
    return made


def flag(value: object, name: str) -> bool:
    """``value`` as true or false."""
    if not isinstance(value, bool | np.bool_):
        raise BadRequest(f"{name}: must be True or False, not {kind(value)}")
    return bool(value)


_INCLUDE: Final = "include: must be a list out of metadata, vector"


def included(include: Iterable[str]) -> Include:
    """``include`` as the wire has it."""
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
    made = {}
    for name, type_ in columns.items():
        key = text(name, "columns", BadName)
        made[key] = text(type_, f"columns.{key}")
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
