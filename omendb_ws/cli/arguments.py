"""Arguments that are JSON or vectors, read once and refused in one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from .failure import WRONG, fail

if TYPE_CHECKING:
    from numpy.typing import NDArray

Filter = Annotated[
    str | None,
    typer.Option(
        metavar="JSON", help='Only rows that pass, as \'{"price": {"$lt": 10}}\'; see PROTOCOL 5.'
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="metadata|vector", help="What else to show of each row; repeatable."),
]
_INCLUDES: Final = ("metadata", "vector")
#: Text of this many bytes is no vector of any collection.
_MAX_TEXT_BYTES: Final = 4 << 20
#: More vectors are no question but a data set.
_MAX_VECTORS: Final = 100_000


def parse_filter(text: str | None) -> dict[str, Any] | None:
    """A filter as a dict; fails unless it is a JSON object."""
    if text is None:
        return None
    import orjson

    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        fail(WRONG, f"--filter: not JSON: {error}")
    if not isinstance(found, dict):
        fail(WRONG, "--filter: must be a JSON object")
    return found


def parse_include(names: list[str] | None) -> list[Any]:
    """What to include; fails for anything else."""
    wanted = [part for name in names or () for part in name.split(",")]
    for name in wanted:
        if name not in _INCLUDES:
            fail(WRONG, f"--include {name}: must be one of {', '.join(_INCLUDES)}")
    return wanted


def parse_vectors(text: str) -> NDArray[Any]:
    """Vectors (n, dim), from numbers, a file, or standard input ("-"); fails for anything else.

    Numbers are ``[0.5, 1]`` or ``0.5,1``. A file is one that ``load`` reads, ``.npy`` of one vector
    (dim,) too, or text of such numbers.
    """
    import sys

    if text == "-":
        return _numbers(sys.stdin.buffer.read(_MAX_TEXT_BYTES).decode("utf-8", "replace"), "-")
    if text.startswith("[") or (text[:1] in "-+.0123456789" and "," in text):
        return _numbers(text, "the vector")
    return _of_file(text)


def _numbers(text: str, name: str) -> NDArray[Any]:
    import numpy as np
    import orjson

    written = text.strip()
    if not written.startswith("["):
        written = f"[{','.join(written.replace(',', ' ').split())}]"
    try:
        vectors = np.array(orjson.loads(written))
    except ValueError:  # JSONDecodeError is one
        _refuse(name)
    if vectors.ndim == 1 and len(vectors):
        vectors = vectors.reshape(1, -1)
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or not vectors.size:
        _refuse(name)
    return vectors


def _of_file(path: str) -> NDArray[Any]:
    import numpy as np

    from ..files import formats, npy
    from ..files.chunks import FileError
    from ..files.fields import Fields
    from .failure import failing

    with failing(FileError):
        if not path.lower().endswith(tuple(formats.SUFFIXES)):
            return _of_text(path)
        if path.lower().endswith(".npy"):
            with _open(path) as file:
                header = npy.read_header(file, path)
                size_bytes = os.fstat(file.fileno()).st_size - header.offset
            if len(header.shape) == 1 and header.dtype.kind in "fiu":
                npy.check_size(path, header.shape[0] * header.dtype.itemsize, size_bytes)
                one: NDArray[Any] = np.load(path, allow_pickle=False).reshape(1, -1)
                return one
        reader = formats.open_reader(path, formats.format_of(path, None), Fields())
        if reader.dim is None:
            raise FileError(f"{path}: holds no vector")
        parts, count = [], 0
        for chunk in reader.chunks(reader.dim, "auto", 1024):
            if chunk.bad:
                raise FileError(
                    f"{path}: {reader.unit} {chunk.bad[0].number}: {chunk.bad[0].reason}"
                )
            parts.append(np.array(chunk.vectors))
            count += len(chunk.vectors)
            if count > _MAX_VECTORS:
                raise FileError(f"{path}: more than {_MAX_VECTORS:,} vectors to search with")
        reader.close()
        if not parts:
            raise FileError(f"{path}: holds no vector")
        return np.concatenate(parts)


def _of_text(path: str) -> NDArray[Any]:
    with _open(path) as file:
        return _numbers(file.read(_MAX_TEXT_BYTES).decode("utf-8", "replace"), path)


def _open(path: str) -> Any:
    try:
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        fail(WRONG, f"{path}: {getattr(error, 'strerror', None) or error}")


def _refuse(name: str) -> NoReturn:
    fail(WRONG, f"{name}: must be numbers, as [0.5, 1] or 0.5,1, or a file of vectors")
