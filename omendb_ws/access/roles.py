"""Roles: grants by name, for tokens that say what somebody is rather than what he may do.

A filter or stamp of a role may hold ``${claim}`` in place of a whole value; it stands for a claim
of the token that is a string, a number or a boolean. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeAlias

from .grants import Grant, GrantError, parse_grant, parse_grants

#: name -> grants whose filters and stamps may hold ``${claim}``.
Roles: TypeAlias = Mapping[str, tuple[Grant, ...]]

_CLAIM: Final = re.compile(r"\$\{([^{}]{1,128})\}")


class _NoSuchClaim(Exception):
    """A claim, by its name, that is absent, or no plain value."""


def parse_roles(document: Any, where: str = "jwt_roles") -> Roles:
    """Tables by role: one grant's fields, or ``grants``, a list of them. GrantError."""
    if not isinstance(document, dict):
        raise GrantError(f"{where}: must be tables of roles")
    found: dict[str, tuple[Grant, ...]] = {}
    for name, table in document.items():
        here = f"{where}.{name}"
        if not isinstance(table, dict):
            raise GrantError(f"{here}: must be a table")
        if "grants" in table:
            if len(table) > 1:
                raise GrantError(f"{here}: has grants, so nothing else may stand beside them")
            found[name] = parse_grants(table["grants"], f"{here}.grants")
        else:
            found[name] = (parse_grant(table, here),)
    return found


def granted(roles: Roles, names: Iterable[str], claims: Mapping[str, Any]) -> tuple[Grant, ...]:
    """The grants of those of ``names`` that are known, for a token's claims.

    A grant that needs a claim which is absent, or of another type, is dropped.
    """
    found: list[Grant] = []
    for name in names:
        for grant in roles.get(name, ()):
            with suppress(_NoSuchClaim):
                found.append(_of(grant, claims))
    return tuple(found)


def not_granted(
    roles: Roles, names: Iterable[str], claims: Mapping[str, Any]
) -> list[tuple[str, str | None]]:
    """The roles of ``names`` that ``granted`` passes over, or a grant of them, each with the name
    of the claim that it needs; None: there is no such role.
    """
    found: list[tuple[str, str | None]] = []
    for name in names:
        if name not in roles:
            found.append((name, None))
        for grant in roles.get(name, ()):
            try:
                _of(grant, claims)
            except _NoSuchClaim as missing:
                found.append((name, str(missing)))
    return found


def _of(grant: Grant, claims: Mapping[str, Any]) -> Grant:
    own = None if grant.filter is None else _filled(grant.filter, claims)
    return replace(grant, filter=own, stamp=_filled(grant.stamp, claims))


def _filled(document: Any, claims: Mapping[str, Any]) -> Any:
    """``document`` with the claims that its ``${claim}`` name."""
    if isinstance(document, Mapping):
        return {name: _filled(value, claims) for name, value in document.items()}
    if isinstance(document, list):
        return [_filled(value, claims) for value in document]
    match = _CLAIM.fullmatch(document) if isinstance(document, str) else None
    if match is None:
        return document
    value = claims.get(match[1])
    if not isinstance(value, str | int | float) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise _NoSuchClaim(match[1])
    return value
