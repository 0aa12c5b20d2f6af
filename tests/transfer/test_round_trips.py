"""What the server takes ``dump`` writes, and ``load`` reads: any metadata and ids, every format."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omendb_core.model.types import MAX_METADATA_LEVELS

from omendb_ws.client import connect
from tests.transfer.places import dump, load, rows

CALM = settings(
    max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
COLUMNS: dict[str, Any] = {
    "price": "f64",
    "stock": "i64",
    "sold": "bool",
    "kind": "str",
    "id": "str",
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([2**64 - 1, -(2**63), 2**53, 2**53 + 1, 0, -0.0, 5e-324, 1.7e308, 1e19]),
    st.floats(allow_nan=False, allow_infinity=False),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)
TYPED = st.fixed_dictionaries(
    {},
    optional={
        "price": NUMBERS | st.none(),
        "stock": st.integers(1 - 2**53, 2**53 - 1) | st.none(),
        "sold": st.booleans() | st.none(),
        "kind": TEXT | st.none(),
        "id": TEXT | st.none(),
        "vector": VALUES,
        "metadata": VALUES,
    },
)
OTHERS = st.dictionaries(TEXT.filter(lambda name: name not in COLUMNS), VALUES, max_size=4)
METADATA = st.tuples(OTHERS, TYPED).map(lambda of: of[0] | of[1])
IDS: dict[str, st.SearchStrategy[Any]] = {
    "u64": st.integers(0, 2**64 - 1) | st.sampled_from([2**53 - 1, 2**53, 2**64 - 1]),
    "str": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1,
                   max_size=60),
}  # fmt: skip


@st.composite
def collections(draw: st.DrawFn) -> tuple[Any, Any, list[dict[str, Any]]]:
    kind = draw(st.sampled_from(["u64", "str", "auto"]))
    metadata = draw(st.lists(METADATA, min_size=1, max_size=6))
    if kind == "auto":
        return kind, None, metadata
    count = len(metadata)
    return kind, draw(st.lists(IDS[kind], min_size=count, max_size=count, unique=True)), metadata


async def trip(path: Path, kind: Any, ids: Any, metadata: list[dict[str, Any]]) -> None:
    async with connect("memory://") as db:
        made: dict[str, Any] = {
            "dim": 2, "capacity": 10, "metric": "l2", "ids": kind, "columns": COLUMNS,
        }  # fmt: skip
        await db.create("items", **made)
        vectors = [[at, -at / 3] for at in range(len(metadata))]
        await db.add("items", vectors, ids, metadata)
        before = await rows(db)
        assert [row[2] for row in before] == metadata
        await dump(db, path)
        await db.drop("items")
        await db.create("items", **made)
        progress = await load(db, path)
        assert progress.bad_rows == 0
        assert await rows(db) == before


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "arrow"])
@CALM
@given(made=collections())
def test_what_was_taken_is_dumped_and_loaded(tmp_path: Path, suffix: str, made: Any) -> None:
    asyncio.run(trip(tmp_path / f"rows.{suffix}", *made))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "arrow"])
def test_metadata_as_deep_as_the_server_takes_it(tmp_path: Path, suffix: str) -> None:
    deep: Any = "x"
    for level in range(MAX_METADATA_LEVELS - 1):
        deep = [deep] if level % 2 else {"k": deep}
    asyncio.run(trip(tmp_path / f"rows.{suffix}", "u64", [1], [{"deep": deep}]))
