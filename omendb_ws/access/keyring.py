"""Who an API key is: token -> Principal. PROTOCOL sections 1.4 and 9.

Pure but for ``Keyring.load``, which reads one file. Knows no socket and no session. A token itself
is kept nowhere: the key file holds SHA-256 hashes, which is enough because tokens are random and
long (``new_token``), so that there is nothing to guess from a stolen file.

Invariant: looking up a token takes the same steps whether and where it is found.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..runtime.toml_files import TomlFileError, parse, read_text, shown
from ..runtime.toml_values import TomlValueError, toml_value
from ..wire.rights import RIGHTS
from .grants import Grant, GrantError, parse_grants
from .principal import DEFAULT_TENANT, Principal

#: The right to see the whole server; only key files give it.
OPERATOR: Final = "operator"
#: Longer tokens are refused unread, so that a client cannot make the server hash megabytes.
MAX_TOKEN_BYTES: Final = 4096

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FIELD = re.compile(r"[a-z_]{1,20}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENTRY_FIELDS = ("name", "tenant", "rights", "grants", "token_sha256")
_REQUIRED_FIELDS = ("name", "tenant", "token_sha256")


class KeyFileError(ValueError):
    """A key file that cannot be read; the message names the file and the entry at fault."""


def token_sha256(token: str) -> str:
    """The hash under which a token stands in a key file: SHA-256 of its UTF-8, in hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> str:
    """A fresh random token: 256 bits, safe in headers and shells."""
    return secrets.token_urlsafe(32)


def key_entry(
    name: str,
    tenant: str,
    rights: Sequence[str],
    token: str,
    grants: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The text to paste into a key file for ``token``: ``rights``, ``grants``, or both.

    It is checked as the file's own entries are. KeyFileError for a bad name, right or grant.
    """
    entry: dict[str, Any] = {"name": name, "tenant": tenant}
    if rights or not grants:
        entry["rights"] = list(rights)
    entry["token_sha256"] = token_sha256(token)
    tables = [dict(grant) for grant in grants]
    _parse_entry({**entry, "grants": tables} if tables else entry, "the new key")
    lines = ["[[keys]]", *_lines(entry, "")]
    for place, table in enumerate(tables):
        lines += ["", "[[keys.grants]]", *_lines(table, f"grants[{place}].")]
    return "\n".join(lines) + "\n"


def _lines(table: Mapping[str, Any], where: str) -> list[str]:
    found = []
    for field, value in table.items():
        try:
            found.append(f"{field} = {toml_value(value)}")
        except TomlValueError as error:
            raise KeyFileError(f"the new key: {where}{field}: {error}") from None
    return found


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of a server, as (hash, principal) pairs in the order of the file."""

    keys: tuple[tuple[str, Principal], ...]
    warnings: tuple[str, ...] = ()
    _by_source: dict[str, Principal] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = {principal.source: principal for _, principal in self.keys}
        object.__setattr__(self, "_by_source", found)

    def of_source(self, source: str) -> Principal | None:
        """The principal of a key that was looked up before, by its ``source``."""
        return self._by_source.get(source)

    @classmethod
    def load(cls, path: str | Path) -> Keyring:
        """Read a key file. KeyFileError; ``warnings`` say what is unwise but works."""
        path = Path(path)
        try:
            text = read_text(path)
            mode = path.stat().st_mode
        except (OSError, TomlFileError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise KeyFileError(f"key file {path}: {reason}") from None
        keyring = cls.parse(text, f"key file {path}")
        # Its group may read it: root's file for the group of a service, or a mounted secret.
        if mode & (stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO):
            warning = (
                f"key file {path} is open to other users (mode {mode & 0o777:o}): chmod 600, or"
                " 640 for the group of a service"
            )
            return cls(keyring.keys, (warning,))
        return keyring

    @classmethod
    def parse(cls, text: str, where: str = "key file") -> Keyring:
        """Read the text of a key file: ``[[keys]]`` tables. KeyFileError names the entry."""
        try:
            document = parse(text)
        except TomlFileError as error:
            raise KeyFileError(f"{where}: {error}") from None
        unknown = sorted(document.keys() - {"keys"})
        if unknown:
            raise KeyFileError(
                f"{where}: unknown {', '.join(map(_shown, unknown))}; only [[keys]] is known"
            )
        entries = document.get("keys", [])
        if not isinstance(entries, list) or not entries:
            raise KeyFileError(f"{where}: no [[keys]] in it: nobody could log in")
        keys: list[tuple[str, Principal]] = []
        for number, entry in enumerate(entries, 1):
            here = f"{where}: key {number}"
            if not isinstance(entry, dict):
                raise KeyFileError(f"{here}: must be a table")
            digest, principal = _parse_entry(entry, here)
            _refuse_repeats(keys, digest, principal, here)
            keys.append((digest, principal))
        return cls(tuple(_with_operators(keys)))

    def authenticate(self, token: str) -> Principal | None:
        """The principal of ``token``, or None. Compares with every key in constant time."""
        if len(token) > MAX_TOKEN_BYTES:
            return None
        digest = token_sha256(token)
        found: Principal | None = None
        for known, principal in self.keys:
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def _shown(field: str) -> str:
    """A field that nobody knows, if it may be shown: a token in the wrong place looks like none."""
    return field if _FIELD.fullmatch(field) else "field (not shown: it might be a token)"


def _parse_entry(entry: Mapping[str, Any], where: str) -> tuple[str, Principal]:
    name = entry.get("name")
    if isinstance(name, str):
        where = f"{where} ({shown(name)})"
    unknown = sorted(entry.keys() - set(_ENTRY_FIELDS))
    missing = [field for field in _REQUIRED_FIELDS if field not in entry]
    if unknown or missing:
        wrong = [f"unknown {_shown(field)}" for field in unknown] + [
            f"no {field}" for field in missing
        ]
        raise KeyFileError(f"{where}: {', '.join(wrong)}; a key has {', '.join(_ENTRY_FIELDS)}")
    tenant, digest = entry["tenant"], entry["token_sha256"]
    for field, value in (("name", name), ("tenant", tenant)):
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise KeyFileError(
                f"{where}: {field} must be 1-64 of A-Z a-z 0-9 . _ -, beginning with a letter or"
                " digit"
            )
    grants, is_operator = _parse_grants(entry, where)
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest.lower()):
        raise KeyFileError(f"{where}: token_sha256 must be 64 hexadecimal digits")
    principal = Principal(
        str(name), tenant, grants, source=f"key:{digest.lower()}", is_operator=is_operator
    )
    return digest.lower(), principal


def _parse_grants(entry: Mapping[str, Any], where: str) -> tuple[tuple[Grant, ...], bool]:
    """What a key may do: ``rights`` on every collection, or ``grants``, or both."""
    rights, is_operator = entry.get("rights"), False
    found: list[Grant] = []
    if "rights" in entry:
        known = (*RIGHTS, OPERATOR)
        if (
            not isinstance(rights, list)
            or not rights
            or any(not isinstance(right, str) or right not in known for right in rights)
        ):
            raise KeyFileError(
                f"{where}: rights must be a non-empty list out of {', '.join(known)}"
            )
        is_operator = OPERATOR in rights
        plain = frozenset(rights) - {OPERATOR}
        found += [Grant(plain)] if plain else []
    if "grants" in entry:
        try:
            found += parse_grants(entry["grants"])
        except GrantError as error:
            raise KeyFileError(f"{where}: {error}") from None
    elif "rights" not in entry:
        raise KeyFileError(f"{where}: no rights and no grants; a key has one of them, or both")
    return tuple(found), is_operator


def _with_operators(keys: list[tuple[str, Principal]]) -> list[tuple[str, Principal]]:
    """In a file that names no operator, the admins of the tenant ``default`` are operators."""
    if any(principal.is_operator for _, principal in keys):
        return keys
    return [
        (digest, replace(one, is_operator=one.tenant == DEFAULT_TENANT and one.may("admin")))
        for digest, one in keys
    ]


def _refuse_repeats(
    keys: list[tuple[str, Principal]], digest: str, principal: Principal, where: str
) -> None:
    for number, (known, other) in enumerate(keys, 1):
        if other.name == principal.name:
            raise KeyFileError(f"{where}: the name {principal.name!r} is that of key {number} too")
        if known == digest:
            raise KeyFileError(f"{where} ({principal.name!r}): the same token as key {number}")
