"""Which format a name means, and opening any of them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import PurePath
from typing import BinaryIO, Final

from . import arrays, arrow, arrow_writer, jsonl, npy, vecs
from .chunks import FileError, Reader, Shape, Writer
from .fields import Fields

#: Format by the end of a file's name.
SUFFIXES: Final = {
    ".npy": "npy",
    ".fvecs": "fvecs",
    ".bvecs": "bvecs",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
FORMATS: Final = tuple(dict.fromkeys(SUFFIXES.values()))
#: Formats whose rows have no fields: ids are row numbers, or come from another file.
WITHOUT_FIELDS: Final = ("npy", "fvecs", "bvecs")
#: The name that stands for standard input and output.
STANDARD: Final = "-"


def format_of(path: str, given: str | None) -> str:
    """The format ``given``, or what the name ends with. Raises FileError."""
    if given is not None:
        if given not in FORMATS:
            raise FileError(f"--format {given}: it is one of {', '.join(FORMATS)}")
        return given
    if path == STANDARD:
        raise FileError(f"-: needs --format, one of {', '.join(FORMATS)}")
    found = SUFFIXES.get(PurePath(path).suffix.lower())
    if found is None:
        raise FileError(f"{path}: needs --format, one of {', '.join(FORMATS)}")
    return found


def open_reader(path: str, format: str, fields: Fields, ids_path: str | None = None) -> Reader:
    """Open ``path`` ("-": standard input). ``ids_path``: an ``.npy`` of ids for formats without.

    Raises FileError.
    """
    if ids_path is not None and format not in WITHOUT_FIELDS:
        raise FileError(f"{ids_path}: ids from another file go with {', '.join(WITHOUT_FIELDS)}")
    name = "standard input" if path == STANDARD else path
    file = _open(path)
    given_ids = None
    try:
        given_ids = None if ids_path is None else npy.open_ids(ids_path)
        if format == "npy":
            return arrays.open_npy(file, name, given_ids)
        if format in arrays.VECS_ELEMENTS:
            return arrays.open_vecs(file, name, arrays.VECS_ELEMENTS[format], given_ids)
        if format == "jsonl":
            return jsonl.JsonlReader(file, name, fields)
        opener = arrow.open_parquet if format == "parquet" else arrow.open_ipc
        return opener(file, name, fields)
    except BaseException:
        file.close()
        if given_ids is not None:
            given_ids.close()
        raise


def make_writer(
    file: BinaryIO, format: str, shape: Shape, ids_file: BinaryIO | None = None
) -> Writer:
    """Return what writes rows of ``shape`` to ``file``. Raises FileError."""
    if format == "npy":
        return npy.NpyWriter(file, shape, ids_file)
    if ids_file is not None:
        raise FileError("ids go to another file with npy only")
    if format in arrays.VECS_ELEMENTS:
        return vecs.VecsWriter(file, shape, format)
    if format == "jsonl":
        return jsonl.JsonlWriter(file, shape)
    return arrow_writer.ArrowWriter(file, shape, format)


def _open(path: str) -> BinaryIO:
    if path == STANDARD:
        # Not ``sys.stdin``: at exit Python would wait for a thread that still reads it.
        return open(0, "rb", closefd=False)
    try:
        file = open(path, "rb")  # noqa: SIM115 - the reader's to close
        with suppress(OSError, AttributeError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return file
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
