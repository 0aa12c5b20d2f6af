"""``omendb-ws dump``: the rows of a collection into a file."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from . import reaching
from .failure import FAILED, WRONG, fail, failing, interruptible, say
from .load_options import Format
from .output import print_json

if TYPE_CHECKING:
    from ..client import Client
    from ..transfer.dumping import Picture


def dump(
    file: Annotated[str, typer.Argument(help="The file; - is standard output.")],
    collection: reaching.CollectionFlag,
    format: Format = None,
    ids_to: Annotated[
        str | None, typer.Option(metavar="FILE.npy", help="With npy: an array (n,) of the ids.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files.")] = False,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Write the rows of a collection to a file that load reads.

    The rows are those of one version, oldest first. Rows that leave the window while it is read are
    missing, and it says how many. The file is there when all of it is written, or not at all; a
    FIFO or a device is written to as it is.
    npy, fvecs and bvecs have no place for metadata. Vectors are written as they are stored:
    normalised under cosine.

    \b
    Examples:
      omendb-ws dump items.jsonl -c items
      omendb-ws dump items.npy -c items --ids-to ids.npy
      omendb-ws dump - -c items --format jsonl | gzip > items.jsonl.gz
    """
    from ..files.chunks import FileError
    from ..files.formats import STANDARD, format_of
    from ..files.output import NotWritten, written
    from ..transfer.dumping import Ended

    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    with (
        failing(FileError),
        failing(Ended, NotWritten, code=FAILED),
        interruptible(),  # opening a FIFO waits for its reader
        ExitStack() as stack,
    ):
        kind = format_of(file, format)
        if ids_to is not None and kind != "npy":
            fail(WRONG, "--ids-to: goes with npy; the other formats hold the ids, or have no place")
        if ids_to is not None and os.path.realpath(ids_to) == os.path.realpath(file):
            fail(WRONG, f"--ids-to {ids_to}: is the file of the vectors")
        out = stack.enter_context(written(file, replace=force))
        ids_out = None if ids_to is None else stack.enter_context(written(ids_to, replace=force))

        async def work(db: Client) -> tuple[Picture, set[str]]:
            return await _dump(db, collection, kind, out, ids_out)

        picture, left_out = reaching.reach(at, work, reconnect=True)
    _report(picture, left_out, kind, file, as_json, is_piped=file == STANDARD)


async def _dump(
    db: Client, collection: str, kind: str, out: BinaryIO, ids_out: BinaryIO | None
) -> tuple[Picture, set[str]]:
    """Write all; return what was read, and what the format had no place for."""
    from ..files.chunks import Shape
    from ..files.formats import make_writer
    from ..transfer.dumping import Picture
    from .progress import shown

    there = await db.describe(collection)
    writer = make_writer(out, kind, Shape(there.dim, there.ids, there.columns), ids_out)
    picture = Picture(db, there)
    left_out = {"ids"} & set(writer.leaves_out) if there.ids != "auto" else set()
    with shown(collection) as bar:
        async for rows in picture:
            writer.write(rows)
            if any(rows.metadata):
                left_out |= {"metadata"} & set(writer.leaves_out)
            bar.update(picture.rows, picture.share)
    writer.finish()
    return picture, left_out


def _report(
    picture: Picture, left_out: set[str], kind: str, file: str, as_json: bool, *, is_piped: bool
) -> None:
    there = picture.description
    for name in sorted(left_out):
        hint = "; --ids-to keeps them" if (name, kind) == ("ids", "npy") else ""
        say(f"{kind} has no place for {name}, left out{hint}")
    if picture.missing:
        why = ", ".join(sorted({gap.reason for gap in picture.gaps})) or "replaced or deleted"
        say(
            f"{picture.missing:,} of {there.rows:,} rows left the window while it was read ({why}),"
            " and are missing"
        )
    if as_json:
        document: dict[str, Any] = {
            "collection": there.collection,
            "epoch": there.epoch,
            "version": there.version,
            "rows": picture.rows,
            "missing_rows": picture.missing,
            "left_out": sorted(left_out),
        }
        if not is_piped:
            print_json(document)
    elif not is_piped:
        print(f"{there.collection}: {picture.rows:,} rows of version {there.version} in {file}")
