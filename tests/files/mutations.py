"""Files with changed bytes, read to the end: ``python -m tests.files.mutations KIND FIRST COUNT``.

A process of its own, as what must not happen is its death by a signal. Prints a line of JSON: how
many mutations were read, how many refused, and the most memory that it took. Anything but a
FileError or a BadRow ends it with a traceback that names the mutation.
"""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import random
import resource
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from omendb_ws.files import arrays, arrow
from omendb_ws.files.chunks import FileError, Reader
from omendb_ws.files.fields import Fields
from omendb_ws.files.jsonl import JsonlReader

COUNT = 20
VECTORS = np.arange(COUNT * 4, dtype=np.float32).reshape(COUNT, 4)


def table(*, views: bool) -> pa.Table:
    """A table with most of what there is."""
    every = range(COUNT)
    day = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)
    fields: dict[str, Any] = {
        "id": pa.array([f"row{one}" for one in every]),
        "vector": pa.array(VECTORS.tolist(), pa.list_(pa.float32())),
        "price": pa.array([None if one % 3 else one / 2 for one in every]),
        "stock": pa.array([one * 2**55 for one in every], pa.int64()),
        "kind": pa.array(["book", "film"] * (COUNT // 2)).dictionary_encode(),
        "at": pa.array([day] * COUNT, pa.timestamp("ns", "UTC")),
        "cost": pa.array([decimal.Decimal(one) for one in every], pa.decimal128(20, 2)),
        "blob": pa.array([b"x" * one for one in every]),
        "nested": pa.array([{"a": one, "b": [str(one)]} for one in every]),
        "map": pa.array([[("k", one)] for one in every], pa.map_(pa.string(), pa.int64())),
        "metadata": pa.array(['{"note": "x"}', None] * (COUNT // 2)),
    }
    if views:
        fields["view"] = pa.array(["x" * one for one in every], pa.string_view())
        fields["lists"] = pa.array([[1, 2], [3]] * (COUNT // 2), pa.list_view(pa.int32()))
    return pa.table(fields)


def ipc(*, is_stream: bool, compression: str | None = None) -> bytes:
    out, made = io.BytesIO(), table(views=True)
    opener = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with opener(out, made.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as file:
        file.write_table(made, max_chunksize=7)
    return out.getvalue()


def parquet(**options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table(views=False), out, row_group_size=7, **options)
    return out.getvalue()


def npy() -> bytes:
    out = io.BytesIO()
    np.save(out, VECTORS)
    return out.getvalue()


def vecs(element: str) -> bytes:
    row = np.zeros(COUNT, np.dtype([("dim", "<i4"), ("vector", element, (4,))]))
    row["dim"], row["vector"] = 4, VECTORS
    return row.tobytes()


def jsonl() -> bytes:
    rows = [
        {"id": one, "vector": VECTORS[one].tolist(), "metadata": {"a": [one], "b": "é"}}
        for one in range(COUNT)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _arrow(data: bytes) -> Reader:
    return arrow.open_ipc(io.BytesIO(data), "x", Fields())


def _parquet(data: bytes) -> Reader:
    return arrow.open_parquet(io.BytesIO(data), "x", Fields(times="seconds"))


KINDS: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Reader]]] = {
    "ipc": (lambda: ipc(is_stream=False), _arrow),
    "ipc_lz4": (lambda: ipc(is_stream=False, compression="lz4"), _arrow),
    "stream": (lambda: ipc(is_stream=True), _arrow),
    "stream_zstd": (lambda: ipc(is_stream=True, compression="zstd"), _arrow),
    "parquet": (parquet, _parquet),
    "parquet_plain": (lambda: parquet(use_dictionary=False, compression="none"), _parquet),
    "parquet_v2": (lambda: parquet(compression="zstd", data_page_version="2.0"), _parquet),
    "npy": (npy, lambda data: arrays.open_npy(io.BytesIO(data), "x")),
    "fvecs": (lambda: vecs("<f4"), lambda data: arrays.open_vecs(io.BytesIO(data), "x", "<f4")),
    "bvecs": (lambda: vecs("u1"), lambda data: arrays.open_vecs(io.BytesIO(data), "x", "u1")),
    "jsonl": (jsonl, lambda data: JsonlReader(io.BytesIO(data), "x", Fields())),
}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to eight changes: bits, bytes, lengths that lie, parts gone or more."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at, kind = chance.randrange(len(out)), chance.randrange(6)
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 2:
            lie = chance.choice((-1, 0, 1, 2**31 - 1, -(2**31), 2**30, chance.randrange(2**31)))
            out[at & ~3 : (at & ~3) + 4] = lie.to_bytes(4, "little", signed=True)
        elif kind == 3:
            lie = chance.choice((-1, 2**63 - 1, -(2**63), 2**40, chance.randrange(2**62)))
            out[at & ~7 : (at & ~7) + 8] = lie.to_bytes(8, "little", signed=True)
        elif kind == 4:
            del out[at : at + chance.randrange(1, 64)]
        else:
            out[at:at] = chance.randbytes(chance.randrange(1, 32))
        if not out:
            return bytes(data[:1])
    return bytes(out)


def read(reader: Reader) -> None:
    """Read to the end, and touch every value."""
    try:
        dict(reader.columns)
        for chunk in reader.chunks(reader.dim or 4, reader.ids, 8):
            np.array(chunk.vectors, np.float32)
            json.dumps([chunk.ids if isinstance(chunk.ids, list) else [], chunk.metadata])
    finally:
        reader.close()


def main(kind: str, first: int, count: int) -> None:
    """Read ``count`` mutations of a file of ``kind``."""
    make, opened = KINDS[kind]
    data = make()
    read(opened(data))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"read": 0, "refused": 0}
    for number in range(first, first + count):
        changed = mutated(data, random.Random(number))
        try:
            with np.errstate(all="ignore"):
                read(opened(changed))
            outcomes["read"] += 1
        except FileError as error:
            if "\n" in str(error):
                raise AssertionError(f"{kind}, mutation {number}: several lines") from error
            outcomes["refused"] += 1
        except BaseException as error:
            raise AssertionError(f"{kind}, mutation {number}") from error
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**outcomes, "grown_bytes": (after - before) * 1024}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
