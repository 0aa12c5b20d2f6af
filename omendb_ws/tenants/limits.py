"""What each tenant may use, as ``tenants_file`` says it (PROTOCOL section 9).

Pure but for ``TenantLimits.load``, which reads one file. Imports no numpy, as settings do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ..runtime.toml_files import TomlFileError, parse, read_text, shown

#: As key files and tokens have it.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TABLES: Final = ("tenants", "default")
_MOST: Final = 2**53 - 1


class TenantsFileError(ValueError):
    """A tenants file that cannot be used; the message names the file, the table and the field."""


def _limit(least: float, most: float, about: str, default: float | None = None) -> Any:
    return field(default=default, metadata={"least": least, "most": most, "about": about})


@dataclass(frozen=True, slots=True)
class Limits:
    """One tenant's. None: no limit but the server's."""

    weight: float = _limit(0.001, 1000, "its share of the engine's time beside others'", 1)
    max_connections: int | None = _limit(1, _MOST, "connections")
    max_subscriptions: int | None = _limit(1, _MOST, "subscriptions of all its connections")
    max_collections: int | None = _limit(1, _MOST, "collections")
    max_memory_bytes: int | None = _limit(
        1, _MOST, "its windows, reserved at create, and what its collections hold besides"
    )
    rows_per_second: float | None = _limit(0.001, _MOST, "rows that are added or updated")
    queries_per_second: float | None = _limit(
        0.001, _MOST, "query vectors of searches, and of subscriptions that begin or move"
    )
    messages_per_second: float | None = _limit(0.001, _MOST, "messages of all its connections")
    engine_ms_per_second: float | None = _limit(
        0.001, _MOST, "milliseconds that the engine works for its requests"
    )


#: Limits by name, with ``least``, ``most`` and ``about`` in their metadata.
FIELDS: Final = MappingProxyType({one.name: one for one in fields(Limits)})


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """Limits by tenant: of those that are ``named``, and of all others (``default``)."""

    named: Mapping[str, Limits] = field(default_factory=dict)
    default: Limits = Limits()

    def of(self, tenant: str) -> Limits:
        """What a tenant may use."""
        return self.named.get(tenant, self.default)

    @classmethod
    def load(cls, path: str | Path, max_tenants: int) -> TenantLimits:
        """Read a tenants file. TenantsFileError."""
        where = f"tenants_file {path}"
        try:
            text = read_text(path)
        except TomlFileError as error:
            raise TenantsFileError(f"{where}: {error}") from None
        return cls.parse(text, max_tenants, where)

    @classmethod
    def parse(cls, text: str, max_tenants: int, where: str = "tenants_file") -> TenantLimits:
        """The text of a tenants file: ``[tenants.NAME]`` and ``[default]``. TenantsFileError.

        What a tenant's table leaves out is as ``[default]`` says.
        """
        try:
            document = parse(text)
        except TomlFileError as error:
            raise TenantsFileError(f"{where}: {error}") from None
        for name in document:
            if name not in _TABLES:
                raise TenantsFileError(
                    f"{where}: {_plain(name)}: is not known; there are [tenants.NAME] and [default]"
                )
        default = _limits(document.get("default", {}), Limits(), f"{where}: [default]")
        tables = document.get("tenants", {})
        if not isinstance(tables, dict):
            raise TenantsFileError(f"{where}: tenants: must be tables, [tenants.NAME]")
        if len(tables) > max_tenants:
            raise TenantsFileError(
                f"{where}: tenants: {len(tables)} of them are more than max_tenants ({max_tenants})"
            )
        named = {}
        for name, table in tables.items():
            if not _NAME.fullmatch(name):
                raise TenantsFileError(
                    f"{where}: tenants: {shown(name)} is no tenant's name: 1-64 of A-Z a-z 0-9 . _"
                    " -, beginning with a letter or digit"
                )
            named[name] = _limits(table, default, f"{where}: [tenants.{name}]")
        return cls(MappingProxyType(named), default)


def _limits(table: Any, unsaid: Limits, where: str) -> Limits:
    if not isinstance(table, dict):
        raise TenantsFileError(f"{where}: must be a table")
    values = {name: getattr(unsaid, name) for name in FIELDS}
    for name, value in table.items():
        if name not in FIELDS:
            raise TenantsFileError(
                f"{where}: {_plain(name)}: is not known; a tenant has {', '.join(FIELDS)}"
            )
        values[name] = _number(name, value, where)
    return Limits(**values)


def _number(name: str, value: Any, where: str) -> int | float:
    """A limit's value as TOML has it."""
    least, most = FIELDS[name].metadata["least"], FIELDS[name].metadata["most"]
    is_whole = name.startswith("max_")
    kinds = (int,) if is_whole else (int, float)
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or not least <= value <= most:
        what = "an integer" if is_whole else "a number"
        raise TenantsFileError(
            f"{where}: {name} = {shown(value)}: must be {what} from {least} to {most}"
        )
    return value  # type: ignore[no-any-return]


def _plain(name: str) -> str:
    return name if name.isprintable() and 0 < len(name) <= 80 else shown(name)
