"""``omendb-ws backup`` and ``restore``: out of a data directory, or a server, and into one."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from . import reaching
from .directories import Tenant, open_store, span, the_one, window_limits
from .failure import FAILED, WRONG, fail, failing, interruptible

if TYPE_CHECKING:
    from omendb_core.model.errors import OmenError

    from ..client import Client, Description
    from ..journal.interface import Manifest
    from ..wire.limits import Limits

ServerUrl = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="A server: then BACKUP is one file, or - (a pipe)."),
]


def backup(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[DATA_DIR COLLECTION] BACKUP",
            help="Directory of a server, a collection, and the directory of its copy; with --url"
            " the file alone.",
        ),
    ],
    tenant: Tenant = None,
    url: ServerUrl = None,
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", "-c", metavar="NAME", help="With --url: only these."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --url: write over the file.")
    ] = False,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
) -> None:
    """Copy a collection as it is now, or all of a server's, while that serves or not.

    The copy is one version of the window: ids, seqs, version, epoch, producers' batches. BACKUP
    must not be there yet. It holds segment files as docs/journal.md describes them, read back and
    verified before this ends.
    With --url it is one file of all collections of the tenant, each at one version; the right is
    admin, and read. The file is there when all of it is written, or not at all.

    \b
    Examples:
      omendb-ws backup /var/lib/omendb items /backups/items-2026-01-31
      omendb-ws backup --url ws://127.0.0.1:8765 all.omen
      omendb-ws backup --url ws://127.0.0.1:8765 - | gzip > all.omen.gz
    """
    if url is not None:
        if len(paths) != 1:
            fail(WRONG, "BACKUP: with --url it is one file")
        at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
        _back_up_server(at, paths[0], collection, force)
        return
    if len(paths) != 3:
        fail(WRONG, "give DATA_DIR, COLLECTION and BACKUP, or --url and BACKUP")
    _back_up_directory(paths[0], paths[1], paths[2], tenant)


def _back_up_server(at: reaching.Address, path: str, names: list[str] | None, force: bool) -> None:
    from ..files import remote
    from ..files.chunks import FileError
    from ..files.output import NotWritten, written
    from ..transfer.copying import write_all

    with (
        failing(FileError),
        failing(NotWritten, code=FAILED),
        interruptible(),
        remote.written(path) if remote.is_remote(path) else written(path, replace=force) as file,
    ):

        async def work(db: Client) -> list[Description]:
            missing = [] if names else await db.list_unavailable()
            if missing:
                fail(FAILED, f"{missing[0].collection}: {missing[0].reason}; -c leaves it out")
            wanted = names or [one.collection for one in await db.list()]
            return await write_all(db, wanted, file)

        done = reaching.reach(at, work)
    if path != "-":
        for one in done:
            print(f"{one.collection}: version {one.version}, {one.rows:,} rows, epoch {one.epoch}")


def _back_up_directory(
    data_dir: str, collection: str, target: str, tenant: str | None = None
) -> None:
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
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="BACKUP [DATA_DIR]",
            help="A copy, and the data directory of a server that is stopped; with --url the file"
            " alone.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Its name there; default: its own.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Its tenant there; default: its own.")] = None,
    url: ServerUrl = None,
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", metavar="NAME", help="With --url: only this one."),
    ] = None,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
) -> None:
    """Put a copy of a collection into the data directory of a server that is stopped, or a file of
    copies into one that runs.

    Rows, ids, seqs and version are those of the copy. The epoch is a new one: clients that saw more
    than the copy holds must not take it for what they saw. A collection of that name must not be
    there. With --url each collection is there once all of it came; a file is verified before, a
    pipe as it comes. --as goes with -c there.

    \b
    Examples:
      omendb-ws restore /backups/items-2026-01-31 /var/lib/omendb --as items-old
      omendb-ws restore all.omen --url ws://127.0.0.1:8765 -c items --as items-old
    """
    if url is not None:
        if len(paths) != 1:
            fail(WRONG, "BACKUP: with --url it is one file")
        if name is not None and collection is None:
            fail(WRONG, "--as: goes with --collection where a file holds many")
        at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
        _restore_to_server(at, paths[0], collection, name)
        return
    if len(paths) != 2:
        fail(WRONG, "give BACKUP and DATA_DIR, or --url and BACKUP")
    _restore_to_directory(paths[0], paths[1], name, tenant)


def _restore_to_server(
    at: reaching.Address, path: str, collection: str | None, name: str | None
) -> None:
    import sys

    from omendb_core.model.errors import BadRequest

    from ..files import remote
    from ..files.chunks import FileError
    from ..transfer.copying import restore_all, verify

    def name_of(found: str) -> str | None:
        if collection is None:
            return found
        return (name or found) if found == collection else None

    with ExitStack() as stack, failing(FileError), interruptible():
        try:
            if remote.is_remote(path):
                file = stack.enter_context(remote.read(path))
            elif path == "-":
                file = sys.stdin.buffer
            else:
                file = stack.enter_context(open(path, "rb"))
                if file.seekable():
                    verify(file)
        except OSError as error:
            fail(WRONG, f"{path}: {error.strerror}")
        except BadRequest as error:
            fail(FAILED, f"{path}: {error.message}")

        async def work(db: Client) -> list[Description]:
            return await restore_all(db, file, name_of)

        done = reaching.reach(at, work)
    for one in done:
        print(f"{one.collection}: restored, {one.rows:,} rows; its epoch is {one.epoch}")
    if collection is not None and not done:
        fail(WRONG, f"{path}: holds no {collection}")


def _restore_to_directory(source: str, data_dir: str, name: str | None, tenant: str | None) -> None:
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
