"""Reading files in tests: all of one, by every way there is to open it."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from omendb_core.model.types import IdKind

from omendb_ws.files.chunks import BadRow, Chunk, Reader
from omendb_ws.files.fields import Fields
from omendb_ws.files.formats import format_of, open_reader


class All(NamedTuple):
    vectors: np.ndarray[Any, Any]
    numbers: list[int]
    ids: list[Any] | None
    metadata: list[dict[str, Any]]
    bad: list[BadRow]


def opened(path: Path, fields: Fields | None = None, ids: Path | None = None) -> Reader:
    format = format_of(str(path), None)
    return open_reader(str(path), format, fields or Fields(), None if ids is None else str(ids))


def everything(
    reader: Reader, dim: int | None = None, ids: IdKind | None = None, rows: int = 3
) -> All:
    """Read to the end in chunks of ``rows``, and close."""
    try:
        wanted = reader.dim if dim is None else dim
        assert wanted is not None
        chunks = list(reader.chunks(wanted, reader.ids if ids is None else ids, rows))
    finally:
        reader.close()
    assert all(len(chunk.vectors) + len(chunk.bad) <= rows for chunk in chunks)
    shares = [chunk.read for chunk in chunks if chunk.read is not None]
    assert shares == sorted(shares)
    assert not shares or shares[-1] == 1
    parts = [np.asarray(chunk.vectors) for chunk in chunks]
    no_ids = any(chunk.ids is None for chunk in chunks)
    return All(
        np.concatenate(parts) if parts else np.empty((0, wanted)),
        [int(one) for chunk in chunks for one in chunk.numbers],
        None if no_ids else [one for chunk in chunks for one in _listed(chunk)],
        [one for chunk in chunks for one in chunk.metadata or [{}] * len(chunk.vectors)],
        [one for chunk in chunks for one in chunk.bad],
    )


def _listed(chunk: Chunk) -> list[Any]:
    assert chunk.ids is not None
    return chunk.ids if isinstance(chunk.ids, list) else chunk.ids.tolist()


class Pipe:
    """The reading end of a pipe that ``data`` is written to: a stream without a size."""

    def __init__(self, data: bytes) -> None:
        read_end, write_end = os.pipe()
        self.file: BinaryIO = io.BufferedReader(io.FileIO(read_end, "rb"))
        self._writer = threading.Thread(target=self._write, args=(write_end, data))
        self._writer.start()

    @staticmethod
    def _write(write_end: int, data: bytes) -> None:
        with io.FileIO(write_end, "wb") as file:
            try:
                file.write(data)
            except BrokenPipeError:
                return

    def __enter__(self) -> BinaryIO:
        return self.file

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._writer.join()
