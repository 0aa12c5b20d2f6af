"""The alerts of ``deploy/prometheus``: silent over a healthy server, and each fires in its case.

``promtool test rules`` evaluates them over series that a server under load was scraped of, some of
which a case has otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from omendb_ws.net.server import Server
from tests.certificates import make_certificate
from tests.project.pages import ROOT, page
from tests.promtool import needs_promtool, promtool
from tests.server.raw import Raw, client, running, settings

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
#: How often is scraped, for how long, and how many scrapes that is.
INTERVAL_SECONDS, MINUTES = 15, 30
SCRAPES = MINUTES * 60 // INTERVAL_SECONDS
DAY = 86_400
TARGET = 'instance="127.0.0.1:8765",job="omendb"'

#: What is wrong: series, and their values in promtool's notation (start, step, times).
CASES: Mapping[str, Mapping[str, str]] = {
    "OmendbDown": {"up{}": f"0x{SCRAPES}"},
    "OmendbNotReady": {
        'omendb_status{status="ok"}': f"0x{SCRAPES}",
        'omendb_status{status="draining"}': f"1x{SCRAPES}",
    },
    "OmendbRecoveryLong": {"omendb_recovering_collections{}": f"3x{SCRAPES}"},
    "OmendbCollectionsDamaged": {"omendb_damaged_collections{}": f"1x{SCRAPES}"},
    "OmendbStorageFailed": {"omendb_storage_failed_collections{}": f"1x{SCRAPES}"},
    "OmendbStorageFull": {'omendb_errors_total{code="storage_full"}': f"0+1x{SCRAPES}"},
    "OmendbNatsLost": {"omendb_nats_connected{}": f"0x{SCRAPES}"},
    "OmendbNoOwner": {"omendb_cluster_ownerless_collections{}": f"1x{SCRAPES}"},
    "OmendbReplicaBehind": {"omendb_cluster_lag_versions{}": f"3x{SCRAPES}"},
    "OmendbReplicaRebuilt": {"omendb_cluster_rebuilt_total{}": f"0x{SCRAPES - 8} 1x8"},
    "OmendbHealWaits": {"omendb_cluster_waiting_collections{}": f"1x{SCRAPES}"},
    "OmendbHealed": {"omendb_cluster_healed_total{}": f"0x{SCRAPES - 8} 1x8"},
    "OmendbUnflushed": {"omendb_journal_unflushed_seconds{}": f"6x{SCRAPES}"},
    "OmendbShedding": {'omendb_shed_total{reason="unread"}': f"0+30x{SCRAPES}"},
    "OmendbLoopLag": {"omendb_loop_lag_seconds{}": f"0.2x{SCRAPES}"},
    "OmendbGaps": {"omendb_gaps_total{}": f"0+1x{SCRAPES}"},
    "OmendbFaults": {"omendb_faults_total{}": f"0x{SCRAPES - 8} 1x8"},
    "OmendbMemoryNearBudget": {
        "omendb_reserved_bytes{}": f"950x{SCRAPES}",
        "omendb_max_memory_bytes{}": f"1000x{SCRAPES}",
    },
    "OmendbDescriptorsNearLimit": {
        "process_open_fds{}": f"1000x{SCRAPES}",
        "process_max_fds{}": f"1024x{SCRAPES}",
    },
    "OmendbCertificateExpiresSoon": {
        "omendb_tls_certificate_expiry_timestamp_seconds{}": f"{13 * DAY}x{SCRAPES}"
    },
    "OmendbCertificateExpiresNow": {
        "omendb_tls_certificate_expiry_timestamp_seconds{}": f"{DAY}x{SCRAPES}"
    },
    "OmendbJwksOverdue": {"omendb_jwks_overdue_seconds{}": f"0+15x{SCRAPES}"},
    "OmendbReloadFailed": {"omendb_reload_failures_total{}": f"0x{SCRAPES - 8} 1x8"},
    "OmendbAuditFailing": {"omendb_audit_dropped_total{}": f"0+1x{SCRAPES}"},
}
#: What only a server with a provider of keys, or with NATS, has.
ELSEWHERE = (
    "omendb_jwks_overdue_seconds", "omendb_nats_connected", "omendb_cluster_ownerless_collections",
    "omendb_cluster_lag_versions", "omendb_cluster_rebuilt_total",
    "omendb_cluster_waiting_collections", "omendb_cluster_healed_total",
)  # fmt: skip
#: What fires besides.
ALSO = {"OmendbCertificateExpiresNow": {"OmendbCertificateExpiresSoon"}}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def samples(text: bytes) -> Iterator[tuple[str, float]]:
    """Series, with the labels that Prometheus adds, and value."""
    for line in text.decode().splitlines():
        if not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            yield (
                f"{name}{{{','.join(filter(None, [labels.removesuffix('}'), TARGET]))}}}",
                float(value),
            )


@asynccontextmanager
async def healthy(folder: Path) -> AsyncIterator[tuple[Server, Raw]]:
    files = make_certificate(folder, days=90)
    given = {
        "data_dir": str(folder / "data"),
        "tls_certificate_file": files.certificate_file,
        "tls_key_file": files.key_file,
    }
    async with (
        running(Server(settings(**given))) as server,
        client(server, ssl=files.trusting()) as raw,
    ):
        await raw.create(capacity=100)
        await raw.ok("subscribe", kind="live", collection="items", vector=[1, 0], k=3)
        yield server, raw


async def scraped(folder: Path, scrapes: int = 5) -> dict[str, str]:
    """What a server under load says, in promtool's notation; the last values for the rest."""
    values: dict[str, list[str]] = {f"up{{{TARGET}}}": ["1"] * scrapes}
    async with healthy(folder) as (server, raw):
        for _ in range(scrapes):
            await raw.add(*range(20))
            await raw.ok("search", collection="items", vectors=[[1, 0]] * 5)
            assert await raw.code("search", collection="nowhere", vector=[1, 0]) == "not_found"
            for series, value in samples(server.metrics_page().body):
                values.setdefault(series, []).append(repr(value))
    return {
        series: f"{' '.join(told)} {told[-1]}x{SCRAPES - scrapes}"
        for series, told in values.items()
    }


def named(series: str) -> str:
    """A series of a case with the labels that Prometheus adds."""
    name, _, labels = series.removesuffix("}").partition("{")
    return f"{name}{{{','.join(filter(None, [labels, TARGET]))}}}"


def firing(series: Mapping[str, str], alerts: set[str]) -> dict[str, Any]:
    """A test of promtool's: that just these alerts fire in the end."""
    return {
        "interval": f"{INTERVAL_SECONDS}s",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{MINUTES}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)
                ],
            }
        ],
    }


def outcome(folder: Path, tests: list[dict[str, Any]]) -> tuple[int, str]:
    document = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}
    (folder / "test.yml").write_text(json.dumps(document))
    return promtool("test", "rules", str(folder / "test.yml"))


@needs_promtool
async def test_each_alert_fires_in_its_case_and_all_are_silent_in_health(tmp_path: Path) -> None:
    health = await scraped(tmp_path)
    tests = [firing(health, set())]
    for alert, wrong in CASES.items():
        series = {named(one): values for one, values in wrong.items()}
        assert all(one in health or one.startswith(ELSEWHERE) for one in series), alert
        tests.append(firing({**health, **series}, {alert} | ALSO.get(alert, set())))
    assert outcome(tmp_path, tests) == (0, f"Unit Testing:  {tmp_path / 'test.yml'}\n  SUCCESS\n\n")
    # And a test that expects another alert fails, so the others can.
    status, said = outcome(tmp_path, [firing(health, {"OmendbDown"})])
    assert status == 1
    assert "FAILED" in said


def test_every_alert_has_its_case_and_names_a_section_of_the_runbooks() -> None:
    assert {rule["alert"] for rule in rules()} == CASES.keys()
    sections = set(re.findall(r"^## (\w+)$", page("docs/runbooks.md"), re.M))
    assert sections == CASES.keys()
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning")


@needs_promtool
@pytest.mark.parametrize(("what", "file"), [("config", "prometheus.yml"), ("rules", "alerts.yml")])
def test_promtool_takes_the_files(what: str, file: str) -> None:
    status, said = promtool("check", what, str(RULES.with_name(file)))
    assert status == 0, said
