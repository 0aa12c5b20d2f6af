"""What values of Arrow files become where types alone do not tell."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from omendb_ws.files import arrow
from omendb_ws.files.chunks import FileError
from omendb_ws.files.fields import Fields
from tests.files.reading import Pipe, everything, opened
from tests.patience import PATIENCE_SECONDS


def saved(tmp_path: Path, table: pa.Table, kind: str = "parquet") -> Path:
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with (pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream)(path, table.schema) as out:
            out.write_table(table)
    return path


def table(count: int, **fields: Any) -> pa.Table:
    return pa.table({"vector": [[1.0]] * count, **fields})


NANOSECONDS = """
import json, sys
class NotInstalled:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "pandas":
            raise ImportError(name)
if sys.argv[2] == "without":
    sys.meta_path.insert(0, NotInstalled())
else:
    import pandas
from pathlib import Path
from tests.files.reading import everything, opened
read = everything(opened(Path(sys.argv[1])))
print(json.dumps(read.metadata))
"""


def test_nanoseconds_are_the_same_with_and_without_pandas(tmp_path: Path) -> None:
    values = [1_700_000_000_000_000_000, 1_700_000_000_000_000_001, None]
    at = pa.array(values, pa.timestamp("ns"))
    path = saved(tmp_path, table(3, at=at, span=at.cast(pa.int64()).cast(pa.duration("ns"))))
    said = [
        json.loads(subprocess.run(
            [sys.executable, "-W", "error", "-c", NANOSECONDS, str(path), pandas],
            capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True,
        ).stdout)
        for pandas in ("with", "without")
    ]  # fmt: skip
    assert said[0] == said[1] == [
        {"at": "2023-11-14T22:13:20", "span": 1.7e9},
        {"at": "2023-11-14T22:13:20.000000001", "span": 1.7e9},
        {},
    ]  # fmt: skip


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_ends_of_time_are_text_or_nothing(tmp_path: Path, unit: str) -> None:
    ends = pa.array([-(2**63), 2**63 - 1, 0], pa.int64())
    path = saved(tmp_path, table(3, at=ends.cast(pa.timestamp(unit))), "arrow")
    first, last, epoch = everything(opened(path)).metadata
    assert first == {}  # what numpy calls no time
    assert last["at"].startswith({"s": "29", "ms": "29", "us": "294", "ns": "2262"}[unit])
    assert epoch == {"at": "1970-01-01T00:00:00"}
    last = everything(opened(path, Fields(times="seconds"))).metadata[1]
    assert last["at"] > 9e9


def test_large_integers_and_long_decimals_are_columns_if_all_their_values_can_be(
    tmp_path: Path,
) -> None:
    wide = pa.decimal128(38, 2)
    made = table(
        2,
        small=pa.array([2**53 - 1, -(2**53) + 1]),
        large=pa.array([2**53, None]),
        unsigned=pa.array([1, 2**64 - 1], pa.uint64()),
        nothing=pa.array([None, None], pa.int64()),
        price=pa.array([Decimal("0.10"), None], wide),
        exact=pa.array([Decimal("123456789012345678.01"), Decimal("0.10")], wide),
    )
    for kind in ("parquet", "arrow", "arrows"):
        reader = opened(saved(tmp_path, made, kind))
        assert reader.columns == {"small": "i64", "nothing": "i64", "price": "f64"}
        assert everything(reader).metadata == [
            {"small": 2**53 - 1, "large": 2**53, "unsigned": 1, "price": 0.1,
             "exact": "123456789012345678.01"},
            {"small": 1 - 2**53, "unsigned": 2**64 - 1, "exact": "0.10"},
        ]  # fmt: skip


def test_a_uuid_is_text_as_an_id_too(tmp_path: Path) -> None:
    one = uuid.UUID(int=7)
    made = table(1, id=pa.array([one.bytes], pa.uuid()), other=pa.array([one.bytes], pa.uuid()))
    reader = opened(saved(tmp_path, made, "arrow"))
    assert (reader.ids, reader.columns) == ("str", {"other": "str"})
    read = everything(reader)
    assert (read.ids, read.metadata) == ([str(one)], [{"other": str(one)}])


@pytest.mark.parametrize("kind", ["int", "category", "view", "runs"])
def test_ids_in_other_layouts(tmp_path: Path, kind: str) -> None:
    texts = pa.array(["a", "b"])
    ids = {
        "int": pa.array([7, 8]).dictionary_encode(),
        "category": texts.dictionary_encode(),
        "view": texts.cast(pa.string_view()),
        "runs": pa.RunEndEncodedArray.from_arrays([1, 2], texts),
    }[kind]
    read = everything(opened(saved(tmp_path, table(2, id=ids), "arrow")))
    assert read.ids == ([7, 8] if kind == "int" else ["a", "b"])


def test_unions_intervals_and_maps_without_text_are_metadata(tmp_path: Path) -> None:
    kinds = pa.array([0, 1], pa.int8())
    union = pa.UnionArray.from_sparse(kinds, [pa.array([1, 2]), pa.array(["x", "y"])])
    pairs = pa.array([[(1, "a")], None], pa.map_(pa.int64(), pa.string()))
    reader = opened(saved(tmp_path, table(2, union=union, pairs=pairs), "arrow"))
    assert reader.columns == {}
    assert everything(reader).metadata == [{"union": 1, "pairs": [[1, "a"]]}, {"union": "y"}]


def test_a_field_metadata_that_holds_no_objects_is_one_like_the_others(tmp_path: Path) -> None:
    reader = opened(saved(tmp_path, table(2, metadata=[7, None])))
    assert reader.columns == {"metadata": "i64"}
    assert everything(reader).metadata == [{"metadata": 7}, {}]
    objects = pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64()))
    read = everything(opened(saved(tmp_path, table(2, metadata=objects), "arrow")))
    assert read.metadata == [{"a": 1}, {}]


@pytest.mark.parametrize("name", ["id", "kind", "metadata"])
def test_text_that_is_not_utf8_makes_its_row_bad(tmp_path: Path, name: str) -> None:
    good = '{"a": 1}' if name == "metadata" else "good"
    texts = pa.array([good.encode(), b"\xff\xfe", good.replace("good", "b").encode()])
    made = table(3, **{name: texts.view(pa.string())})
    for kind in ("parquet", "arrow"):
        read = everything(opened(saved(tmp_path, made, kind)))
        assert read.numbers == [0, 2]
        assert read.bad == [(1, f"{name}: not UTF-8 text")]


def test_a_name_that_is_not_utf8_is_one_line() -> None:
    out = io.BytesIO()
    with pa.ipc.new_file(out, table(1, zzzz=[1]).schema) as file:
        file.write_table(table(1, zzzz=[1]))
    changed = io.BytesIO(out.getvalue().replace(b"zzzz", b"\xff\xff\xff\xff"))
    with pytest.raises(FileError, match="x: the name of a field is no text"):
        arrow.open_ipc(changed, "x", Fields())


def test_lists_tell_the_dimension_by_the_first_that_is_one(tmp_path: Path) -> None:
    vectors = [None, [], [1.0, 2.0], [3.0], [4.0, 5.0]]
    made = pa.table({"vector": vectors})
    for kind in ("parquet", "arrow", "arrows"):
        reader = opened(saved(tmp_path, made, kind))
        assert reader.dim == 2
        read = everything(reader)
        assert (read.numbers, [one.number for one in read.bad]) == ([2, 4], [0, 1, 3])
    with Pipe(saved(tmp_path, made, "arrows").read_bytes()) as pipe:
        reader = arrow.open_ipc(pipe, "pipe", Fields())
        assert (reader.dim, reader.rows) == (2, None)
        assert everything(reader).numbers == [2, 4]
    reader = opened(saved(tmp_path, pa.table({"vector": pa.array([None], pa.list_(pa.int8()))})))
    assert reader.dim is None
    reader.close()
