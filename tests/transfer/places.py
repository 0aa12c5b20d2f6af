"""A server, a client of it, and files, for tests of loads and dumps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from omendb_ws.client import Client, connect
from omendb_ws.files.chunks import Shape, WrittenRows
from omendb_ws.files.fields import Fields
from omendb_ws.files.formats import format_of, make_writer, open_reader
from omendb_ws.transfer.dumping import Picture
from omendb_ws.transfer.loading import Load, Options, Progress, plan_of
from tests.server.raw import running


@asynccontextmanager
async def client(**settings: Any) -> AsyncIterator[Client]:
    """A client of a fresh server."""
    async with running(**settings) as server, connect(server.url) as db:
        yield db


async def load(
    db: Client,
    path: Path,
    collection: str = "items",
    *,
    producer: str = "file",
    told: Callable[[Load, Progress], None] = lambda *_: None,
    fields: Fields | None = None,
    ids: Path | None = None,
    reads_ahead: bool = False,
    batch_rows: int | None = None,
    **options: Any,
) -> Progress:
    """Load a file as it is; ``told`` after each batch."""
    there = await db.describe(collection)
    format = format_of(str(path), None)
    reader = open_reader(str(path), format, fields or Fields(), None if ids is None else str(ids))
    plan = await plan_of(db, there, batch_rows, options.get("rate"))
    made = Load(db, reader, there, Options(producer, plan, **options), reads_ahead=reads_ahead)
    try:
        await made.run(lambda progress: told(made, progress))
    finally:
        reader.close()
    return made.progress


async def dump(
    db: Client, path: Path, collection: str = "items", ids: Path | None = None
) -> Picture:
    """Write a collection to a file."""
    there = await db.describe(collection)
    picture = Picture(db, there)
    with ExitStack() as stack:
        file = stack.enter_context(path.open("wb"))
        ids_file = None if ids is None else stack.enter_context(ids.open("wb"))
        shape = Shape(there.dim, there.ids, there.columns)
        writer = make_writer(file, format_of(str(path), None), shape, ids_file)
        async for rows in picture:
            writer.write(rows)
        writer.finish()
    return picture


async def rows(db: Client, collection: str = "items") -> list[tuple[Any, bytes, dict[str, Any]]]:
    """Every row: id, the bits of its vector, metadata; oldest first."""
    picture = Picture(db, await db.describe(collection))
    found: list[tuple[Any, bytes, dict[str, Any]]] = []
    async for part in picture:
        assert isinstance(part, WrittenRows)
        listed = part.ids if isinstance(part.ids, list) else part.ids.tolist()
        bits = [np.asarray(vector, np.float32).tobytes() for vector in part.vectors]
        found += zip(listed, bits, part.metadata, strict=True)
    assert picture.missing == 0
    return found
