"""The dashboards of Grafana are what ``dashboards.py`` makes, and in step with the metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from deploy.grafana import dashboards
from deploy.grafana.dashboards import DASHBOARDS, Dashboard, document
from omendb_ws.telemetry.exposition import PROCESS
from omendb_ws.telemetry.prometheus import METRICS
from tests.project.pages import ROOT
from tests.promtool import needs_promtool, promtool

PARTS = ("_bucket", "_sum", "_count")
#: Series by name; of a histogram its parts.
SERIES = {
    name
    for metric in METRICS
    for name in (
        [metric.name + part for part in PARTS]
        if metric.kind == "histogram"
        else [metric.name + ("_total" if metric.kind == "counter" else "")]
    )
} | PROCESS.keys()
LABELS = {metric.name: set(metric.labels) for metric in METRICS}


def expressions(dashboard: Dashboard) -> Iterator[str]:
    for panel in document(dashboard)["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def asked(text: str) -> set[str]:
    return set(re.findall(r"\b(?:omendb|process)_\w+", text))


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.name)
def test_a_file_is_what_is_made_again(dashboard: Dashboard) -> None:
    path = dashboards.FOLDER / f"{dashboard.name}.json"
    again = "make it again: python deploy/grafana/dashboards.py"
    assert path.read_text("utf-8") == dashboards.text(dashboard), again


def test_there_is_no_other_file() -> None:
    there = {path.name for path in dashboards.FOLDER.iterdir()}
    assert there == {f"{one.name}.json" for one in DASHBOARDS}


def test_every_metric_that_is_asked_for_is_there() -> None:
    for dashboard in DASHBOARDS:
        for one in (*expressions(dashboard), *(query for _, query in dashboard.variables)):
            unknown = {name for name in asked(one) if name not in SERIES and name not in LABELS}
            assert unknown == set(), one


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {name for one in DASHBOARDS for text in expressions(one) for name in asked(text)}
    whole = shown | {name + part for name in shown for part in PARTS if f"{name}_bucket" in SERIES}
    histograms = {metric.name for metric in METRICS if metric.kind == "histogram"}
    missing = {name for name in SERIES - whole if not name.endswith(PARTS) or name in PROCESS}
    missing |= {name for name in histograms if not {name + part for part in PARTS} & shown}
    assert missing == set()


def test_labels_that_are_asked_for_are_those_of_the_metric() -> None:
    for dashboard in DASHBOARDS:
        for panel in document(dashboard)["panels"]:
            for target in panel.get("targets", ()):
                of = {name.removesuffix("_total") for name in asked(target["expr"])}
                known = {"instance", "job", "le"}.union(*(LABELS.get(name, set()) for name in of))
                said = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                said |= set(re.findall(r"(\w+)=~", target["expr"]))
                for by in re.findall(r"by \(([^)]*)\)", target["expr"]):
                    said |= {label.strip() for label in by.split(",")}
                assert said <= known, (panel["title"], said - known)


@needs_promtool
def test_every_expression_is_promql() -> None:
    """promtool has no check of one expression, so each becomes a rule."""
    found = [text for one in DASHBOARDS for text in expressions(one)]
    rules = [
        {"record": f"a:b:{at}", "expr": re.sub(r"\$__rate_interval", "1m", text)}
        for at, text in enumerate(found)
    ]
    document = yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]})
    status, said = promtool("check", "rules", "/dev/stdin", given=document.encode())
    assert status == 0, said
    assert f"{len(found)} rules found" in said
    assert len(found) > 100


def test_panels_have_ids_and_places_of_their_own() -> None:
    for dashboard in DASHBOARDS:
        panels = document(dashboard)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            at: dict[str, Any] = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken
            assert max(x for x, _ in cells) < 24
            taken |= cells
        ids = [target["refId"] for panel in panels for target in panel.get("targets", ())]
        assert all(re.fullmatch("[A-Z]", one) for one in ids)


def test_what_provisions_them_names_the_source_and_the_folder() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((folder / "dashboards" / "omendb.yml").read_text())["providers"]
    assert provider["type"] == "file"
    for dashboard in DASHBOARDS:
        (variable, *_) = json.loads(dashboards.text(dashboard))["templating"]["list"]
        assert variable["query"] == "prometheus"
