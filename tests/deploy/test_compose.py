"""``deploy/compose``: how its server is set, what its Prometheus scrapes, the files it names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from omendb_ws.net.server import Server
from omendb_ws.node.settings_sources import load
from tests.deploy import containerfile
from tests.patience import PATIENCE_SECONDS
from tests.project.pages import ROOT

FOLDER = ROOT / "deploy" / "compose"
IMAGE = containerfile.read(ROOT / "deploy" / "Containerfile")[-1]


def document(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


COMPOSE = document("compose.yaml")
SERVER = COMPOSE["services"]["omendb"]


def test_every_file_that_is_named_is_there() -> None:
    assert (FOLDER / SERVER["build"]["context"] / SERVER["build"]["dockerfile"]).is_file()
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (FOLDER / source).exists() if source[0] == "." else source in COMPOSE["volumes"]
    assert document("prometheus.yml")["rule_files"] == ["alerts.yml"]  # beside it, as mounted


def test_only_this_machine_reaches_what_needs_no_key() -> None:
    ports = [port for one in COMPOSE["services"].values() for port in one["ports"]]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_server_is_closed_in_and_may_take_its_time_to_leave() -> None:
    assert SERVER["read_only"] is True
    assert SERVER["tmpfs"] == ["/tmp"]
    assert SERVER["cap_drop"] == ["ALL"]
    assert SERVER["volumes"] == [f"omendb-data:{IMAGE.last('VOLUME')}"]
    settings = load({}, IMAGE.environment() | SERVER["environment"]).settings
    assert int(SERVER["stop_grace_period"].removesuffix("s")) > settings.drain_seconds + 30


async def test_prometheus_and_a_browser_are_let_in_as_it_is_set() -> None:
    given = {"OMENDB_ALLOW_ORIGINS": SERVER["environment"]["OMENDB_ALLOW_ORIGINS"]}
    [scraped] = document("prometheus.yml")["scrape_configs"]
    [target] = scraped["static_configs"][0]["targets"]
    here = {"port": 0, "http_port": 0, "data_dir": None}
    settings = load({}, given).settings.model_copy(update=here)
    async with (
        Server(settings) as server,
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as page,
    ):
        for url, path, host in (
            (f"http://127.0.0.1:{server.port}", "/metrics", target),
            (f"http://127.0.0.1:{server.port}", "/stats", "localhost:8765"),
            (str(server.http_url), "/v1/collections", "localhost:8766"),
        ):
            answer = await page.get(f"{url}{path}", headers={"Host": host})
            assert answer.status_code == 200, (host, answer.text)
            foreign = await page.get(f"{url}{path}", headers={"Host": "evil.com"})
            assert foreign.status_code == 403


def test_grafana_asks_the_prometheus_of_the_file() -> None:
    mounted = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["grafana"]["volumes"])
    provisioning = FOLDER / next(one for one in mounted if one.endswith("provisioning"))
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    host, port = source["url"].removeprefix("http://").split(":")
    assert COMPOSE["services"][host]["ports"][0].endswith(f":{port}")
    [provider] = yaml.safe_load((provisioning / "dashboards" / "omendb.yml").read_text())[
        "providers"
    ]
    dashboards = {place: source for source, place in mounted.items()}[provider["options"]["path"]]
    assert list((FOLDER / dashboards).glob("*.json"))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not there")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    done = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", FOLDER / "prometheus.yml"],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
