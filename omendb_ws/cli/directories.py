"""Collections in a data directory, for the commands that look into one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Final

import typer

from .failure import FAILED, WRONG, fail, say

if TYPE_CHECKING:
    from omendb_core.model.types import WindowLimits

    from ..journal.interface import Manifest, Stored
    from ..journal.local.store import LocalStore

#: The key of a collection whose log is the directory itself: a backup's.
_ITSELF: Final = "."

DataDir = Annotated[str, typer.Argument(metavar="DATA_DIR", help="Data directory of a server.")]
Tenant = Annotated[str | None, typer.Option(help="Its tenant, where several have the name.")]


def stored_in(data_dir: str, name: str | None = None, tenant: str | None = None) -> list[Stored]:
    """The collections of that name, or all; fails if there are none of that name."""
    from ..journal.local import store
    from ..journal.local.files import LocalFiles

    try:
        found = store.stored_in(LocalFiles(), data_dir)
    except OSError as error:
        fail(WRONG, f"{data_dir}: {error.strerror}")
    wanted = [
        stored
        for stored in found
        if name in (None, stored.name) and tenant in (None, stored.tenant)
    ]
    if name is not None and not wanted:
        names = ", ".join(sorted({stored.name for stored in found})) or "none"
        fail(WRONG, f"{data_dir}: there is no collection {name!r}; there are: {names}")
    return sorted(wanted, key=lambda stored: (stored.tenant, stored.name))


def looked_into(data_dir: str) -> list[Stored]:
    """The collections there, for who only reads: that of a backup, too. Says if there is none."""
    from ..journal.interface import Stored
    from ..journal.local.files import LocalFiles
    from ..journal.local.segments import segments_in

    found = stored_in(data_dir)
    if not found and segments_in(LocalFiles(), data_dir):
        return [Stored(_ITSELF, "backup", os.path.basename(os.path.abspath(data_dir)))]
    say_if_empty(data_dir, found)
    return found


def log_of(data_dir: str, stored: Stored) -> str:
    """The directory of its log."""
    return data_dir if stored.key == _ITSELF else f"{data_dir}/{stored.key}"


def names_of(stored: Stored, manifest: Manifest | None) -> dict[str, str]:
    """Tenant and name: of a backup, whose directory may be called anything, as its log says."""
    named = manifest if stored.key == _ITSELF and manifest is not None else stored
    return {"tenant": named.tenant, "collection": named.name}


def the_one(data_dir: str, name: str, tenant: str | None) -> Stored:
    """The collection of that name; fails if there are several."""
    found = stored_in(data_dir, name, tenant)
    if len(found) > 1:
        tenants = ", ".join(sorted({stored.tenant for stored in found}))
        fail(WRONG, f"{name!r} is a collection of several tenants ({tenants}); name one: --tenant")
    return found[0]


def of_one_tenant(data_dir: str, names: list[str] | None, tenant: str | None) -> list[Stored]:
    """The collections of a tenant, or those of these names; fails if several tenants have some."""
    found = stored_in(data_dir, None, tenant)
    tenants = sorted({stored.tenant for stored in found})
    if len(tenants) > 1:
        fail(WRONG, f"{data_dir}: has collections of several tenants ({', '.join(tenants)});"
             " name one: --tenant")  # fmt: skip
    missing = sorted(set(names or []) - {stored.name for stored in found})
    if missing:
        there = ", ".join(stored.name for stored in found) or "none"
        fail(WRONG, f"{data_dir}: there is no collection {missing[0]!r}; there are: {there}")
    if not found:
        fail(WRONG, f"{data_dir}: holds no collection")
    return [stored for stored in found if names is None or stored.name in names]


def open_store(data_dir: str) -> LocalStore:
    """The directory for writing; fails if a server has it."""
    from omendb_core.model.errors import OmenError

    from ..journal.local.store import LocalStore

    try:
        return LocalStore(data_dir)
    except OmenError as error:
        fail(FAILED, f"{error}; stop the server first")
    except OSError as error:
        fail(FAILED, f"{data_dir}: {error.strerror}")


def say_if_empty(data_dir: str, found: list[Stored]) -> None:
    """Silence would look like success to somebody who named another directory."""
    if not found:
        say(f"{data_dir}: holds no collection")


def span(first_seq: int, last_seq: int) -> str:
    """The sequence numbers that a window reaches over."""
    return f"seqs {first_seq} to {last_seq}" if first_seq <= last_seq else "no rows"


def window_limits() -> WindowLimits:
    """The limits of windows that a server would have here (environment included)."""
    from ..catalog.catalog import window_limits
    from .loading import load_settings

    return window_limits(load_settings({}).settings.limits())
