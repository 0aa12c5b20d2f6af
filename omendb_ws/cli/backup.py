"""``omendb-ws backup`` and ``restore``: a collection out of a data directory, and into one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from .directories import DataDir, Tenant, open_store, span, the_one, window_limits
from .failure import FAILED, WRONG, fail

if TYPE_CHECKING:
    from omendb_core.model.errors import OmenError

    from ..journal.interface import Manifest
    from ..wire.limits import Limits

BackupDir = Annotated[str, typer.Argument(metavar="BACKUP", help="Directory of the copy.")]


def backup(
    data_dir: DataDir,
    collection: Annotated[str, typer.Argument(help="Name of the collection.")],
    target: BackupDir,
    tenant: Tenant = None,
) -> None:
    """Copy a collection as it is now, while its server serves or not.

    The copy is one version of the window: ids, seqs, version, epoch, producers' batches. BACKUP
    must not be there yet. It holds segment files as docs/journal.md describes them, read back and
    verified before this ends.

    \b
    Example:
      omendb-ws backup /var/lib/omendb items /backups/items-2026-01-31
    """
    from omendb_core.model.errors import OmenError

    from ..journal.local.backups import back_up
    from ..journal.local.files import LocalFiles

    stored = the_one(data_dir, collection, tenant)
    try:
        made = back_up(LocalFiles(), f"{data_dir}/{stored.key}", target, window_limits())
    except OmenError as error:
        _fail(error)
    print(
        f"{stored.name}: version {made.version}, {span(made.first_seq, made.last_seq)}, epoch"
        f" {made.manifest.epoch}, {made.bytes} bytes"
    )


def restore(
    source: BackupDir,
    data_dir: DataDir,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Its name there; default: its own.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Its tenant there; default: its own.")] = None,
) -> None:
    """Put a copy of a collection into the data directory of a server that is stopped.

    Rows, ids, seqs and version are those of the copy. The epoch is a new one: clients that saw more
    than the copy holds must not take it for what they saw. A collection of that name must not be
    there.

    \b
    Example:
      omendb-ws restore /backups/items-2026-01-31 /var/lib/omendb --as items-old
    """
    from omendb_core.model.errors import OmenError

    from ..wire.fields import check_name
    from .loading import load_settings

    limits = load_settings({}).settings.limits()
    if not os.path.isdir(source):
        fail(WRONG, f"{source}: there is no such directory")
    store = open_store(data_dir)
    try:
        for given, flag in ((name, "--as"), (tenant, "--tenant")):
            if given is not None:
                check_name(given, flag)
        manifest = store.restore(
            source,
            window_limits(),
            tenant,
            name,
            lambda manifest: _refuse_impossible(manifest, limits),
        )
    except OmenError as error:
        _fail(error)
    finally:
        store.close()
    print(f"{manifest.name}: restored; its epoch is {manifest.epoch}")


def _refuse_impossible(manifest: Manifest, limits: Limits) -> None:
    """Raise what ``create`` answers where nobody could make such a collection here."""
    import orjson

    from ..wire.fields import check_name
    from ..wire.messages import Refusal
    from ..wire.text import decode_request

    check_name(manifest.tenant, "tenant")
    definition = manifest.definition
    asked = {
        "id": 0,
        "op": "create",
        "collection": manifest.name,
        "dim": definition.dim,
        "capacity": definition.capacity,
        "metric": definition.metric,
        "ids": definition.ids,
        "columns": dict(definition.columns),
        "ttl": definition.ttl_seconds,
        "durability": manifest.durability,
    }
    decoded = decode_request(orjson.dumps(asked), limits)
    if isinstance(decoded, Refusal):
        raise decoded.error


def _fail(error: OmenError) -> NoReturn:
    from omendb_core.model.errors import BadName, BadRequest, Exists, TooLarge

    is_wrong = isinstance(error, BadName | BadRequest | Exists | TooLarge)
    fail(WRONG if is_wrong else FAILED, str(error))
