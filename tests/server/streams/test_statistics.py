"""``stats``: the op, the subscription, and ``/metrics`` (PROTOCOL sections 6 and 10)."""

from __future__ import annotations

from omendb_ws.net.server import Server
from omendb_ws.sessions.subscriptions.subscription import StatsSubscription
from omendb_ws.telemetry.exposition import PROCESS, render
from omendb_ws.telemetry.metrics import RATES
from omendb_ws.telemetry.prometheus import METRICS
from tests.server.raw import Clock, client, engine_held, running, settings

SERVER = {
    "at", "uptime_s", "rss_bytes", "loop_lag_ms", "queue_wait_ms", "connections", "subscriptions",
    "search_ms", "add_ms", "push_ms", "tenants", *RATES,
}  # fmt: skip
COLLECTION = {
    "at", "collection", "epoch", "dim", "capacity", "version", "first_seq", "last_seq", "rows",
    "bytes", "oldest_age_s", "evictions_per_s", "live_subscriptions", *RATES,
}  # fmt: skip


async def test_the_op_stats_says_the_numbers_of_the_server() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.add(1, 2)
        await raw.ok("search", collection="items", vector=[1, 0])
        await raw.code("search", collection="none", vector=[1, 0])
        stats = await raw.ok("stats")
        assert stats.keys() == SERVER
        assert stats["connections"] == 1
        assert stats["rss_bytes"] > 1 << 20
        assert stats["adds_per_s"] == 2
        assert stats["searches_per_s"] == 1
        assert stats["errors_per_s"] == 1
        assert stats["search_ms"].keys() == {"p50", "p99", "p999"}
        assert 0 < stats["add_ms"]["p50"] <= stats["add_ms"]["p99"] <= stats["add_ms"]["p999"]


async def test_the_op_stats_says_the_numbers_of_a_collection() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create(capacity=4)
        empty = await raw.ok("stats", collection="items")
        assert empty.keys() == COLLECTION
        assert empty["oldest_age_s"] is None
        for number in range(6):
            await raw.add(number)
            clock.move(1)
        stats = await raw.ok("stats", collection="items")
        assert (stats["first_seq"], stats["last_seq"], stats["rows"]) == (3, 6, 4)
        assert stats["version"] == 6
        assert stats["oldest_age_s"] == 4
        assert stats["adds_per_s"] == 1
        assert stats["evictions_per_s"] == round(2 / 6, 3)


async def test_a_subscription_to_the_servers_statistics_beats() -> None:
    async with running() as server, client(server) as raw:
        assert await raw.ok("subscribe", kind="stats", every=100) == {"sub": 1}
        for _ in range(3):
            event = await raw.named("stats")
            assert event.keys() == SERVER | {"event", "sub"}
            assert event["sub"] == 1
            assert event["subscriptions"] == 1
        assert await raw.ok("unsubscribe", sub=1) == {}
        assert server.metrics.subscriptions.total() == 0


async def test_a_subscription_to_a_collections_statistics_beats() -> None:
    async with running() as server, client(server) as raw:
        made = await raw.create()
        ok = await raw.ok("subscribe", kind="stats", collection="items", every=100)
        assert ok == {"sub": 1, "epoch": made["epoch"], "version": 0}
        event = await raw.named("stats")
        assert event.keys() == COLLECTION | {"event", "sub"}
        await raw.add(1)
        while (await raw.named("stats"))["rows"] == 0:
            pass
        await raw.ok("unsubscribe", sub=1)


async def test_a_slow_engine_does_not_pile_up_measurements() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.ok("subscribe", kind="stats", collection="items", every=60_000)
        await raw.named("stats")
        (session,) = server._sessions.values()
        (subscription,) = session.subscriptions.values()
        assert isinstance(subscription, StatsSubscription)
        async with engine_held(server):
            for _ in range(10):
                subscription._tick()
            assert server.context.engine.depth == 1


async def test_statistics_that_nobody_takes_are_merged_into_the_newest() -> None:
    async with running() as server, client(server) as raw:
        await raw.ok("subscribe", kind="stats", every=60_000)
        await raw.named("stats")
        (session,) = server._sessions.values()
        (subscription,) = session.subscriptions.values()
        assert isinstance(subscription, StatsSubscription)
        for _ in range(10):  # within one turn of the loop nothing is sent
            subscription._offer()
        assert len(session.outbox) == 1
        assert server.metrics.merged == 9
        await raw.named("stats")
        await raw.ok("ping")
        assert raw.events == []


async def test_every_metric_is_scraped_and_has_moved() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=2)
        await raw.ok("subscribe", kind="feed", collection="items")
        await raw.add(1, 2)
        await raw.add(3)
        await raw.ok("search", collection="items", vector=[1, 0])
        await raw.code("open", collection="none")
        await raw.named("feed")
        await raw.ok("ping")
        page = server.metrics_page().body.decode()
        for metric in METRICS:
            name = metric.name + ("_total" if metric.kind == "counter" else "")
            assert f"# TYPE {name} {metric.kind}" in page
        samples = dict(
            line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#")
        )
        assert samples['omendb_requests_total{op="add"}'] == "2.0"
        assert samples['omendb_errors_total{code="not_found"}'] == "1.0"
        assert samples["omendb_added_rows_total"] == "3.0"
        assert samples['omendb_left_rows_total{reason="evicted"}'] == "1.0"
        assert samples["omendb_rows"] == "2.0"
        assert samples["omendb_connections"] == "1.0"
        assert samples['omendb_subscriptions{kind="feed"}'] == "1.0"
        assert samples["omendb_search_seconds_count"] == "1.0"
        assert samples['omendb_tick_requests_bucket{le="+Inf"}'] != "0.0"
        assert float(samples["omendb_received_bytes_total"]) > 0
        assert float(samples["omendb_sent_bytes_total"]) > 0
        assert float(samples["omendb_reserved_bytes"]) > 0
        assert samples["omendb_pushes_total"] in ("1.0", "2.0")


def test_metrics_have_names_of_their_own_and_say_what_they_are() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.name.startswith("omendb_") and metric.help for metric in METRICS)
    counted = render(Server(settings()).metrics).body
    assert counted.count(b"# HELP ") == len(METRICS) + len(PROCESS)


async def test_statistics_of_a_dropped_collection_end() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        for _ in range(3):
            await raw.ok("subscribe", kind="stats", collection="items", every=100)
        (session,) = server._sessions.values()
        subscriptions = list(session.subscriptions.values())
        await raw.ok("drop", collection="items")
        ended = {(await raw.named("ended"))["sub"] for _ in range(3)}
        assert ended == {1, 2, 3}
        assert session.subscriptions == {}
        for subscription in subscriptions:
            assert isinstance(subscription, StatsSubscription)
            assert subscription._beat is not None
            assert subscription._beat.call is None
        assert server.context.beats._timer is None, "nothing is due any more"
