"""Files as pyarrow, polars and pandas write them by default are read back, whatever is in them."""

from __future__ import annotations

import io
import string
from collections.abc import Callable
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omendb_ws.files import arrow
from omendb_ws.files.fields import Fields
from omendb_ws.transfer.target import columns_of
from tests.files.frames import ARROW_KINDS, IPC_KINDS, KINDS, Frame, frames
from tests.files.reading import everything

Times = Literal["text", "seconds"]
TIMES = st.sampled_from(["text", "seconds"])
CALM = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(frame: Frame, data: bytes, times: Times, *, is_parquet: bool) -> None:
    """The file in ``data`` holds the frame: every row, every value, the columns that may be."""
    opener = arrow.open_parquet if is_parquet else arrow.open_ipc
    reader = opener(io.BytesIO(data), "x", Fields(times=times))
    assert (reader.rows, reader.dim) == (len(frame.vectors), len(frame.vectors[0]))
    assert reader.columns == frame.columns(times)
    columns, others = columns_of(reader)
    assert columns.keys() | set(others) == frame.columns(times).keys()
    letters = set(string.ascii_letters + string.digits + "._-")
    assert all(set(name) <= letters and name[0].isalnum() and len(name) <= 64 for name in columns)
    read = everything(reader)
    assert read.bad == []
    assert read.vectors.tolist() == frame.vectors
    assert read.ids == frame.ids
    assert read.metadata == frame.metadata(times)


FLAT_KINDS = {name: kind for name, kind in KINDS.items() if name not in ("list", "struct")}
VECTORS: dict[str, Callable[[int], pa.DataType]] = {
    "list": lambda _: pa.list_(pa.float32()),
    "large": lambda _: pa.large_list(pa.float64()),
    "fixed": lambda dim: pa.list_(pa.float32(), dim),
}
#: These are in Arrow IPC only.
VIEWS: dict[str, Callable[[int], pa.DataType]] = {
    "view": lambda _: pa.list_view(pa.float32()),
    "large_view": lambda _: pa.large_list_view(pa.float64()),
}


@CALM
@given(
    frame=frames({**KINDS, **ARROW_KINDS}), vector=st.sampled_from(sorted(VECTORS)), times=TIMES,
    group=st.integers(1, 8), has_statistics=st.booleans(),
)  # fmt: skip
def test_parquet_by_pyarrow(
    frame: Frame, vector: str, times: Times, group: int, has_statistics: bool
) -> None:
    out = io.BytesIO()
    table = frame.table(VECTORS[vector](len(frame.vectors[0])))
    pq.write_table(table, out, row_group_size=group, write_statistics=has_statistics)
    check(frame, out.getvalue(), times, is_parquet=True)


@CALM
@given(
    frame=frames({**KINDS, **ARROW_KINDS, **IPC_KINDS}),
    vector=st.sampled_from(sorted({**VECTORS, **VIEWS})), times=TIMES, is_stream=st.booleans(),
    size=st.integers(1, 8), compression=st.sampled_from([None, "lz4", "zstd"]),
)  # fmt: skip
def test_arrow_ipc_by_pyarrow(
    frame: Frame, vector: str, times: Times, is_stream: bool, size: int, compression: str | None
) -> None:
    out = io.BytesIO()
    table = frame.table({**VECTORS, **VIEWS}[vector](len(frame.vectors[0])))
    opener = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with opener(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as file:
        file.write_table(table, max_chunksize=size)
    check(frame, out.getvalue(), times, is_parquet=False)


@CALM
@given(
    frame=frames(KINDS), times=TIMES, kind=st.sampled_from(["parquet", "ipc", "ipc_stream"]),
    is_array=st.booleans(),
)  # fmt: skip
def test_polars(frame: Frame, times: Times, kind: str, is_array: bool) -> None:
    dim = len(frame.vectors[0])
    made = pl.from_arrow(frame.table(pa.list_(pa.float32())))
    assert isinstance(made, pl.DataFrame)
    if is_array:
        made = made.with_columns(pl.col("vector").cast(pl.Array(pl.Float32, dim)))
    out = io.BytesIO()
    {"parquet": made.write_parquet, "ipc": made.write_ipc, "ipc_stream": made.write_ipc_stream}[
        kind
    ](out)
    check(frame, out.getvalue(), times, is_parquet=kind == "parquet")


@CALM
@given(
    frame=frames(FLAT_KINDS, nulls=False), times=TIMES, is_parquet=st.booleans(),
)  # fmt: skip
def test_pandas(frame: Frame, times: Times, is_parquet: bool) -> None:
    made = frame.table(pa.list_(pa.float32())).to_pandas()
    out = io.BytesIO()
    if is_parquet:
        made.to_parquet(out)
    else:
        made.to_feather(out)
    check(frame, out.getvalue(), times, is_parquet=is_parquet)


def test_a_filtered_frame_brings_its_index() -> None:
    import pandas as pd

    vectors = [[1.0], [2.0], [3.0], [4.0]]
    made = pd.DataFrame({"id": [1, 2, 3, 4], "vector": vectors, "stock": [1, None, 3, 4]})
    out = io.BytesIO()
    made[made.id != 3].to_parquet(out)
    reader = arrow.open_parquet(out, "x", Fields())
    assert reader.columns == {"stock": "f64", "__index_level_0__": "i64"}
    assert columns_of(reader) == ({"stock": "f64"}, ["__index_level_0__"])
    read = everything(reader)
    assert (read.ids, read.vectors.tolist()) == ([1, 2, 4], [[1.0], [2.0], [4.0]])
    assert [one["__index_level_0__"] for one in read.metadata] == [0, 1, 3]
    assert [one.get("stock") for one in read.metadata] == [1.0, None, 4.0]


@pytest.mark.parametrize("is_parquet", [True, False])
def test_names_that_stand_there_twice_are_numbered_as_pandas_numbers_them(is_parquet: bool) -> None:
    arrays: list[Any] = [pa.array([[1.0]]), *(pa.array([one]) for one in (7, 8, 9, 5, 4, 3, 2))]
    table = pa.table(arrays, names=["vector", "id", "x", "x", "x.1", "id", "vector", ""])
    out = io.BytesIO()
    if is_parquet:
        pq.write_table(table, out)
    else:
        with pa.ipc.new_file(out, table.schema) as file:
            file.write_table(table)
    out.seek(0)
    read = everything((arrow.open_parquet if is_parquet else arrow.open_ipc)(out, "x", Fields()))
    assert read.ids == [7]
    assert read.metadata == [{"x": 8, "x.2": 9, "x.1": 5, "id.1": 4, "vector.1": 3, "": 2}]
