"""The page of ``/metrics``: formats, series from the start, the process, collections by name."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from omendb_core.model.errors import BY_CODE
from omendb_core.scan.choice import choose
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from omendb_ws._version import VERSION
from omendb_ws.http.routes import Status
from omendb_ws.net.server import Server
from omendb_ws.telemetry.exposition import PROCESS
from omendb_ws.telemetry.metric_rows import Metric
from omendb_ws.telemetry.prometheus import METRICS, STATUSES
from omendb_ws.wire.opcodes import OPS, SUBSCRIPTION_KINDS
from tests.certificates import make_certificate
from tests.promtool import needs_promtool, promtool
from tests.server.raw import client, running, settings
from tests.server.tenant_files import limits, with_tenants
from tests.server.tenants.test_tenant_views import got, samples


async def scraped(server: Server) -> dict[str, float]:
    return samples(server.metrics_page().body.decode())


def of_collection(page: dict[str, float], tenant: str, name: str) -> dict[str, float]:
    """What a page says of one collection, by the ends of the names."""
    label = f'{{collection="{name}",tenant="{tenant}"}}'
    return {
        series.removesuffix(label).removeprefix("omendb_collection_").removesuffix("_total"): value
        for series, value in page.items()
        if series.endswith(label)
    }


async def test_every_label_that_is_known_has_its_series_from_the_start() -> None:
    async with running() as server:
        page = await scraped(server)
        for op in (*OPS, "invalid", "refused"):
            assert page[f'omendb_requests_total{{op="{op}"}}'] == 0
        for code in BY_CODE:
            assert page[f'omendb_errors_total{{code="{code}"}}'] == 0
        for kind in SUBSCRIPTION_KINDS:
            assert page[f'omendb_subscriptions{{kind="{kind}"}}'] == 0
        assert page['omendb_http_answers_total{status="503"}'] == 0
        assert page['omendb_shed_total{reason="unread"}'] == 0
        assert set(of_collection(page, "_others", "_others").values()) == {0}


@needs_promtool
async def test_promtool_finds_nothing_wrong_with_the_page(tmp_path: Path) -> None:
    async with (
        running(
            Server(with_tenants(tmp_path, limits(), data_dir=str(tmp_path / "data")))
        ) as server,
        client(server, token="token-root") as root,
    ):
        await root.create()
        await root.add(1, 2)
        for path, token in (("/metrics", "token-root"), ("/metrics", "token-other")):
            _, page = await got(server, path, token)
            assert promtool("check", "metrics", given=page.encode()) == (0, "")


async def test_a_scraper_that_takes_openmetrics_gets_it_and_others_prometheus_text() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.add(1)

        def get(accept: str) -> tuple[str, str]:
            request = urllib.request.Request(f"http://127.0.0.1:{server.port}/metrics")
            request.add_header("Accept", accept)
            with urllib.request.urlopen(request) as reply:
                return reply.headers["Content-Type"], reply.read().decode()

        asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
        kind, page = await asyncio.to_thread(get, asked)
        assert kind.startswith("application/openmetrics-text; version=1.0.0")
        assert page.endswith("# EOF\n")
        names = {family.name for family in openmetrics(page)}
        assert {metric.name for metric in METRICS} <= names
        for plain in ("", "*/*", "text/html", "application/openmetrics-text;version=x", ";;=,"):
            kind, page = await asyncio.to_thread(get, plain)
            assert kind == "text/plain; version=0.0.4; charset=utf-8", plain
            assert "omendb_build_info" in {family.name for family in prometheus_text(page)}


async def test_it_says_what_runs_here_and_what_the_process_takes() -> None:
    async with running() as server:
        page = await scraped(server)
        (build,) = [series for series in page if series.startswith("omendb_build_info")]
        assert f'version="{VERSION}"' in build
        assert f'kernel="{choose().name}"' in build
        assert page["process_resident_memory_bytes"] > 1 << 20
        assert page["process_open_fds"] > 3
        assert page["process_cpu_seconds_total"] > 0
        assert page.keys() >= PROCESS.keys()
        assert {series for series in page if series.startswith("process_")} == PROCESS.keys()


async def test_the_status_is_1_of_those_that_there_are() -> None:
    assert get_args(Status) == STATUSES
    async with running() as server:
        assert (await scraped(server))['omendb_status{status="ok"}'] == 1
        server.context.is_draining = True
        page = await scraped(server)
        assert page['omendb_status{status="draining"}'] == 1
        assert sum(page[f'omendb_status{{status="{one}"}}'] for one in STATUSES) == 1


async def test_what_each_collection_has_and_has_done() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=2)
        await raw.create("quiet")
        await raw.add(1, 2)
        await raw.add(3)
        await raw.ok("subscribe", kind="live", collection="items", vector=[1, 0], k=1)
        await raw.ok("search", collection="items", vectors=[[1, 0], [0, 1]])
        assert await raw.code("search", collection="items", vector=[1, 0, 0]) == "dim_mismatch"
        await raw.ok("ping")
        page = await scraped(server)
        items = of_collection(page, "default", "items")
        assert items.pop("engine_seconds") > 0
        assert items.pop("reserved_bytes") > 0
        assert items.pop("payload_bytes") >= 0
        assert items == {
            "rows": 2,
            "capacity_rows": 2,
            "subscriptions": 1,
            "live_queries": 1,
            "journal_bytes": 0,
            "journal_unflushed_seconds": 0,
            "added_rows": 3,
            "evicted_rows": 1,
            "queries": 2,
            "pushes": 0,
            "merged_pushes": 0,
            "gaps": 0,
            "errors": items["errors"],
        }
        quiet = of_collection(page, "default", "quiet")
        assert (quiet["rows"], quiet["queries"], quiet["engine_seconds"]) == (0, 0, 0)


async def test_all_time_of_the_engine_is_some_collections_and_some_tenants() -> None:
    async with running() as server, client(server) as raw:
        for name in ("items", "more"):
            await raw.create(name)
            await raw.add(*range(8), name=name)
            await raw.ok("search", collection=name, vectors=[[1, 0]] * 50)
        await raw.ok("get", collection="items", ids=[1, 2])
        await raw.ok("count", collection="more")
        page = await scraped(server)
        of_tenant = page['omendb_tenant_engine_seconds_total{tenant="_others"}']
        both = [
            of_collection(page, "default", name)["engine_seconds"] for name in ("items", "more")
        ]
        assert min(both) > 0
        assert sum(both) == pytest.approx(of_tenant)


async def test_no_more_collections_are_told_one_by_one_than_the_setting_says() -> None:
    async with running(max_metrics_collections=1) as server, client(server) as raw:
        for name in ("a", "b", "c"):
            await raw.create(name)
        await raw.ok("add", collection="b", rows=[{"id": 1, "vector": [1, 0]}])
        page = await scraped(server)
        assert of_collection(page, "default", "b")["rows"] == 1
        assert of_collection(page, "default", "a") == of_collection(page, "default", "c") == {}
        assert of_collection(page, "_others", "_others")["capacity_rows"] == 16
        await raw.ok("drop", collection="b")
        page = await scraped(server)
        assert of_collection(page, "default", "a")["capacity_rows"] == 8


async def test_a_tenant_sees_its_own_collections_whatever_others_have(tmp_path: Path) -> None:
    given = with_tenants(tmp_path, limits(), max_metrics_collections=1)
    async with (
        running(Server(given)) as server,
        client(server, token="token-root") as root,
        client(server, token="token-other") as other,
    ):
        await other.create("mine")
        _, before = await got(server, "/metrics", "token-other")
        await root.create("secret-name")
        await root.add(1, 2, 3, name="secret-name")
        _, page = await got(server, "/metrics", "token-root")
        assert of_collection(samples(page), "acme", "secret-name")["rows"] == 3
        _, page = await got(server, "/metrics", "token-other")
        assert page == before, "what others do changes nothing of it"
        mine = of_collection(samples(page), "umbrella", "mine")
        assert (mine["rows"], mine["capacity_rows"]) == (0, 8)
        assert set(of_collection(samples(page), "umbrella", "_others").values()) == {0}
        await other.ok("drop", collection="mine")
        await got(server, "/metrics", "token-other")
        await got(server, "/metrics", "token-root")
        assert server.context.server_view._busiest == {}, "nothing is kept of who has nothing"


async def test_it_says_when_the_certificate_expires_and_that_of_a_newer_one(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)

    def expiry() -> float:
        found = x509.load_pem_x509_certificate(Path(files.certificate_file).read_bytes())
        return found.not_valid_after_utc.timestamp()

    tls = {"tls_certificate_file": files.certificate_file, "tls_key_file": files.key_file}
    name = "omendb_tls_certificate_expiry_timestamp_seconds"
    async with running(Server(settings(**tls))) as server:
        assert (await scraped(server))[name] == expiry()
        make_certificate(tmp_path, days=9)
        await server.node.read_again()
        assert (await scraped(server))[name] == expiry()
    async with running() as server:
        page = server.metrics_page().body.decode()
        assert f"# TYPE {name} gauge" in page
        assert name not in samples(page), "without TLS nothing expires"


def test_names_are_as_prometheus_asks() -> None:
    def is_fine(metric: Metric) -> bool:
        return metric.name.startswith("omendb_") and not metric.name.endswith(("_total", "_count"))

    assert [metric.name for metric in METRICS if not is_fine(metric)] == []
    assert len({metric.name for metric in METRICS}) == len(METRICS)
