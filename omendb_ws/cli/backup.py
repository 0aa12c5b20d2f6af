"""``omendb-ws backup`` and ``restore``: out of a data directory, or a server, and into one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn, cast

import typer

from . import definitions, reaching
from .directories import Tenant, of_one_tenant, open_store, span, the_one, window_limits
from .failure import FAILED, WRONG, fail, failing, interruptible

if TYPE_CHECKING:
    from omendb_core.model.errors import OmenError

    from ..client import Client, Description
    from ..journal.interface import Manifest
    from ..wire.limits import Limits
    from ..wire.messages import Durability

ServerUrl = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="A server: then BACKUP is one file, or - (a pipe)."),
]


def backup(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[DATA_DIR [COLLECTION]] BACKUP",
            help="Directory of a server, a collection, and the directory of its copy; without a"
            " collection one file; with --url the file alone.",
        ),
    ],
    tenant: Tenant = None,
    url: ServerUrl = None,
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", "-c", metavar="NAME", help="In one file: only these."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the one file.")] = False,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
) -> None:
    """Copy a collection as it is now, or all of a tenant's, while the server serves or not.

    The copy is one version of the window: ids, seqs, version, epoch, producers' batches. BACKUP
    must not be there yet. It holds segment files as docs/journal.md describes them, read back and
    verified before this ends.
    With --url, or without COLLECTION, it is one file, or - (a pipe), of all collections of a
    tenant, each at one version, for restore --url. The file is there when all of it is written, or
    not at all. With --url the right is admin, and read, and collections in memory are in it;
    without, each log is copied beside the file while it is read.

    \b
    Examples:
      omendb-ws backup /var/lib/omendb items /backups/items-2026-01-31
      omendb-ws backup /var/lib/omendb all.omen
      omendb-ws backup --url ws://127.0.0.1:8765/v1 all.omen
      omendb-ws backup --url ws://127.0.0.1:8765/v1 - | gzip > all.omen.gz
    """
    if url is not None:
        if len(paths) != 1:
            fail(WRONG, "BACKUP: with --url it is one file")
        at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
        _back_up_server(at, paths[0], collection, force)
        return
    if len(paths) == 2:
        _back_up_tenant(paths[0], paths[1], tenant, collection, force)
        return
    if len(paths) != 3:
        fail(WRONG, "give DATA_DIR, COLLECTION and BACKUP, or DATA_DIR and BACKUP, or --url")
    _back_up_directory(paths[0], paths[1], paths[2], tenant)


@contextmanager
def _written(path: str, force: bool) -> Iterator[BinaryIO]:
    from ..files import remote
    from ..files.chunks import FileError
    from ..files.output import NotWritten, written

    with (
        failing(FileError),
        failing(NotWritten, code=FAILED),
        interruptible(),
        remote.written(path) if remote.is_remote(path) else written(path, replace=force) as file,
    ):
        yield file


def _back_up_server(at: reaching.Address, path: str, names: list[str] | None, force: bool) -> None:
    from ..transfer.copying import write_all

    with _written(path, force) as file:

        async def work(db: Client) -> list[Description]:
            missing = [] if names else await db.list_unavailable()
            if missing:
                fail(FAILED, f"{missing[0].collection}: {missing[0].reason}; -c leaves it out")
            cut = [one.collection for one in await db.list() if one.shards > 1]
            _refuse_cut([name for name in cut if names is None or name in names])
            wanted = names or [one.collection for one in await db.list()]
            return await write_all(db, wanted, file)

        done = reaching.reach(at, work)
    if path != "-":
        for one in done:
            print(f"{one.collection}: version {one.version}, {one.rows:,} rows, epoch {one.epoch}")


def _refuse_cut(names: list[str]) -> None:
    """End if a collection of several shards is among them: nobody makes a snapshot of one yet."""
    if names:
        fail(FAILED, f"{names[0]}: of several shards no snapshots are made yet; -c leaves it out")


def _back_up_tenant(
    data_dir: str, path: str, tenant: str | None, names: list[str] | None, force: bool
) -> None:
    from omendb_core.model.errors import OmenError

    from ..catalog.offline import Written, write_directory
    from ..files import remote
    from ..sharding.names import collection_of

    stored = of_one_tenant(data_dir, names, tenant)
    _refuse_cut([collection_of(one.name) for one in stored if collection_of(one.name) != one.name])
    is_file = path != "-" and not remote.is_remote(path)
    beside = os.path.dirname(os.path.realpath(path)) if is_file else None
    done: list[Written] = []
    with _written(path, force) as file:
        try:
            write_directory(data_dir, stored, file, window_limits(), beside, done.append)
        except OmenError as error:
            fail(FAILED, f"{stored[len(done)].name}: {error}")
    if path != "-":
        for name, version, rows, epoch in done:
            print(f"{name}: version {version}, {rows:,} rows, epoch {epoch}")


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
        str | None,
        typer.Option("--as", metavar="NAME", help="Its name there, * for its own; default: *."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Its tenant there; default: its own.")] = None,
    url: ServerUrl = None,
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", metavar="NAME", help="With --url: only this one."),
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(
            metavar="memory|everysec|always",
            help="With --url: how safe its rows are there.",
            show_default="as they were",
        ),
    ] = None,
    replicas: definitions.Replicas = None,
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
    pipe as it comes. Where a file holds many, --as needs a *, or -c. A snapshot as the
    protocol, the console or HTTP hands it out is taken with -c, or --as NAME.

    \b
    Examples:
      omendb-ws restore /backups/items-2026-01-31 /var/lib/omendb --as items-old
      omendb-ws restore all.omen --url ws://127.0.0.1:8765/v1 -c items --as items-old
      omendb-ws restore all.omen --url ws://127.0.0.1:8765/v1 --as '*-old'
    """
    if url is not None:
        if len(paths) != 1:
            fail(WRONG, "BACKUP: with --url it is one file")
        at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
        chosen = cast(
            "Durability | None", definitions.given(durability=durability).get("durability")
        )
        _restore_to_server(at, paths[0], collection, name, chosen, replicas)
        return
    if len(paths) != 2:
        fail(WRONG, "give BACKUP and DATA_DIR, or --url and BACKUP")
    if replicas is not None:
        fail(WRONG, "--replicas: goes with --url")
    _restore_to_directory(paths[0], paths[1], name, tenant)


def _restore_to_server(
    at: reaching.Address,
    path: str,
    collection: str | None,
    name: str | None,
    durability: Durability | None,
    replicas: int | None,
) -> None:
    import sys

    from omendb_core.model.errors import BadRequest

    from ..files import remote
    from ..files.chunks import FileError
    from ..transfer.copying import restore_all, verify

    def name_of(found: str) -> str | None:
        return (name or "*").replace("*", found) if collection in (None, found) else None

    is_one = collection is not None or (name is not None and "*" not in name)

    with ExitStack() as stack, failing(FileError), interruptible():
        try:
            if remote.is_remote(path):
                file = stack.enter_context(remote.read(path))
            elif path == "-":
                file = sys.stdin.buffer
            else:
                file = stack.enter_context(open(path, "rb"))
                if file.seekable():
                    held = verify(file, is_one=is_one)
                    if is_one and collection is None and len(held) > 1:
                        fail(WRONG, "--as: goes with -c, or needs a *, where a file holds many")
        except OSError as error:
            fail(WRONG, f"{path}: {error.strerror}")
        except BadRequest as error:
            fail(FAILED, f"{path}: {error.message}")

        async def work(db: Client) -> list[Description]:
            return await restore_all(
                db, file, name_of, durability, replicas=replicas, is_one=is_one
            )

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
    if os.path.isfile(source):
        fail(WRONG, f"{source}: a file goes into a server that runs: --url")
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
