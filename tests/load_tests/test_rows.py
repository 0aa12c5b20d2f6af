"""Rows of a scenario: their metadata, ids and filters; and bounded samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.model.types import StrColumn

from load_tests.simulation import columns, scenario
from load_tests.simulation.requests import Adds
from load_tests.simulation.sampling import KEPT, Sampling
from omendb_ws.wire import binary
from omendb_ws.wire.limits import Limits
from omendb_ws.wire.messages import Add

# -- samples --------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("count", [10, 1000, 12_345])
def test_a_sample_is_bounded_and_spread_over_everything(every: int, count: int) -> None:
    sampling: Sampling[int] = Sampling(every)
    for number in range(1, count + 1):
        if sampling.is_due():
            sampling.keep(number)
    kept = sampling.kept
    assert len(kept) < 2 * KEPT
    assert len(kept) >= min(count // every, KEPT)
    steps = set(np.diff(kept).tolist())
    assert len(steps) == 1
    assert kept[0] in steps
    assert kept[-1] > count - steps.pop()


# -- metadata and filters -------------------------------------------------------------------------


def test_metadata_is_what_the_columns_say_and_the_same_for_the_same_seed() -> None:
    wanted = {
        "price": scenario.Column("f64", 10.0, 20.0, nulls=0.5),
        "stock": scenario.Column("i64", -1.0, 1.0),
        "is_new": scenario.Column("bool"),
        "shop": scenario.Column("str", values=["a", "b"], nulls=0.3),
    }
    found, again = (columns.values(wanted, 1000, 3) for _ in range(2))
    price, stock, is_new, shop = found.values()
    assert isinstance(shop, StrColumn)
    assert not isinstance(price, StrColumn)
    assert 400 < np.isnan(price).sum() < 600
    assert 10 <= np.nanmin(price) <= np.nanmax(price) < 20
    assert set(stock.tolist()) == {-1, 0, 1}
    assert set(is_new.tolist()) == {0, 1}
    assert set(shop.codes.tolist()) == {0, 1, 2**32 - 1}
    assert np.array_equal(price, again["price"], equal_nan=True)
    cheap = columns.passing(found, {"price": {"$lt": 15}}, 1000)
    assert cheap.tolist() == (price < 15).tolist()
    odd = columns.passing(found, {"shop": {"$exists": False}, "is_new": True}, 1000)
    assert odd.tolist() == ((shop.codes == 2**32 - 1) & (is_new == 1)).tolist()


@pytest.mark.parametrize("ids", ["auto", "u64", "str"])
def test_adds_carry_metadata_and_ids_that_no_other_add_has(ids: str) -> None:
    pool = np.arange(40, dtype=np.float32).reshape(10, 4)
    metadata = columns.values({"shop": scenario.Column("str", values=["a", "b"])}, 10, 1)
    source = Adds(pool, metadata, 4, ids, 1000)
    seen: list[Any] = []
    for request_id in range(1, 6):
        frame, tag = source.request(request_id, 9)
        message = bytes(frame[frame.index(0xDB) :])
        request = binary.decode_request(message, Limits(), lambda handle: {"shop": "str"})
        assert isinstance(request, Add)
        assert request.id == request_id
        rows = request.rows
        assert isinstance(rows, RowBatch)
        places = (tag * 4 + np.arange(4)) % 10
        assert rows.vectors.tolist() == pool[places].tolist()
        shop = rows.columns["shop"]
        assert isinstance(shop, StrColumn)
        assert shop.codes.tolist() == metadata["shop"].codes[places].tolist()
        seen += [] if rows.ids is None else list(rows.ids)
    if ids == "auto":
        assert seen == []
    else:
        assert len(set(seen)) == 20
        assert seen[0] == (1000 if ids == "u64" else "row-0000000000001000")
