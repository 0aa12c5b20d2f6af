"""Data files with changed bytes: rows, or one FileError in a line, whatever sizes are read.

Chunks of another size hold the same rows, and the same bad ones with the same reasons, and reads of
few bytes at a time (a pipe) give what reads of many do. Rows that were read and are written again
are the same rows. What pyarrow reads is fuzzed in a process of its own (``tests/files/mutations``).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from omendb_ws.files import arrays
from omendb_ws.files.chunks import FileError, Reader, Shape, WrittenRows
from omendb_ws.files.fields import Fields
from omendb_ws.files.jsonl import JsonlReader, JsonlWriter
from tests.files.mutations import jsonl, npy, vecs
from tests.fuzz.json_mutating import mutated_json
from tests.fuzz.target import Bounds, Target

Rows = tuple[list[Any], list[Any], list[Any], list[Any], list[Any]]


def rows_of(reader: Reader, most: int) -> Rows:
    """Vectors as bytes, numbers, ids, metadata and bad rows, of all chunks."""
    vectors: list[Any] = []
    numbers: list[Any] = []
    ids: list[Any] = []
    metadata: list[Any] = []
    bad: list[Any] = []
    dim, last = reader.dim or 4, -1
    for chunk in reader.chunks(dim, reader.ids, most):
        count = len(chunk.vectors)
        assert count + len(chunk.bad) <= most
        assert chunk.vectors.shape == (count, dim)
        assert len(chunk.numbers) == count
        assert chunk.read is None or 0 <= chunk.read <= 1
        assert (chunk.ids is None) == (reader.ids == "auto")
        with np.errstate(all="ignore"):
            vectors += [one.tobytes() for one in chunk.vectors.astype(np.float32)]
        numbers += chunk.numbers.tolist()
        ids += [None] * count if chunk.ids is None else list(chunk.ids)
        metadata += (
            [{}] * count if chunk.metadata is None else [one or {} for one in chunk.metadata]
        )
        bad += [tuple(one) for one in chunk.bad]
        seen = sorted([*chunk.numbers.tolist(), *(one.number for one in chunk.bad)])
        assert all(one > last for one in seen)
        last = seen[-1] if seen else last
    assert len(numbers) == len(ids) == len(metadata) == len(vectors)
    for _, reason in bad:
        assert reason.isprintable(), reason
        assert len(reason) < 1000
    return vectors, numbers, ids, metadata, bad


def outcome(open_: Callable[[], Reader], most: int) -> Rows | str:
    """What is read, or why nothing is."""
    reader: Reader | None = None
    try:
        reader = open_()
        return rows_of(reader, most)
    except FileError as error:
        said = str(error)
    finally:
        if reader is not None:
            reader.close()
    assert "\n" not in said
    assert said.startswith("x")
    return said


class Pipe(io.BytesIO):
    """What comes a few bytes at a time, and cannot be sought."""

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size, 5) if size is not None and size >= 0 else 5)


def jsonl_files(data: bytes) -> None:
    one = outcome(lambda: JsonlReader(io.BytesIO(data), "x", Fields()), 1000)
    for most in (1, 3):
        assert outcome(lambda: JsonlReader(io.BytesIO(data), "x", Fields()), most) == one
    numbered = Fields(numbered=True)
    outcome(lambda: JsonlReader(io.BytesIO(data), "x", numbered), 7)
    outcome(lambda: JsonlReader(Pipe(data), "x", Fields()), 7)
    assert not isinstance(one, str), one
    check_written(one)


def check_written(rows: Rows) -> None:
    """Written as lines and read they are the same, where a collection could hold them."""
    vectors, _, ids, metadata, _ = rows
    values = [np.frombuffer(one, np.float32) for one in vectors]
    good = [at for at, one in enumerate(values) if np.isfinite(one).all()]
    if not good or any(id is None for id in ids):
        return
    file = io.BytesIO()
    kind = "str" if isinstance(ids[0], str) else "u64"
    some: Any = [ids[at] for at in good]
    some = some if kind == "str" else np.array(some, np.uint64)
    writer = JsonlWriter(file, Shape(len(values[0]), kind))  # type: ignore[arg-type]
    writer.write(
        WrittenRows(np.stack([values[at] for at in good]), some, [metadata[at] for at in good])
    )
    writer.finish()
    again = outcome(lambda: JsonlReader(io.BytesIO(file.getvalue()), "x", Fields()), 10)
    assert not isinstance(again, str)
    assert again[0] == [vectors[at] for at in good]
    assert [str(id) for id in again[2]] == [str(ids[at]) for at in good]
    assert json.dumps(again[3]) == json.dumps([metadata[at] for at in good])
    assert not again[4]


def npy_files(data: bytes) -> None:
    check_array(data, lambda file: arrays.open_npy(file, "x"))


def fvecs_files(data: bytes) -> None:
    check_array(data, lambda file: arrays.open_vecs(file, "x", "<f4"))


def bvecs_files(data: bytes) -> None:
    check_array(data, lambda file: arrays.open_vecs(file, "x", "u1"))


def check_array(data: bytes, open_: Callable[[io.BytesIO], Reader]) -> None:
    one = outcome(lambda: open_(io.BytesIO(data)), 1000)
    for most in (1, 7):
        found = outcome(lambda: open_(io.BytesIO(data)), most)
        assert isinstance(found, str) == isinstance(one, str)
        if not isinstance(one, str):
            assert found == one
            assert sum(map(len, one[0])) <= 4 * len(data) + 64


JSON_WORDS = [b'"id":', b'"vector":', b'"metadata":', b"\n", b"\r\n", b"\xef\xbb\xbf", b"1e400"]
NPY_WORDS = [
    b"\x93NUMPY", b"'descr'", b"'<f8'", b"'|O'", b"'<U3'", b"'fortran_order': True", b"(20, 4)",
    b"(0, 4)", b"(80,)", b"()", b"[('a', '<f4')]", b"'<c8'", b"'>f4'", b"'<M8[s]'",
]  # fmt: skip
LINES = {
    "rows": jsonl()[:900],
    "odd": b'{"id":"a","vector":[1,2],"price":9.5,"at":123456789012345678}\n\n'
    b'{"id":"18446744073709551615","vector":[0.1,-0.0]}\n{"vector":[1]}\nx\n'
    b'{"id":1,"vector":[1,2],"metadata":{"a":[]}}',
}  # fmt: skip
WIDE = Bounds(calls=100_000, calls_per_byte=2000, peak_bytes=4 << 20)
TARGETS = [
    Target("jsonl_files", jsonl_files, mutated_json, JSON_WORDS, lambda: LINES, bounds=WIDE),
    Target("npy_files", npy_files, words=NPY_WORDS, made=lambda: {"npy": npy()}, bounds=WIDE),
    Target("fvecs_files", fvecs_files, made=lambda: {"rows": vecs("<f4")}, runs=100, bounds=WIDE),
    Target("bvecs_files", bvecs_files, made=lambda: {"rows": vecs("u1")}, runs=100, bounds=WIDE),
]
