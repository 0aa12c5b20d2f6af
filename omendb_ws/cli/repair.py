"""``omendb-ws repair``: what a damaged log has lost, and a sound one in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .directories import DataDir, Tenant, open_store, say_if_empty, span, stored_in, window_limits
from .failure import FAILED

if TYPE_CHECKING:
    from ..journal.interface import Stored
    from ..journal.local.repairing import Repair
    from ..journal.local.store import LocalStore


def repair(
    data_dir: DataDir,
    collection: Annotated[
        str | None, typer.Option(help="Only this collection; default: all that are damaged.")
    ] = None,
    tenant: Tenant = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it; without, only say what would be lost.")
    ] = False,
) -> None:
    """Say what a damaged collection has lost; with --apply, make it usable without that.

    Kept is what the log says without a break: up to the damage or from behind it, whichever holds
    more of the window. Files that are given up stay beside the log as *.damaged. The collection
    gets a new epoch, so clients learn that rows are missing. The server must be stopped. Exit code
    1 if something is damaged still.

    \b
    Examples:
      omendb-ws repair /var/lib/omendb
      omendb-ws repair /var/lib/omendb --collection items --apply
    """
    found = stored_in(data_dir, collection, tenant)
    say_if_empty(data_dir, found)
    store = open_store(data_dir)
    try:
        left = sum(not _repair(store, stored, apply=apply) for stored in found)
    finally:
        store.close()
    if left:
        raise typer.Exit(FAILED)


def _repair(store: LocalStore, stored: Stored, *, apply: bool) -> bool:
    """Whether the collection is sound now."""
    from omendb_core.model.errors import OmenError

    from ..journal.local.repairing import plan_repair

    try:
        plan = plan_repair(store.files, store.path(stored.key), window_limits())
        if plan is None:
            print(f"{stored.name}: sound")
            return True
        _tell(stored, plan)
        if not apply:
            print("  nothing was done; --apply does it")
            return False
        manifest = store.repair(plan)
    except (OmenError, OSError) as error:
        print(f"{stored.name}: {error}")
        return False
    print(f"  repaired; the epoch is {manifest.epoch} now")
    return True


def _tell(stored: Stored, plan: Repair) -> None:
    lost = plan.lost
    print(f"{stored.name}: {plan.damage}")
    for first, last in plan.lost_seqs:
        print(f"  lost: the rows of seqs {first} to {last}, as far as they were live")
    if lost.changes:
        first, last = lost.versions
        print(f"  lost: {lost.changes} changes, versions {first} to {last}")
    print(f"  lost: {plan.lost_bytes} bytes of log, what cannot be read included")
    for segment in plan.set_aside:
        print(f"  set aside: {segment.path}")
    print(f"  kept: version {plan.version}, {span(plan.first_kept_seq, plan.last_seq)}")
