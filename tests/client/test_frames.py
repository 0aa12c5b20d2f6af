"""Answers as data frames and Arrow tables, and what notebooks show of them: pure."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from omendb_ws.client import html
from omendb_ws.client.answers import Answer, FeedRows
from omendb_ws.client.arrays import as_vectors
from omendb_ws.client.descriptions import Description, Descriptions
from omendb_ws.errors import BadVector, Unsupported
from tests.client.common.strange import Exchanged, OnADevice

METADATA: list[dict[str, Any]] = [
    {"n": 2**53 + 1, "on": True, "price": 9.5, "name": "<b>&", "tags": ["a"], "id": "mine"},
    {"on": None, "price": 2, "mixed": "text", "big": 2**64 - 1, "place": {"x": 1}},
    {"n": -1, "mixed": 5, "tags": []},
]


def answer(**fields: Any) -> Answer:
    whole: dict[str, Any] = {
        "ids": np.array([7, 2**64 - 1, 8], np.uint64), "seqs": np.array([3, 1, 2], np.uint64),
        "scores": np.array([1, 0.5, 0.25], np.float32), "metadata": METADATA,
        "vectors": np.arange(6, dtype=np.float32).reshape(3, 2), "version": 4, "took_us": 5,
    }  # fmt: skip
    return Answer(**{**whole, **fields})


def test_an_arrow_table_has_ids_scores_seqs_and_metadata_with_their_types() -> None:
    ranks = np.array([1.5, np.nan, 0])
    table = answer(ranks=ranks, weights=np.array([1, np.nan, 0.5], np.float32)).to_arrow()
    assert {field.name: str(field.type) for field in table.schema} == {
        "id": "uint64", "seq": "uint64", "score": "float", "rank": "double", "weight": "float",
        "vector": "fixed_size_list<item: float>[2]", "n": "int64", "on": "bool", "price": "double",
        "name": "string", "tags": "list<item: string>", "metadata.id": "string",
        "mixed": "string", "big": "uint64", "place": "struct<x: int64>",
    }  # fmt: skip
    rows = table.to_pylist()
    assert rows[0]["id"] == 7
    assert rows[1]["rank"] is None
    assert [row["mixed"] for row in rows] == [None, '"text"', "5"]
    assert [row["n"] for row in rows] == [2**53 + 1, None, -1]
    assert rows[1]["vector"] == [2, 3]


def test_pandas_keeps_whole_numbers_and_booleans_with_nulls() -> None:
    frame = answer().to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert [str(frame[name].dtype) for name in ("id", "score", "n", "on", "price")] == [
        "uint64", "float32", "Int64", "boolean", "float64",
    ]  # fmt: skip
    assert frame["id"].tolist() == [7, 2**64 - 1, 8]
    assert frame["n"][0] == 2**53 + 1
    assert frame["vector"][1].tolist() == [2, 3]


def test_polars_has_the_same() -> None:
    frame = answer(ids=["a", "b", "c"]).to_polars()
    assert isinstance(frame, pl.DataFrame)
    assert frame["id"].to_list() == ["a", "b", "c"]
    assert frame["score"].dtype == pl.Float32
    assert frame["big"].to_list() == [None, 2**64 - 1, None]


@pytest.mark.parametrize("vectors", [None, np.empty((0, 2), np.float32), np.empty((0, 0))])
def test_an_answer_without_rows_is_a_table_without_rows(vectors: Any) -> None:
    nothing = answer(ids=np.empty(0, np.uint64), seqs=np.empty(0, np.uint64), vectors=vectors,
                     scores=np.empty(0, np.float32), metadata=None)  # fmt: skip
    table = nothing.to_arrow()
    assert table.num_rows == len(nothing.to_pandas()) == len(nothing.to_polars()) == 0
    assert table.column_names[:3] == ["id", "seq", "score"]
    assert "0 rows" in nothing._repr_html_()


def test_what_is_new_says_what_it_is_near_to() -> None:
    step = FeedRows(
        ids=np.array([2, 3], np.uint64), seqs=np.array([1, 2], np.uint64), metadata=None,
        scores=np.array([-np.inf, 0.5], np.float32), vectors=None, version=2, to_seq=2, epoch="e",
        near=[None, 2],
    )  # fmt: skip
    assert step.to_arrow().column("near").to_pylist() == [None, 2]


@pytest.mark.parametrize("name", ["pyarrow", "pandas", "polars"])
def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    there = importlib.import_module

    def without(wanted: str, package: str | None = None) -> Any:
        if wanted == name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return there(wanted, package)

    monkeypatch.setattr(importlib, "import_module", without)
    extra = {"pyarrow": "arrow"}.get(name, name)
    with pytest.raises(Unsupported, match=rf"needs the extra {extra}: .*omendb-ws\[{extra}\]"):
        getattr(answer(), f"to_{extra}")()


def test_html_escapes_what_it_shows_and_cuts_it() -> None:
    rows = [{"<script>": "<img src=x onerror=alert(1)>", "long": "x" * 500} for _ in range(30)]
    many = answer(ids=[f"<{at}>" for at in range(30)], seqs=np.arange(30), scores=np.ones(30),
                  metadata=rows, vectors=np.full((30, 8), 1 / 3))  # fmt: skip
    text = many._repr_html_()
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text
    assert text.count("<tr>") == 1 + html.SHOWN_ROWS
    assert "the first 20 of 30 rows, version 4" in text
    assert "x" * 81 not in text
    assert "[0.3333, 0.3333, 0.3333, 0.3333, …]" in text
    assert answer()._repr_html_().count("<tr>") == 4


def test_collections_are_shown_as_tables() -> None:
    one = Description(
        collection="items", dim=4, metric="dot", capacity=10, ids="str", columns={"<i>": "f64"},
        ttl=None, durability="memory", epoch="e", version=3, first_seq=1, last_seq=2, rows=2,
        bytes=None,
    )  # fmt: skip
    text = one._repr_html_()
    assert "&lt;i&gt;" in text
    assert "ttl" not in text
    listed = Descriptions([one, one])
    assert listed == [one, one]
    assert "2 collections" in listed._repr_html_()


def test_a_tensor_that_cannot_be_read_is_refused_with_what_its_library_says() -> None:
    said = "cannot be converted; move it to the host first"
    with pytest.raises(BadVector, match=f"^vectors: cannot be read, OnADevice says: {said}"):
        as_vectors(OnADevice())
    assert as_vectors(Exchanged([[1, 2]])).tolist() == [[1, 2]]
