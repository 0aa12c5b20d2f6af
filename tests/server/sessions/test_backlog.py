"""What others' work costs a connection: the sums against their definition, written out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omendb_ws.sessions.backlog import Backlog
from omendb_ws.tenants.share import TenantShare

Works = list[tuple[float, list[float]]]
AMOUNTS = st.floats(1.0, 1e6)
WORKS = st.lists(
    st.tuples(st.sampled_from([0.5, 1.0, 2.0, 4.0]), st.lists(AMOUNTS, min_size=1, max_size=6)),
    min_size=1,
    max_size=5,
)


def of(works: Works) -> tuple[list[TenantShare], Backlog]:
    tenants = [TenantShare(weight) for weight, _ in works]
    return tenants, Backlog({one: own for one, (_, own) in zip(tenants, works, strict=True)})


def by_definition(works: Works, tenant: int, depth: float) -> float:
    """A connection is so deep: of each beside it as much is done, of each tenant by its weight."""
    weight, own = works[tenant]
    within = max(sum(min(one, depth) for one in own), depth)
    beside = sum(
        min(sum(others), within / weight * theirs)
        for number, (theirs, others) in enumerate(works)
        if number != tenant
    )
    return within - depth + beside


@given(WORKS, st.data())
def test_what_is_done_of_others_is_what_the_definition_says(
    works: Works, data: st.DataObject
) -> None:
    tenants, backlog = of(works)
    tenant = data.draw(st.integers(0, len(works) - 1))
    depth = data.draw(AMOUNTS)
    found = backlog.of_others_us(tenants[tenant], depth)
    assert found == pytest.approx(by_definition(works, tenant, depth), rel=1e-9, abs=1e-3)


@given(WORKS, AMOUNTS)
def test_up_to_its_level_a_connection_waits_that_long_at_most_and_above_it_longer(
    works: Works, most: float
) -> None:
    tenants, backlog = of(works)
    for number, tenant in enumerate(tenants):
        level, deepest = backlog.level_us(tenant, most), max(works[number][1])
        if level == math.inf:
            assert by_definition(works, number, deepest) <= most * (1 + 1e-6)
            continue
        assert by_definition(works, number, level) <= most * (1 + 1e-6)
        above = level + deepest * 1e-9
        assert by_definition(works, number, above) >= most * (1 - 1e-6)


@given(WORKS, AMOUNTS)
def test_a_tenant_that_has_nothing_waiting_has_a_level_too(works: Works, most: float) -> None:
    _, backlog = of(works)
    level = backlog.level_us(TenantShare(), most)
    whole = [*works, (1.0, [level])]
    if level < math.inf:
        assert by_definition(whole, len(works), level) == pytest.approx(most, rel=1e-3)


def test_the_only_connection_waits_for_nobody() -> None:
    tenant = TenantShare()
    backlog = Backlog({tenant: [1e9]})
    assert backlog.worst_us() == 0.0
    assert backlog.level_us(tenant, 0.0) == math.inf


def test_beside_one_that_has_much_the_others_have_room_and_it_has_no_more_than_they_leave() -> None:
    tenant = TenantShare()
    backlog = Backlog({tenant: [1_000_000.0, 100.0, 100.0]})
    assert backlog.worst_us() == 200.0
    assert backlog.level_us(tenant, 150.0) == pytest.approx(75.0, rel=1e-3)


def test_a_tenant_of_twice_the_weight_may_have_twice_as_much() -> None:
    light, heavy = TenantShare(1.0), TenantShare(2.0)
    backlog = Backlog({light: [1e6], heavy: [1e6]})
    assert backlog.level_us(light, 1000.0) == pytest.approx(500.0, rel=1e-3)
    assert backlog.level_us(heavy, 1000.0) == pytest.approx(2000.0, rel=1e-3)


def test_with_nothing_waiting_nobody_waits() -> None:
    backlog = Backlog({})
    assert backlog.worst_us() == 0.0
    assert backlog.level_us(TenantShare(), 0.0) == math.inf
