"""``$prefix`` against Python's texts: values that are replaced, cleared and absent, kept masks, any
number of texts, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.filters import masks
from omendb_core.filters.mask_cache import MaskCache
from omendb_core.filters.parser import evaluate, parse
from omendb_core.model.errors import BadFilter
from omendb_core.model.types import ColumnType
from omendb_core.rows.columns import Columns
from omendb_core.rows.metadata import from_metadata
from omendb_core.rows.ring import pack

from tests.examples import examples

COLUMNS: dict[str, ColumnType] = {"kind": "str", "price": "f64", "stock": "i64", "new": "bool"}
TEXTS = ["", "a", "ab", "abc", "b", "ü", "üb", "u", "𝄞", "𝄞a", "\0", "\0a", "A"]
ROWS = 12
values = st.one_of(st.none(), st.sampled_from(TEXTS))
writes = st.lists(
    st.tuples(st.integers(0, ROWS - 1), values, st.booleans()), min_size=1, max_size=60
)


def write(columns: Columns, slots: list[int], texts: list[str | None]) -> None:
    rows = [{} if text is None else {"kind": text} for text in texts]
    columns.write(np.array(slots), from_metadata(rows, COLUMNS))


@pytest.mark.parametrize("texts_a_row", [0, masks.TEXTS_A_ROW])
def test_each_value_that_was_replaced_or_cleared_is_seen_as_it_is(
    texts_a_row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, "TEXTS_A_ROW", texts_a_row)

    @settings(max_examples=examples(150), deadline=None, derandomize=True)
    @given(writes, st.sampled_from(TEXTS))
    def run(steps: list[tuple[int, str | None, bool]], prefix: str) -> None:
        columns, held = Columns(COLUMNS, ROWS), [None] * ROWS
        write(columns, list(range(ROWS)), held)
        cache = MaskCache(columns)
        filters = [
            parse({"kind": {"$prefix": prefix}}, COLUMNS),
            parse({"$not": {"kind": {"$prefix": prefix}}}, COLUMNS),
        ]
        model: list[str | None] = list(held)
        for slot, text, is_cleared in steps:
            columns.clear(np.array([slot]))
            model[slot] = None
            if not is_cleared:
                write(columns, [slot], [text])
                model[slot] = text
            else:
                write(columns, [slot], [None])
            wanted = np.array([one is not None and one.startswith(prefix) for one in model])
            for filter_, expected in zip(filters, (wanted, ~wanted), strict=True):
                assert evaluate(filter_, columns, None).tolist() == expected.tolist()
                assert cache.words(filter_).tolist() == pack(expected).tolist()
                assert evaluate(filter_, columns, np.array([slot])).tolist() == [expected[slot]]
        columns.check()

    run()


@pytest.mark.parametrize("kinds", [3, 20_000])
def test_blocks_of_many_rows_with_few_or_many_texts(kinds: int) -> None:
    count = 40_000
    texts = [f"{i * 7919 % kinds:05d}" for i in range(count)]
    columns = Columns(COLUMNS, count)
    write(columns, list(range(count)), [None if i % 11 == 0 else t for i, t in enumerate(texts)])
    for prefix in ("0000", "1", "", "00001x", "99999"):
        mask = evaluate(parse({"kind": {"$prefix": prefix}}, COLUMNS), columns, None)
        wanted = [i % 11 != 0 and text.startswith(prefix) for i, text in enumerate(texts)]
        assert mask.tolist() == wanted


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"price": {"$prefix": "1"}}, "filter.price.$prefix: price is f64; only str columns"),
        ({"stock": {"$prefix": 1}}, "filter.stock.$prefix: stock is i64; only str columns"),
        ({"new": {"$prefix": True}}, "filter.new.$prefix: new is bool; only str columns"),
        ({"kind": {"$prefix": None}}, "filter.kind.$prefix: null compares with nothing"),
        ({"kind": {"$prefix": 1}}, "filter.kind.$prefix: must be a string"),
        ({"kind": {"$prefix": ["a"]}}, "filter.kind.$prefix: must be a string"),
        ({"kind": {"$prefix": "\ud800"}}, "filter.kind.$prefix: must be a string"),
        ({"kinds": {"$prefix": "a"}}, "filter.kinds: not a declared column"),
    ],
)
def test_a_prefix_of_what_is_no_text_is_refused_by_its_path(
    document: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadFilter) as caught:
        parse(document, COLUMNS)
    assert caught.value.message.startswith(said)
