"""Subscriptions of a tenant that has had its engine time are told later, and lose nothing by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from omendb_ws.engine.streams.deliveries import GROUP_STREAMS, Push
from omendb_ws.net.server import Server
from omendb_ws.tenants.share import FOR_REQUESTS, TenantShare
from tests.server.raw import Clock, client, running
from tests.server.streams.test_feeds import follow
from tests.server.streams.test_stream_shares import Side
from tests.server.tenants.test_tenant_rates import limits, with_tenants

EACH_US = 20.0
SECOND_US = 1_000_000


def ticks_of(side: Side, seconds: float) -> None:
    """Ticks of a millisecond, and all that the engine could do in each."""
    for _ in range(round(seconds * 1000)):
        side.shares.tick_us += 1000
        effects: list[Any] = []
        side.deliveries.push(effects, 0)
        for push in cast(list[Push], effects):
            side.pushes[push.stream.lane.share.tenant] += 1
            side.deliveries.sent(push)


def test_what_is_told_takes_no_more_than_the_rate_and_what_is_owed_is_bounded() -> None:
    side = Side([1.0], [10_000], EACH_US)
    (tenant,) = side.tenants
    tenant.limit(100.0)
    for second in range(1, 6):
        ticks_of(side, 1.0)
        may_us = 100_000 * (second + 1 - FOR_REQUESTS)
        assert may_us - 1_000 <= tenant.used_us <= may_us + GROUP_STREAMS * EACH_US


def test_some_is_left_for_requests_and_others_are_told_as_they_were() -> None:
    side = Side([1.0, 1.0], [1_000, 1_000], EACH_US)
    limited, other = side.tenants
    limited.limit(50.0)
    ticks_of(side, 2.0)
    assert limited.pace is not None
    assert limited.pace.saved(side.shares.tick_us) > -GROUP_STREAMS * EACH_US
    assert side.pushes[other] > 5 * side.pushes[limited]


def test_while_it_rests_nothing_is_to_be_done_and_it_is_known_for_how_long() -> None:
    side = Side([1.0], [1_000], EACH_US)
    (tenant,) = side.tenants
    tenant.limit(10.0)
    assert side.deliveries.is_busy
    assert side.deliveries.rests_us == 0.0
    ticks_of(side, 0.1)
    rests_us = side.deliveries.rests_us
    assert not side.deliveries.is_busy
    assert not list(side.deliveries.waiting())
    assert rests_us is not None
    assert rests_us > 0.0
    side.shares.tick_us += round(rests_us) + 1
    assert side.deliveries.is_busy
    tenant.limit(None)
    assert side.deliveries.rests_us == 0.0


def test_time_that_was_used_before_there_was_a_rate_is_not_owed() -> None:
    tenant = TenantShare()
    tenant.used_us = 1e9
    tenant.limit(1.0)
    assert tenant.rests_us(0) == 0.0
    tenant.used_us += 2_000.0
    assert tenant.rests_us(0) == pytest.approx(SECOND_US * (1 + FOR_REQUESTS))


def test_how_long_subscriptions_waited_is_counted_while_they_did() -> None:
    tenant = TenantShare()
    tenant.limit(100.0)
    tenant.used_us += 2e5
    rests_us = tenant.rests_us(0)
    assert rests_us > SECOND_US
    assert tenant.rested_us == 0.0
    for now_us in (10_000, 10_000, 500_000):
        tenant.rests_us(now_us)
        assert tenant.rested_us == now_us
    assert tenant.rests_us(60 * SECOND_US) == 0.0
    assert tenant.rested_us == pytest.approx(rests_us, abs=2), "and not while nobody asked"
    tenant.rests_us(61 * SECOND_US)
    assert tenant.rested_us == pytest.approx(rests_us, abs=2)


async def test_a_feed_of_a_tenant_that_owes_time_goes_on_when_that_is_paid_back(
    tmp_path: Path,
) -> None:
    clock = Clock()
    server = Server(with_tenants(tmp_path, limits(engine_ms_per_second=1000)), clock_us=clock)
    async with (
        running(server),
        client(server, token="token-root") as raw,
        client(server, token="token-boss") as reader,
        client(server, token="token-other") as other,
    ):
        await raw.create(capacity=1000)
        await other.create()
        feed, another = await follow(reader), await follow(other)
        share = server.context.accounts.of("acme").share
        await raw.add(1)
        await feed.until(1)
        share.used_us += 3e6
        shares = server.context.engine.tick._shares
        assert shares.rests_us(share) > 0.0
        await other.add(1)
        await another.until(1)
        assert await raw.code("count", collection="items") == "rate_limited"
        clock.move(2.2)
        for id in range(2, 6):
            await raw.add(id)
        await feed.until(5)
        assert server.context.accounts.of("acme").numbers(1).rested_seconds > 1.0
        assert feed.rows == {seq: seq for seq in range(1, 6)}
        assert not feed.gaps
