"""Lines of JSON: every way to write a row, and every way to get one wrong."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omendb_ws.files.chunks import Shape, WrittenRows
from omendb_ws.files.fields import Fields
from omendb_ws.files.jsonl import JsonlReader, JsonlWriter
from tests.examples import examples
from tests.files.reading import Pipe, everything, opened

GOOD = b'{"id": 1, "vector": [1, 2.5], "metadata": {"price": 9}}\n'


def saved(tmp_path: Path, *lines: bytes) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def test_metadata_stands_in_its_own_object_or_beside(tmp_path: Path) -> None:
    path = saved(
        tmp_path, GOOD, b'{"vector": [3, 4], "price": 8, "id": 2}\n', b"\n",
        b'{"id": 3, "vector": [5, 6], "a": [1], "metadata": {"b": null}}',
    )  # fmt: skip
    reader = opened(path)
    assert (reader.dim, reader.rows, reader.ids) == (2, None, "u64")
    read = everything(reader)
    assert read.vectors.tolist() == [[1, 2.5], [3, 4], [5, 6]]
    assert read.ids == [1, 2, 3]
    assert read.metadata == [{"price": 9}, {"price": 8}, {"a": [1], "b": None}]
    assert read.numbers == [1, 2, 4]


def test_the_fields_can_have_other_names_and_some_be_left_out(tmp_path: Path) -> None:
    path = saved(tmp_path, b'{"key": "x", "id": 5, "embedding": [1], "a": 1, "b": 2}\n')
    read = everything(opened(path, Fields("key", "embedding", ("b", "id"))))
    assert (read.ids, read.metadata) == (["x"], [{"b": 2, "id": 5}])
    read = everything(opened(path, Fields(vector="embedding", numbered=True)))
    assert (read.ids, read.metadata) == ([0], [{"key": "x", "id": 5, "a": 1, "b": 2}])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"nonsense", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"id": 1, "vector": [NaN, 1]}', "not JSON"),
        (b'{"id": 1}', "vector: must be a list"),
        (b'{"id": 1, "vector": "1, 2"}', "vector: must be a list"),
        (b'{"id": 1, "vector": []}', "vector: must be a list"),
        (b'{"id": 1, "vector": [1, 2, 3]}', "vector: has 3 dimensions, not 2"),
        (b'{"id": 1, "vector": [1, "2"]}', "vector: must be a list of numbers"),
        (b'{"id": 1, "vector": [1, true]}', "vector: must be a list of numbers"),
        (b'{"id": 1, "vector": [1, null]}', "vector: must be a list of numbers"),
        (b'{"id": 1, "vector": [[1], [2]]}', "vector: must be a list of numbers"),
        (b'{"vector": [1, 2]}', "id: missing"),
        (b'{"id": null, "vector": [1, 2]}', "id: missing"),
        (b'{"id": -1, "vector": [1, 2]}', "id: must be a whole number"),
        (b'{"id": 1.0, "vector": [1, 2]}', "id: must be a whole number"),
        (b'{"id": true, "vector": [1, 2]}', "id: must be a whole number"),
        (b'{"id": "01", "vector": [1, 2]}', "id: must be a whole number"),
        (b'{"id": "18446744073709551616", "vector": [1, 2]}', "id: must be a whole number"),
        (b'{"id": 1, "vector": [1, 2], "metadata": 7}', "metadata: must be an object"),
        (b'{"id": 1, "vector": [1, 2], "a": 1, "metadata": {"a": 1}}', "metadata.a: stands there"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: bytes, reason: str) -> None:
    read = everything(opened(saved(tmp_path, GOOD, line + b"\n", GOOD)))
    assert read.numbers == [1, 3]
    [bad] = read.bad
    assert bad.number == 2
    assert bad.reason.startswith(reason)


@pytest.mark.parametrize("id", ['""', '"a\\u0000b"', f'"{"x" * 257}"', "5", "null"])
def test_text_ids_are_held_to_the_protocol(tmp_path: Path, id: str) -> None:
    path = saved(tmp_path, b'{"id":"a","vector":[1]}\n', f'{{"id":{id},"vector":[1]}}\n'.encode())
    read = everything(opened(path))
    assert read.ids == ["a"]
    assert [one.number for one in read.bad] == [2]


def test_large_ids_are_read_as_numbers_and_as_text(tmp_path: Path) -> None:
    path = saved(
        tmp_path, b'{"id":18446744073709551615,"vector":[1]}\n',
        b'{"id":"18446744073709551614","vector":[1]}\n',
    )  # fmt: skip
    assert everything(opened(path)).ids == [2**64 - 1, 2**64 - 2]


def test_a_line_cut_off_anywhere_is_the_last_bad_row(tmp_path: Path) -> None:
    for size in range(1, len(GOOD) - 1):
        read = everything(opened(saved(tmp_path, GOOD, GOOD[:size])))
        assert read.numbers == [1]
        assert [one.number for one in read.bad] == [2], size
        assert "the last line" in read.bad[0].reason
    # Without its newline it is whole.
    assert everything(opened(saved(tmp_path, GOOD, GOOD[:-1]))).numbers == [1, 2]


def test_bad_lines_before_the_first_good_one_are_counted(tmp_path: Path) -> None:
    reader = opened(saved(tmp_path, b"x\n", b"\n", b"{}\n", GOOD))
    assert (reader.dim, reader.ids) == (2, "u64")
    read = everything(reader, rows=2)
    assert [one.number for one in read.bad] == [1, 3]
    assert read.numbers == [4]


def test_files_without_a_row_have_no_dimension(tmp_path: Path) -> None:
    for lines in (b"", b"\n\n", b"x\n"):
        reader = opened(saved(tmp_path, lines))
        assert (reader.dim, reader.ids) == (None, "auto")
        assert everything(reader, dim=3).numbers == []


@pytest.mark.parametrize("is_last", [False, True])
def test_a_line_that_is_too_long_is_a_bad_row_and_its_bytes_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_last: bool
) -> None:
    monkeypatch.setattr("omendb_ws.files.jsonl.MAX_LINE_BYTES", 1 << 20)
    long = b'{"id": 2, "vector": [1, 2], "text": "' + b"x" * (5 << 20) + b'"}'
    path = saved(tmp_path, GOOD, long, *(() if is_last else (b"\n", GOOD)))
    tracemalloc.start()
    read = everything(opened(path))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read.numbers == ([1] if is_last else [1, 3])
    assert read.bad == [(2, "longer than 1 MiB")]
    assert most_bytes < 4 << 20


def test_lines_in_memory_are_bounded_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omendb_ws.files.jsonl._TOGETHER_BYTES", 1000)
    path = saved(tmp_path, *[b'{"id": 1, "vector": [1], "text": "' + b"x" * 400 + b'"}\n'] * 7)
    reader = opened(path)
    chunks = list(reader.chunks(1, "u64", 100))
    reader.close()
    assert [len(chunk.vectors) for chunk in chunks] == [3, 3, 1]
    assert [chunk.numbers.tolist() for chunk in chunks] == [[1, 2, 3], [4, 5, 6], [7]]


@pytest.mark.parametrize("first", [b"", b'"id": null, '])
def test_a_first_row_without_an_id_takes_none_from_the_others(tmp_path: Path, first: bytes) -> None:
    others = [b'{"id": %d, "vector": [1, 2]}\n' % one for one in (100, 101)]
    reader = opened(saved(tmp_path, b"{%b" % first + b'"vector": [1, 2]}\n', *others))
    assert reader.ids == "u64"
    read = everything(reader)
    assert (read.ids, read.numbers) == ([100, 101], [2, 3])
    assert [one.number for one in read.bad] == [1]


def test_ids_behind_the_lines_that_are_looked_at_are_said_to_be_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omendb_ws.files.jsonl._LOOKED_AT", 3)
    path = saved(tmp_path, *[b'{"vector": [1, 2]}\n'] * 4, GOOD, GOOD)
    reader = opened(path)
    assert (reader.ids, reader.unused_id) == ("auto", None)
    assert everything(reader).ids is None
    assert reader.unused_id == 5
    reader = opened(path, Fields(numbered=True))
    everything(reader)
    assert reader.unused_id is None


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (["1", '"18446744073709551615"'], "u64"),
        (['"18446744073709551615"', "1"], "u64"),
        (['"1"', '"2"'], "str"),
        (['"a"', "1"], "str"),
        (["1", '"a"'], "u64"),
        (["true", "1"], "u64"),
        (["null", '"a"'], "str"),
        (["null", "null"], "auto"),
        (["9" * 5000], "auto"),
        (['"%s"' % ("9" * 5000), "1"], "str"),
    ],
)  # fmt: skip
def test_the_kind_of_ids_is_what_all_lines_have(tmp_path: Path, ids: list[str], kind: str) -> None:
    path = saved(tmp_path, *[f'{{"id": {one}, "vector": [1]}}\n'.encode() for one in ids])
    reader = opened(path)
    assert reader.ids == kind
    everything(reader, dim=1)


def test_an_id_of_thousands_of_digits_is_a_bad_row(tmp_path: Path) -> None:
    digits = b"9" * 5000
    path = saved(
        tmp_path, GOOD, b'{"id": %b, "vector": [1, 2]}\n' % digits,
        b'{"id": "%b", "vector": [1, 2]}\n' % digits,
    )  # fmt: skip
    read = everything(opened(path), ids="u64")
    assert [one.number for one in read.bad] == [2, 3]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ('"a": 18446744073709551615', None),
        ('"a": -9223372036854775808', None),
        ('"a": 18446744073709551616', "a: an integer beyond 64 bits"),
        ('"a": -9223372036854775809', "a: an integer beyond 64 bits"),
        ('"a": 1e300, "b": [1e19]', None),
        ('"a": [[{"b": 18446744073709551616}]]', "a: an integer beyond 64 bits"),
        ('"metadata": {"a": 18446744073709551616}', "a: an integer beyond 64 bits"),
        (f'"a": {"9" * 5000}', "not JSON"),
        (f'"a": {"9" * 300}', "a: an integer beyond 64 bits"),
    ],
)
def test_integers_are_kept_or_refused(tmp_path: Path, metadata: str, reason: str | None) -> None:
    path = saved(tmp_path, f'{{"id": 1, "vector": [1], {metadata}}}\n'.encode())
    read = everything(opened(path), dim=1, ids="u64")
    if reason is None:
        assert read.bad == []
    else:
        assert read.bad[0].reason.startswith(reason)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_files_of_windows_are_read(tmp_path: Path, newline: bytes, mark: bytes) -> None:
    path = saved(tmp_path, mark, newline.join([GOOD.strip(), b"", GOOD.strip(), b"bad"]))
    read = everything(opened(path))
    assert (read.numbers, [one.number for one in read.bad]) == ([1, 3], [4])
    with Pipe(path.read_bytes()) as pipe:
        assert everything(JsonlReader(pipe, "pipe", Fields())).numbers == [1, 3]


def test_a_mark_alone_and_an_empty_file_have_no_rows(tmp_path: Path) -> None:
    for data in (b"", b"\xef\xbb\xbf", b"\n\n"):
        assert everything(opened(saved(tmp_path, data)), dim=1).numbers == []


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    data = GOOD * 10 + b"bad\n"
    with Pipe(data) as pipe:
        streamed = JsonlReader(pipe, "pipe", Fields())
        chunks = list(streamed.chunks(2, "u64", 4))
    assert [len(chunk.vectors) for chunk in chunks] == [4, 4, 2]
    assert [chunk.read for chunk in chunks] == [None] * 3
    assert everything(opened(saved(tmp_path, data))).bad == list(chunks[2].bad)


@given(st.binary(max_size=80))
@settings(max_examples=examples(300), deadline=None)
def test_any_bytes_are_rows_or_bad_rows(data: bytes) -> None:
    with Pipe(GOOD + data) as pipe:
        reader = JsonlReader(pipe, "pipe", Fields())
        read = [(chunk.numbers, chunk.bad) for chunk in reader.chunks(2, "u64", 5)]
    assert read[0][0][0] == 1


def test_vectors_are_read_back_to_the_bit(tmp_path: Path) -> None:
    bits = np.random.default_rng(5).integers(0, 2**32, 400_000, dtype=np.uint32)
    edges = np.array([0, 1, 0x80000000, 0x7F7FFFFF, 0x00800000, 0x007FFFFF, 0x80000001], np.uint32)
    values: Any = np.concatenate([bits, edges]).view(np.float32)
    values = values[np.isfinite(values)]
    values = values[: len(values) // 8 * 8].reshape(-1, 8)
    path = tmp_path / "rows.jsonl"
    with open(path, "wb") as file:
        writer = JsonlWriter(file, Shape(8, "auto"))
        ids = np.arange(len(values), dtype=np.uint64)
        writer.write(WrittenRows(values, ids, [{}] * len(values)))
        writer.finish()
    read = everything(opened(path), rows=10_000)
    assert np.array_equal(read.vectors.astype(np.float32).view(np.uint32), values.view(np.uint32))


def test_ids_that_json_numbers_do_not_carry_are_written_as_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    ids = np.array([2**53 - 1, 2**53, 2**64 - 1], np.uint64)
    with open(path, "wb") as file:
        JsonlWriter(file, Shape(1, "u64")).write(
            WrittenRows(np.ones((3, 1), np.float32), ids, [{}, {"a": 1}, {}])
        )
    written = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [one["id"] for one in written] == [2**53 - 1, str(2**53), str(2**64 - 1)]
    assert [one.get("metadata") for one in written] == [None, {"a": 1}, None]
    assert everything(opened(path)).ids == ids.tolist()
