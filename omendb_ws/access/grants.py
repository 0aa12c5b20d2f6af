"""Grants: on which collections a principal has which rights, and which rows it may see and write.

Pure values and their parsing, out of a key file, a token's claims or a role (PROTOCOL section 9). A
filter and a stamp stay JSON here: what they mean is known once a collection's columns are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ..wire.limits import MAX_COLUMNS
from ..wire.rights import RIGHTS

#: A column's value in a stamp.
Stamp: TypeAlias = Mapping[str, str | float | int | bool]

MAX_GRANTS: Final = 64
MAX_PATTERNS: Final = 64
_PATTERN: Final = re.compile(r"[A-Za-z0-9._*-]{1,128}")
_FIELDS: Final = ("collections", "rights", "filter", "stamp")


class GrantError(ValueError):
    """Grants that cannot be read; the message names the field at fault."""


@dataclass(frozen=True, slots=True)
class Grant:
    """``rights`` on the collections that match one of ``collections`` (``*``: any characters).

    ``filter``: only rows that pass it are seen, as a filter of PROTOCOL section 5. ``stamp``: rows
    that are written get these values.
    """

    rights: frozenset[str]
    collections: tuple[str, ...] = ("*",)
    filter: Mapping[str, Any] | None = None
    stamp: Stamp = field(default_factory=dict)

    def matches(self, collection: str) -> bool:
        """Whether it holds for a collection of this name."""
        return any(matches(pattern, collection) for pattern in self.collections)

    @property
    def is_for_all(self) -> bool:
        """Whether it holds for every collection, whatever its name."""
        return "*" in self.collections

    def as_json(self) -> dict[str, Any]:
        """As a token's claim or ``hello`` says it."""
        said: dict[str, Any] = {
            "collections": list(self.collections),
            "rights": [right for right in RIGHTS if right in self.rights],
        }
        if self.filter is not None:
            said["filter"] = dict(self.filter)
        if self.stamp:
            said["stamp"] = dict(self.stamp)
        return said


@dataclass(frozen=True, slots=True)
class Scope:
    """What of one collection a principal reaches under one right.

    ``filter``: rows that do not pass are not there for it; None: every row is. Of an add or update,
    ``stamp`` are values that its rows get, and ``written`` is what they must pass then.
    """

    filter: Mapping[str, Any] | None = None
    stamp: Stamp = field(default_factory=dict)
    written: Mapping[str, Any] | None = None


#: Every row, and nothing stamped.
WHOLE: Final = Scope()


def scope(grants: Sequence[Grant], right: str | None, collection: str) -> Scope | None:
    """What ``right``, None: any right, reaches of ``collection``; None: nothing grants it.

    Filters of several grants are joined by or, and one without a filter lifts them; the first one
    stamps.
    """
    found = [
        one for one in grants if (right is None or right in one.rights) and one.matches(collection)
    ]
    if not found:
        return None
    first = found[0]
    filters = [one.filter for one in found if one.filter is not None]
    joined: Mapping[str, Any] | None = None
    if len(filters) == len(found):
        joined = filters[0] if len(filters) == 1 else {"$or": [dict(one) for one in filters]}
    if joined is None and not first.stamp and first.filter is None:
        return WHOLE
    return Scope(joined, first.stamp, first.filter)


def matches(pattern: str, name: str) -> bool:
    """Whether ``name`` is what ``pattern`` says; ``*`` stands for any characters, or none.

    In time that grows with the product of their lengths: a pattern may come from a token.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    last = rest.pop()
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in rest:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def parse_grants(document: Any, where: str = "grants") -> tuple[Grant, ...]:
    """A list of grants, as a key file or a token has it. GrantError names the field."""
    if not isinstance(document, list) or not document:
        raise GrantError(f"{where}: must be a non-empty list of grants")
    if len(document) > MAX_GRANTS:
        raise GrantError(f"{where}: {len(document)} grants; at most {MAX_GRANTS}")
    return tuple(parse_grant(one, f"{where}[{place}]") for place, one in enumerate(document))


def parse_grant(document: Any, where: str) -> Grant:
    """One grant. GrantError names the field."""
    if not isinstance(document, dict):
        raise GrantError(f"{where}: must be an object")
    unknown = sorted(map(str, document.keys() - set(_FIELDS)))
    if unknown:
        raise GrantError(
            f"{where}: unknown field {unknown[0][:64]!r}; a grant has {', '.join(_FIELDS)}"
        )
    return Grant(
        rights=parse_rights(document.get("rights"), f"{where}.rights"),
        collections=_patterns(document.get("collections", ["*"]), f"{where}.collections"),
        filter=_filter(document.get("filter"), f"{where}.filter"),
        stamp=_stamp(document.get("stamp", {}), f"{where}.stamp"),
    )


def parse_rights(document: Any, where: str) -> frozenset[str]:
    """A non-empty list of rights. GrantError."""
    known = isinstance(document, list) and all(
        isinstance(one, str) and one in RIGHTS for one in document
    )
    if not known or not document:
        raise GrantError(f"{where}: must be a non-empty list out of {', '.join(RIGHTS)}")
    return frozenset(document)


def _patterns(document: Any, where: str) -> tuple[str, ...]:
    if not isinstance(document, list) or not 1 <= len(document) <= MAX_PATTERNS:
        raise GrantError(f"{where}: must be a list of 1 to {MAX_PATTERNS} patterns")
    for place, one in enumerate(document):
        if not isinstance(one, str) or not _PATTERN.fullmatch(one):
            raise GrantError(
                f"{where}[{place}]: must be 1-128 of A-Z a-z 0-9 . _ - and * for any characters"
            )
    return tuple(document)


def _filter(document: Any, where: str) -> Mapping[str, Any] | None:
    if document is None:
        return None
    if not isinstance(document, dict):
        raise GrantError(f"{where}: must be a filter, an object")
    return document


def _stamp(document: Any, where: str) -> Stamp:
    if not isinstance(document, dict) or len(document) > MAX_COLUMNS:
        raise GrantError(f"{where}: must be an object of at most {MAX_COLUMNS} columns")
    for name, value in document.items():
        is_number = isinstance(value, int | float) and math.isfinite(value)
        if not is_number and not isinstance(value, str | bool):
            raise GrantError(f"{where}.{name}: must be a string, a number, true or false")
    return document
