"""Parquet and Arrow IPC files, as others write them and as we do."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from omendb_ws.files import arrow
from omendb_ws.files.chunks import CutShort, FileError
from omendb_ws.files.fields import Fields
from tests.files.reading import Pipe, everything, opened

VECTORS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.5], [7.0, 8.0]]


def table(**fields: Any) -> pa.Table:
    return pa.table({"vector": pa.array(VECTORS, pa.list_(pa.float32(), 2)), **fields})


def saved(tmp_path: Path, made: pa.Table, kind: str = "parquet") -> Path:
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        try:
            pq.write_table(made, path, row_group_size=3)
        except pa.ArrowNotImplementedError as error:  # up to 24, of vectors that are missing
            pytest.skip(f"pyarrow {pa.__version__} cannot write this: {error}")
    elif kind == "arrow":
        with pa.ipc.new_file(path, made.schema) as out:
            out.write_table(made, max_chunksize=3)
    else:
        with pa.ipc.new_stream(path, made.schema) as out:
            out.write_table(made, max_chunksize=3)
    return path


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrows"])
@pytest.mark.parametrize(
    "type_",
    [pa.list_(pa.float32(), 2), pa.list_(pa.float32()), pa.list_(pa.float64()),
     pa.large_list(pa.float32()), pa.list_(pa.float16(), 2), pa.list_(pa.int16())],
)  # fmt: skip
def test_lists_of_numbers_of_every_kind_are_vectors(tmp_path: Path, type_: Any, kind: str) -> None:
    whole = [[1, 2], [3, 4], [5, 6], [7, 8]]
    halves = [[np.float16(value) for value in row] for row in whole]
    given = halves if "half" in str(type_) else whole
    made = pa.table({"vector": pa.array(given, type_), "id": pa.array([4, 3, 2, 1], pa.int32())})
    reader = opened(saved(tmp_path, made, kind))
    assert reader.ids == "u64"
    assert (reader.rows, reader.dim) == (4, 2)
    read = everything(reader)
    assert read.vectors.tolist() == whole
    assert (read.ids, read.numbers) == ([4, 3, 2, 1], [0, 1, 2, 3])


def test_other_fields_are_metadata_and_their_types_columns(tmp_path: Path) -> None:
    made = table(
        id=["a", "b", "c", "d"],
        price=[1.5, None, float("nan"), 2.0],
        stock=pa.array([1, 2, 3, None], pa.int16()),
        sold=[True, False, None, True],
        kind=pa.array(["x", "y", "x", None]).dictionary_encode(),
        tags=[["p"], [], None, ["q", "r"]],
        at=pa.array([0, 1, None, 2], pa.timestamp("s")),
        metadata=['{"note": 1}', None, "{}", '{"note": null}'],
    )
    reader = opened(saved(tmp_path, made))
    assert reader.columns == {"price": "f64", "stock": "i64", "sold": "bool", "kind": "str"}
    assert reader.ids == "str"
    read = everything(reader)
    assert read.ids == ["a", "b", "c", "d"]
    times = [row.pop("at", None) for row in read.metadata]
    assert times == ["1970-01-01T00:00:00", "1970-01-01T00:00:01", None, "1970-01-01T00:00:02"]
    assert read.metadata == [
        {"price": 1.5, "stock": 1, "sold": True, "kind": "x", "tags": ["p"], "note": 1},
        {"stock": 2, "sold": False, "kind": "y", "tags": []},
        {"stock": 3, "kind": "x"},
        {"price": 2.0, "sold": True, "tags": ["q", "r"], "note": None},
    ]
    chosen = everything(opened(saved(tmp_path, made), Fields(kept=("sold", "note"))))
    assert chosen.metadata == [{"sold": True, "note": 1}, {"sold": False}, {},
                               {"sold": True, "note": None}]  # fmt: skip


@pytest.mark.parametrize("fixed", [True, False])
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, fixed: bool) -> None:
    vectors = [[1.0, 2.0], None, [3.0, None], [4.0, 5.0], [6.0, 7.0], [8.0, 9.0], [0.5, 0.25]]
    made = pa.table({
        "vector": pa.array(vectors, pa.list_(pa.float32(), 2) if fixed else pa.list_(pa.float32())),
        "id": pa.array([1, 2, 3, None, -5, 6, 7]),
        "metadata": ["{}", "{}", "{}", "{}", "{}", "[1]", "{}"],
    })  # fmt: skip
    read = everything(opened(saved(tmp_path, made)), dim=2, rows=10)
    assert (read.numbers, read.ids) == ([0, 6], [1, 7])
    assert read.vectors.tolist() == [[1.0, 2.0], [0.5, 0.25]]
    assert [one.number for one in read.bad] == [1, 2, 3, 4, 5]
    assert [one.reason.split(" ")[0] for one in read.bad] == ["its", "a", "id:", "id:", "metadata:"]


def test_a_row_of_another_dimension_is_bad(tmp_path: Path) -> None:
    made = pa.table({"vector": [[1.0, 2.0], [1.0], [3.0, 4.0]]})
    read = everything(opened(saved(tmp_path, made)), dim=2)
    assert read.numbers == [0, 2]
    assert read.ids is None
    assert read.bad[0].reason == "its vector has 1 dimensions, not 2"


def test_a_name_that_stands_in_two_places_is_bad(tmp_path: Path) -> None:
    made = table(price=[1.0, 2.0, None, 4.0], metadata=['{"price": 1}', "{}", '{"price": 3}', None])
    read = everything(opened(saved(tmp_path, made)))
    assert [one.number for one in read.bad] == [0]
    assert read.metadata == [{"price": 2.0}, {"price": 3}, {"price": 4.0}]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (pa.table({"embedding": VECTORS}), "no field 'vector'; --vector-field"),
        (pa.table({"vector": ["a"]}), "not lists of numbers"),
        (pa.table({"vector": [["a"]]}), "not lists of numbers"),
        (pa.table({"vector": [[1.0]], "id": [1.5]}), "'id' is double"),
        (pa.table({"vector": [[1.0]], "id": [b"x"]}), "'id' is binary"),
        (pa.table({"vector": [[1.0]], "id": [None]}), "'id' is null"),
        (pa.table({"vector": pa.array([[]], pa.list_(pa.float32(), 0))}), "has 0 dimensions"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused(tmp_path: Path, made: pa.Table, said: str) -> None:
    with pytest.raises(FileError, match=said):
        opened(saved(tmp_path, made))


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrows"])
def test_a_file_cut_off_anywhere_is_refused_or_short(tmp_path: Path, kind: str) -> None:
    whole = saved(tmp_path, table(id=[1, 2, 3, 4]), kind).read_bytes()
    path = tmp_path / f"cut.{kind}"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with contextlib.suppress(FileError):
            # A stream may end between two batches: there is nothing that would tell.
            read = everything(opened(path))
            assert kind == "arrows"
            assert read.ids in ([], [1, 2, 3], [1, 2, 3, 4])


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_garbage_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows.{kind}"
    for data in (b"", b"x" * 100, b"PAR1" + bytes(50) + b"PAR1", b"ARROW1\0\0" + bytes(50)):
        path.write_bytes(data)
        with pytest.raises(FileError, match="not a"):
            opened(path)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    made = table(id=[1, 2, 3, 4])
    for kind, opener in (("parquet", arrow.open_parquet), ("arrows", arrow.open_ipc)):
        with Pipe(saved(tmp_path, made, kind).read_bytes()) as pipe:
            assert everything(opener(pipe, "pipe", Fields())).ids == [1, 2, 3, 4]


def test_the_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(FileError, match=r"omendb-ws\[arrow\]"):
        arrow.open_parquet(io.BytesIO(b""), "x", Fields())


# Of Parquet, pyarrow has read the bytes of all rows when the first ones come out.
@pytest.mark.parametrize(
    ("kind", "earlier_chunks"),
    [("parquet", 0), ("arrow", 0), ("arrow", 1), ("arrows", 0), ("arrows", 1)],
)
def test_a_file_that_is_cut_short_while_it_is_read_is_refused(
    tmp_path: Path, kind: str, earlier_chunks: int
) -> None:
    vectors = pa.array([[float(at), 1.0] for at in range(50_000)], pa.list_(pa.float32(), 2))
    made = pa.table({"vector": vectors})
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(made, path, row_group_size=5000, compression="none")
    else:
        new = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with new(path, made.schema) as out:
            out.write_table(made, max_chunksize=5000)
    reader = opened(path)
    with contextlib.closing(reader):
        chunks = reader.chunks(2, "auto", 1000)
        for at in range(earlier_chunks):
            assert next(chunks).vectors[0].tolist() == [at * 1000, 1]
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(CutShort, match=rf"rows\.{kind}: (truncated in )?row \d+") as caught:
            list(chunks)
    assert "\n" not in str(caught.value)


def test_a_stream_that_is_cut_between_two_batches_meanwhile_is_truncated(tmp_path: Path) -> None:
    path, ends = tmp_path / "rows.arrows", []
    made = table()
    with path.open("wb") as file, pa.ipc.new_stream(file, made.schema) as out:
        for _ in range(3000):
            out.write_table(made)
            ends.append(file.tell())
    with contextlib.closing(opened(path)) as reader:
        assert reader.rows == 12_000
        os.truncate(path, ends[1999])
        with pytest.raises(CutShort, match=r"rows\.arrows: truncated in row 8000 "):
            list(reader.chunks(2, "auto", 1000))
