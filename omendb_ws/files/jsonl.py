"""``.jsonl``: one JSON object a line, for people and for every language.

``{"id": 17, "vector": [0.5, …], "metadata": {"price": 9.5}}``; every other field of the object is
metadata too, so ``{"id": 17, "vector": […], "price": 9.5}`` is the same row. Blank lines are passed
over, and so is a byte order mark. Ids of ``u64`` collections are numbers, or decimal strings
(PROTOCOL section 4).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.model.types import MAX_SAFE_INTEGER, ColumnType, IdKind, Ids

from .chunks import BadRow, Chunk, FileError, Shape, Unit, WrittenRows
from .fields import Fields
from .json_text import BadText, parse_object, refuse_changed_integers

#: A line that is longer is no row: a message of the protocol is not longer.
MAX_LINE_BYTES: Final = 16 << 20
#: Lines that are in memory together: one chunk, or those that are looked at first.
_TOGETHER_BYTES: Final = 16 << 20
_DECIMAL: Final = re.compile("0|[1-9][0-9]{0,19}")
#: Lines looked at when the file is opened, for what they have in common.
_LOOKED_AT: Final = 1000
_MARK: Final = b"\xef\xbb\xbf"


class _Bad(Exception):
    """Why a line cannot be used."""


class _Row(NamedTuple):
    id: int | str | None
    vector: list[Any]
    metadata: dict[str, Any]


class _Line(NamedTuple):
    """A line; ``text`` is None for one that is too long, whose bytes are gone."""

    text: bytes | None
    size_bytes: int


class JsonlReader:
    """A Reader of lines; the first ones say what all are held to."""

    unit: Unit = "line"

    def __init__(self, file: BinaryIO, name: str, fields: Fields) -> None:
        self.name, self._file, self._fields = name, file, fields
        self.columns: Mapping[str, ColumnType] = {}
        self.rows: int | None = None
        self._size_bytes = _size_bytes(file)
        self._line = 0
        self._ahead: list[_Line] = []
        self._is_begun = False
        self._read_bytes = 0
        self.dim: int | None = None
        self.ids: IdKind = "u64" if fields.numbered else "auto"
        self._look_ahead()
        self.holds_ids = self.ids != "auto" and not fields.numbered
        self.unused_id: int | None = None

    def _look_ahead(self) -> None:
        """Read the first lines; the dimension is the first one's that has a vector, and there are
        ids if any line has one."""
        size_bytes = 0
        ids: list[int | str] = []
        while len(self._ahead) < _LOOKED_AT and size_bytes < _TOGETHER_BYTES:
            # Whoever types lines into a pipe waits for none: one row that has an id says enough.
            if ids and self._size_bytes is None:
                break
            line = self._next_line()
            if line is None:
                break
            self._ahead.append(line)
            size_bytes += line.size_bytes
            try:
                row = _parse(line.text, self._fields)
            except _Bad:
                continue
            if self.dim is None:
                self.dim = len(row.vector)
            if isinstance(row.id, int | str) and not isinstance(row.id, bool):
                ids.append(row.id)
            elif self._size_bytes is None:
                break
        if ids and not self._fields.numbered:
            self.ids = _kind_of(ids)

    def _next_line(self) -> _Line | None:
        """The next line, with its newline; None at the end."""
        text = self._file.readline(MAX_LINE_BYTES + 1)
        if not text:
            return None
        size_bytes = len(text)
        if not self._is_begun:
            self._is_begun = True
            text = text.removeprefix(_MARK) or b"\n"
        if len(text) <= MAX_LINE_BYTES:
            return _Line(text, size_bytes)
        while not text.endswith(b"\n") and (text := self._file.readline(1 << 20)):
            size_bytes += len(text)
        return _Line(None, size_bytes)

    def chunks(self, dim: int, ids: IdKind, rows: int) -> Iterator[Chunk]:
        """See Reader."""
        while lines := self._lines(rows):
            yield self._chunk(lines, dim, ids)

    def _lines(self, most: int) -> list[_Line]:
        """The next lines, at most so many and so large."""
        lines: list[_Line] = []
        size_bytes = 0
        ahead = self._ahead[:most]
        while len(lines) < most and size_bytes < _TOGETHER_BYTES:
            line = ahead[len(lines)] if len(lines) < len(ahead) else self._next_line()
            if line is None:
                break
            lines.append(line)
            size_bytes += len(line.text or b"")
        del self._ahead[: len(lines)]
        return lines

    def _chunk(self, lines: list[_Line], dim: int, kind: IdKind) -> Chunk:
        numbers: list[int] = []
        rows: list[_Row] = []
        bad: list[BadRow] = []
        for text, size_bytes in lines:
            self._line += 1
            self._read_bytes += size_bytes
            if text is not None and text.isspace():
                continue
            try:
                rows.append(self._row(text, dim, kind))
                numbers.append(self._line)
            except _Bad as why:
                is_cut = text is not None and not text.endswith(b"\n") and "not JSON" in str(why)
                bad.append(BadRow(self._line, f"{why} (the last line)" if is_cut else str(why)))
        ids: Ids | None = None
        if kind == "u64":
            ids = np.array([row.id for row in rows], np.uint64)
        elif kind == "str":
            ids = [str(row.id) for row in rows]
        share = self._read_bytes / self._size_bytes if self._size_bytes else None
        return Chunk(
            vectors=np.array([row.vector for row in rows], np.float64).reshape(-1, dim),
            numbers=np.array(numbers, np.int64),
            ids=ids,
            metadata=[row.metadata for row in rows] if any(row.metadata for row in rows) else None,
            bad=bad,
            read=None if share is None else min(1.0, share),
        )

    def _row(self, text: bytes | None, dim: int, kind: IdKind) -> _Row:
        """The row on this line, as the collection wants it. Raises _Bad."""
        row = _parse(text, self._fields)
        name = self._fields.vector
        if len(row.vector) != dim:
            raise _Bad(f"{name}: has {len(row.vector)} dimensions, not {dim}")
        if not set(map(type, row.vector)) <= {float, int}:  # a bool is no number
            raise _Bad(f"{name}: must be a list of numbers")
        if kind == "auto":
            if row.id is not None and self.unused_id is None and not self.holds_ids:
                self.unused_id = self._line
            return row
        id = self._line - 1 if self._fields.numbered else row.id
        return row._replace(id=_as_kind(id, kind, self._fields.id))

    def close(self) -> None:
        """See Reader."""
        self._file.close()


def count_lines(path: str) -> int:
    """Return how many lines a file has: as many rows, or a few more. Raises FileError."""
    count, last = 0, b"\n"
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                count += block.count(b"\n")
                last = block[-1:]
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from None
    return count + (last != b"\n")


def _parse(text: bytes | None, fields: Fields) -> _Row:
    """The row in ``text``. Raises _Bad."""
    if text is None:
        raise _Bad(f"longer than {MAX_LINE_BYTES >> 20} MiB")
    try:
        found = parse_object(text)
        vector = found.pop(fields.vector, None)
        if not isinstance(vector, list) or not vector:
            raise _Bad(f"{fields.vector}: must be a list of numbers")
        id = None if fields.numbered else found.pop(fields.id, None)
        nested = found.pop("metadata", None)
        if nested is not None:
            if not isinstance(nested, dict):
                raise _Bad("metadata: must be an object")
            twice = found.keys() & nested.keys()
            if twice:
                raise _Bad(f"metadata.{min(twice)}: stands there twice")
            found.update(nested)
        metadata = fields.chosen(found)
        refuse_changed_integers(metadata, text, nested=True)
    except BadText as error:
        raise _Bad(str(error)) from None
    return _Row(id, vector, metadata)


def _kind_of(ids: list[int | str]) -> IdKind:
    """The kind of these ids: numbers among decimal strings are how ``u64`` ones are written."""
    texts = [one for one in ids if isinstance(one, str)]
    if not texts:
        return "u64"
    if len(texts) < len(ids) and all(_DECIMAL.fullmatch(one) for one in texts):
        return "u64"
    return "str" if isinstance(ids[0], str) or len(texts) == len(ids) else "u64"


def _as_kind(id: object, kind: IdKind, name: str) -> int | str:
    """An id as the collection has them. Raises _Bad."""
    if id is None:
        raise _Bad(f"{name}: missing, and the collection's ids are {kind}")
    if kind == "str":
        if not isinstance(id, str) or not id or "\0" in id or len(id.encode()) > 256:
            raise _Bad(f"{name}: must be text of 1 to 256 bytes, without NUL")
        return id
    if isinstance(id, str) and _DECIMAL.fullmatch(id):
        id = int(id)
    if isinstance(id, bool) or not isinstance(id, int) or not 0 <= id < 2**64:
        raise _Bad(f"{name}: must be a whole number from 0 to 2**64 - 1")
    return id


def _size_bytes(file: BinaryIO) -> int | None:
    """The size of what lies on a disk; None for a pipe."""
    if not file.seekable():
        return None
    here = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(here)
    return size


class JsonlWriter:
    """Writes rows as lines. Vectors are written so that reading them gives the same bits."""

    leaves_out: tuple[str, ...] = ()

    def __init__(self, file: BinaryIO, shape: Shape) -> None:
        self._file = file

    def write(self, rows: WrittenRows) -> None:
        """See Writer."""
        vectors = np.ascontiguousarray(rows.vectors, np.float32)
        ids = rows.ids if isinstance(rows.ids, list) else rows.ids.tolist()
        for id, vector, metadata in zip(ids, vectors, rows.metadata, strict=True):
            self._file.write(as_line(id, vector, metadata))

    def finish(self) -> None:
        """See Writer."""


def as_line(id: int | str, vector: NDArray[Any] | None, metadata: dict[str, Any] | None) -> bytes:
    """A row as a line, with its newline; integers above 2**53 - 1 are strings."""
    named = str(id) if isinstance(id, int) and id > MAX_SAFE_INTEGER else id
    row: dict[str, Any] = {"id": named}
    if vector is not None:
        row["vector"] = vector
    if metadata:
        row["metadata"] = metadata
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
