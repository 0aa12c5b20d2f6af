"""``.npy``, ``.fvecs`` and ``.bvecs``, whole and broken in every way."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omendb_ws.files import file_rows
from omendb_ws.files.arrays import open_npy, open_vecs
from omendb_ws.files.chunks import CutShort, FileError
from omendb_ws.files.npy import open_ids
from tests.examples import examples
from tests.files.reading import Pipe, everything, opened

DTYPES = ["<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "i1", "u1", "<i2", ">i4", "<i8", ">u8"]


def numbers(rows: int = 7, dim: int = 5, dtype: str = "<f4") -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).integers(0, 100, (rows, dim)).astype(dtype)


def npy_bytes(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def vecs_bytes(array: np.ndarray[Any, Any], dim: int | None = None) -> bytes:
    return b"".join(struct.pack("<i", dim or len(row)) + row.tobytes() for row in array)


def saved(tmp_path: Path, data: bytes, name: str = "rows.npy") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def refusal(path: Path, **kwargs: Any) -> str:
    """What is said of a file that cannot be read; it names the file."""
    with pytest.raises(FileError) as caught:
        everything(opened(path, **kwargs))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- .npy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_every_type_and_order_are_read(tmp_path: Path, dtype: str, order: Any) -> None:
    array = numbers(dtype=dtype)
    reader = opened(saved(tmp_path, npy_bytes(np.asarray(array, order=order))))
    assert (reader.dim, reader.rows, reader.ids, reader.columns) == (5, 7, "u64", {})
    read = everything(reader)
    assert np.array_equal(read.vectors, array)
    assert read.numbers == read.ids == list(range(7))
    assert read.bad == []


def test_a_file_and_a_pipe_are_read_alike(tmp_path: Path) -> None:
    data = npy_bytes(numbers(100, 9))
    with open(saved(tmp_path, data), "rb") as file:
        whole = everything(open_npy(file, "file"))
    with Pipe(data) as pipe:
        streamed = everything(open_npy(pipe, "pipe"))
    assert np.array_equal(whole.vectors, streamed.vectors)
    assert whole.ids == streamed.ids


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_both_versions_of_the_header_are_read(tmp_path: Path, version: Any) -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, numbers(), version)
    assert len(everything(opened(saved(tmp_path, file.getvalue()))).numbers) == 7


@pytest.mark.parametrize("is_pipe", [False, True])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, is_pipe: bool) -> None:
    data = npy_bytes(numbers(3, 2))
    for size in range(len(data)):
        if is_pipe:
            with Pipe(data[:size]) as pipe, pytest.raises(FileError):
                everything(open_npy(pipe, "pipe"))
        else:
            said = refusal(saved(tmp_path, data[:size]))
            assert "truncated" in said or "not an .npy file" in said


@pytest.mark.parametrize("is_pipe", [False, True])
def test_bytes_behind_the_array_are_not_passed_over(tmp_path: Path, is_pipe: bool) -> None:
    data = npy_bytes(numbers()) + b"x"
    if not is_pipe:
        assert "1 bytes more" in refusal(saved(tmp_path, data))
        return
    with Pipe(data) as pipe, pytest.raises(FileError, match="more bytes"):
        everything(open_npy(pipe, "pipe"))


@given(st.integers(0, 79), st.integers(0, 255))
@settings(max_examples=examples(300), deadline=None)
def test_a_flipped_byte_of_the_header_is_read_as_something_or_refused(at: int, byte: int) -> None:
    data = bytearray(npy_bytes(numbers(4, 4)))
    data[at] = byte
    with Pipe(bytes(data)) as pipe, contextlib.suppress(FileError):
        everything(open_npy(pipe, "pipe"))


class Trap:
    """Says so if it is ever unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was unpickled",))


def test_objects_are_refused_and_not_unpickled(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|O", "fortran_order": False, "shape": (1, 2)}
    )
    trap = pickle.dumps([Trap(), Trap()])
    assert "objects" in refusal(saved(tmp_path, file.getvalue() + trap))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(4, "<f4"), r"\(rows, dimensions\), its shape is \(4,\)"),
        (np.zeros((2, 2, 2), "<f4"), r"\(2, 2, 2\)"),
        (np.zeros((3, 0), "<f4"), "have 0 dimensions"),
        (np.zeros((2, 2), np.bool_), "bool"),
        (np.zeros((2, 2), np.complex64), "complex64"),
        (np.zeros((2, 2), "<U3"), "<U3"),
        (np.zeros((2, 2), "M8[s]"), "datetime64"),
        (np.zeros((2, 2), [("a", "<f4")]), "'a'"),
    ],
)
def test_what_is_no_matrix_of_real_numbers_is_refused(
    tmp_path: Path, array: np.ndarray[Any, Any], said: str
) -> None:
    path = saved(tmp_path, npy_bytes(array))
    with pytest.raises(FileError, match=said):
        opened(path)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"PK\x03\x04" + bytes(200), b"x" * 200])
def test_what_is_no_npy_file_is_refused(tmp_path: Path, data: bytes) -> None:
    assert "not an .npy file" in refusal(saved(tmp_path, data))


@pytest.mark.parametrize(
    "shape",
    ["(-1, 4)", "(True, 4)", "(2**70, 4)", "(99999999999999999999999, 4)", "('a', 1)", "7",
     "(" + "9" * 4200 + ", 4)", "(0x" + "f" * 8000 + ", 4)", "(2, 0x" + "f" * 8000 + ")",
     "(281474976710656, 4)", "((((" * 500],
)  # fmt: skip
def test_a_header_that_lies_about_its_shape_is_refused(tmp_path: Path, shape: str) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(64)
    said = refusal(saved(tmp_path, data))
    assert "\n" not in said
    assert len(said) < 400
    with pytest.raises(FileError):
        open_ids(str(saved(tmp_path, data, "ids.npy")))


def test_ids_without_a_letter_are_none(tmp_path: Path) -> None:
    text = "{'descr': '<U0', 'fortran_order': False, 'shape': (7,), }".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
    with pytest.raises(FileError, match="ids are one array"):
        open_ids(str(saved(tmp_path, data, "ids.npy")))


def test_a_header_that_is_code_is_not_run(tmp_path: Path) -> None:
    text = "__import__('os').abort()".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
    refusal(saved(tmp_path, data))


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    reader = opened(saved(tmp_path, npy_bytes(numbers(0, 5))))
    assert (reader.dim, reader.rows) == (5, 0)
    assert everything(reader).numbers == []


def test_fortran_order_from_a_pipe_is_refused() -> None:
    data = npy_bytes(np.asfortranarray(numbers()))
    with Pipe(data) as pipe, pytest.raises(FileError, match="Fortran"):
        open_npy(pipe, "pipe")


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing.npy")
    (tmp_path / "folder.npy").mkdir()
    assert "directory" in refusal(tmp_path / "folder.npy")


# -- ids of another file ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<u8", ">i4", "<i8", "u1"])
def test_ids_come_from_another_file(tmp_path: Path, dtype: str) -> None:
    ids = saved(tmp_path, npy_bytes(np.arange(10, 17, dtype=dtype)), "ids.npy")
    read = everything(opened(saved(tmp_path, npy_bytes(numbers())), ids=ids))
    assert read.ids == list(range(10, 17))


def test_ids_may_be_text(tmp_path: Path) -> None:
    ids = saved(tmp_path, npy_bytes(np.array(["a", "bb", "ü"])), "ids.npy")
    reader = opened(saved(tmp_path, npy_bytes(numbers(3))), ids=ids)
    assert reader.ids == "str"
    assert everything(reader).ids == ["a", "bb", "ü"]


def test_a_negative_id_is_a_bad_row(tmp_path: Path) -> None:
    ids = saved(tmp_path, npy_bytes(np.array([5, -1, 6, 7, -2])), "ids.npy")
    read = everything(opened(saved(tmp_path, npy_bytes(numbers(5))), ids=ids))
    assert read.ids == [5, 6, 7]
    assert [one.number for one in read.bad] == [1, 4]
    assert np.array_equal(read.vectors, numbers(5)[[0, 2, 3]])


@pytest.mark.parametrize("count", [0, 6, 8])
def test_as_many_ids_as_rows_are_wanted(tmp_path: Path, count: int) -> None:
    ids = saved(tmp_path, npy_bytes(np.arange(count)), "ids.npy")
    assert f"there are {count} ids" in refusal(saved(tmp_path, npy_bytes(numbers())), ids=ids)


@pytest.mark.parametrize("array", [np.zeros((2, 2), "<u8"), np.zeros(7, "<f4"), np.array(None)])
def test_what_are_no_ids_is_refused(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    ids = saved(tmp_path, npy_bytes(array), "ids.npy")
    with pytest.raises(FileError, match=r"ids\.npy: "):
        opened(saved(tmp_path, npy_bytes(numbers())), ids=ids)


def test_ids_of_another_kind_than_the_collections_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, npy_bytes(numbers()))
    with pytest.raises(FileError, match="row numbers are u64, the collection's ids are str"):
        everything(opened(path), ids="str")
    with pytest.raises(FileError, match="has 5 dimensions, the collection 6"):
        everything(opened(path), dim=6)
    assert everything(opened(path), ids="auto").ids is None


# -- cut short while it is read ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["C", "F", "fvecs", "bvecs"])
@pytest.mark.parametrize("earlier_chunks", [0, 1])
def test_a_file_that_is_cut_short_while_it_is_read_is_truncated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, earlier_chunks: int
) -> None:
    monkeypatch.setattr(file_rows, "_BLOCK_BYTES", 1)
    array = numbers(5000, 16, "u1" if kind == "bvecs" else "<f4")
    data = vecs_bytes(array) if "vecs" in kind else npy_bytes(np.asarray(array, order=kind))
    path = saved(tmp_path, data, f"rows.{kind if 'vecs' in kind else 'npy'}")
    reader = opened(path)
    with contextlib.closing(reader):
        chunks = reader.chunks(16, "u64", 100)
        for at in range(earlier_chunks):
            assert np.array_equal(next(chunks).vectors, array[at * 100 : at * 100 + 100])
        os.truncate(path, len(data) // 2)
        where = "column" if kind == "F" else "row"
        with pytest.raises(CutShort, match=rf"rows\.\w+: truncated in {where} \d+: ") as caught:
            list(chunks)
    if kind != "F":
        # 2,500, less what the header of .npy takes.
        assert re.search(r"truncated in row (24\d\d|2500): ", str(caught.value))


@pytest.mark.parametrize("dtype", ["<u8", "<U8"])
def test_ids_that_are_cut_short_while_they_are_read_are_truncated(
    tmp_path: Path, dtype: str
) -> None:
    ids = saved(tmp_path, npy_bytes(np.arange(5000).astype(dtype)), "ids.npy")
    reader = opened(saved(tmp_path, npy_bytes(numbers(5000))), ids=ids)
    with contextlib.closing(reader):
        chunks = reader.chunks(5, reader.ids, 100)
        next(chunks)
        os.truncate(ids, ids.stat().st_size // 2)
        with pytest.raises(CutShort, match=r"ids\.npy: truncated in row 24\d\d: "):
            list(chunks)


def test_rows_in_fortran_order_are_the_same_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = numbers(100, 9)
    path = saved(tmp_path, npy_bytes(np.asfortranarray(array)))
    for block_bytes in (1, 9 * 4 * 10, 9 * 4 * 64, 1 << 20):
        monkeypatch.setattr(file_rows, "_BLOCK_BYTES", block_bytes)
        assert np.array_equal(everything(opened(path), rows=7).vectors, array)


# -- .fvecs, .bvecs ---------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "dtype"), [("fvecs", "<f4"), ("bvecs", "u1")])
@pytest.mark.parametrize("is_pipe", [False, True])
def test_vectors_behind_their_dimension_are_read(
    tmp_path: Path, suffix: str, dtype: str, is_pipe: bool
) -> None:
    array = numbers(dtype=dtype)
    path = saved(tmp_path, vecs_bytes(array), f"rows.{suffix}")
    if is_pipe:
        with Pipe(path.read_bytes()) as pipe:
            reader = open_vecs(pipe, "pipe", dtype)
            assert (reader.dim, reader.rows) == (5, None)
            read = everything(reader)
    else:
        reader = opened(path)
        assert (reader.dim, reader.rows) == (5, 7)
        read = everything(reader)
    assert np.array_equal(read.vectors, array)
    assert read.ids == list(range(7))


def test_vectors_cut_off_anywhere_are_refused(tmp_path: Path) -> None:
    data = vecs_bytes(numbers(3, 2))
    for size in range(1, len(data)):
        if size % 12:
            assert "truncated" in refusal(saved(tmp_path, data[:size], "rows.fvecs"))
            with Pipe(data[:size]) as pipe, pytest.raises(FileError, match="truncated"):
                everything(open_vecs(pipe, "pipe", "<f4"))
    assert everything(opened(saved(tmp_path, data[:24], "rows.fvecs"))).numbers == [0, 1]


def test_a_row_of_another_dimension_is_named(tmp_path: Path) -> None:
    data = vecs_bytes(numbers(5, 2)) + vecs_bytes(numbers(1, 2), dim=3)
    path = saved(tmp_path, data, "rows.fvecs")
    assert "row 5 has 3 dimensions, the first 2" in refusal(path)
    # One that throws the others out of step.
    data = vecs_bytes(numbers(5, 2)) + vecs_bytes(numbers(1, 3)) + vecs_bytes(numbers(5, 2))
    assert "row 5 has 3 dimensions" in refusal(saved(tmp_path, data, "rows.fvecs"))


@pytest.mark.parametrize("dim", [0, -1, 2**31 - 1])
def test_a_first_dimension_that_cannot_be_is_refused(tmp_path: Path, dim: int) -> None:
    path = saved(tmp_path, struct.pack("<i", dim) + bytes(16), "rows.fvecs")
    assert f"the first has {dim} dimensions" in refusal(path)


def test_an_empty_file_of_vectors_has_no_rows(tmp_path: Path) -> None:
    reader = opened(saved(tmp_path, b"", "rows.fvecs"))
    assert (reader.dim, reader.rows) == (None, 0)
    assert everything(reader, dim=4).numbers == []
