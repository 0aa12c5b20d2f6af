from __future__ import annotations

import dataclasses
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from load_tests.report import axes, svg
from load_tests.report.__main__ import main, write
from load_tests.report.figures import Figure, figures, rate_latency
from load_tests.report.page import page
from load_tests.simulation import results
from load_tests.simulation.example import example
from load_tests.simulation.results import Percentiles, Result

VOID = {"meta", "link", "img", "br", "hr", "input"}
NOTHING = Percentiles(0, None, None, None, None, None, None)


class Page(HTMLParser):
    """Elements with their attributes, and the text; complains of what is not closed."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def changed(result: Result, **values: Any) -> Result:
    return dataclasses.replace(result, **values)


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_the_page_is_complete_in_itself(kind: str) -> None:
    document = page(example(kind))
    elements = Page(document).elements
    assert not re.search(r"https?:|//\w|@import|url\(|<script", document)
    fetching = {"src", "href", "srcset", "data", "poster", "action"}
    assert not [one for one in elements if fetching & set(one[1])]
    assert not {tag for tag, _ in elements} & {"link", "img", "script", "iframe", "object"}
    (policy,) = [a["content"] for t, a in elements if t == "meta" and "http-equiv" in a]
    assert policy is not None
    assert "default-src 'none'" in policy


def test_the_page_says_where_how_and_how_durable() -> None:
    text = Page(page(example())).text
    for wanted in (
        "durability memory", "Example CPU", "0123abc+", "omendb-ws/0.1.0", "collection.capacity",
        "100,000", "overloaded: 2", "knee of search", "1,000/s", "The highest rate that was",
        "poisson", "closed", "add, 64 rows each",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_what_is_wrong_with_a_run_stands_at_the_top() -> None:
    result = example("run")
    late = dataclasses.replace(
        result.operations[0], is_reached=False, offered_per_second=900.0, achieved_per_second=500.0
    )
    bad = changed(result, operations=[late], is_honest_load=False, notes=["The generator was busy"])
    text = Page(page(bad)).text
    first = text[: text.index("Plots")]
    assert "search: the offered rate was not reached. 500 of 900 requests" in first
    assert "The generator held the load back. The generator was busy" in first
    assert "Wrong answers. 1 of 99" in first
    assert result.truth is not None
    fine = dataclasses.replace(result.truth, mismatches=0, examples=[], recall=1.0)
    text = Page(page(changed(result, truth=fine))).text
    assert "Wrong answers" not in text
    assert "not reached" not in text


def test_a_recall_below_one_never_looks_like_one() -> None:
    result = example("run")
    assert result.truth is not None
    for recall, shown in ((1.0, "1.0"), (0.99999999, "0.999999"), (0.5, "0.5"), (0.0, "0")):
        truth = dataclasses.replace(result.truth, recall=recall)
        tile = f"<b>{shown}</b><span>recall, 99 answers compared</span>"
        assert tile in page(changed(result, truth=truth))


def test_text_of_a_result_stays_text() -> None:
    evil = "<script>alert(1)</script>\"'&"
    result = example()
    operation = dataclasses.replace(result.operations[0], name=evil, errors={evil: 1})
    environment = dataclasses.replace(result.environment, machine=evil, versions={evil: evil})
    document = page(
        changed(
            result,
            scenario=evil,
            description=evil,
            operations=[operation],
            notes=[evil],
            environment=environment,
            settings={evil: {evil: [evil]}},
        )
    )
    assert "<script" not in document
    assert Page(document).text.count("<script>alert(1)</script>") >= 8


def test_a_result_with_hardly_anything_still_makes_a_page() -> None:
    result = example("run")
    operation = dataclasses.replace(
        result.operations[0], corrected=NOTHING, uncorrected=NOTHING, over_time=[],
        corrected_curve=[], uncorrected_curve=[], errors={}, count=0,
    )  # fmt: skip
    resources = dataclasses.replace(
        result.resources, over_time=[], server_cpu_percent=None, server_resident_bytes_before=None,
        server_resident_bytes_after=None, server_resident_slope_bytes_per_second=None,
    )  # fmt: skip
    bare = changed(result, operations=[operation], pushes=[], truth=None, resources=resources)
    assert figures(bare) == []
    assert "–" in Page(page(bare)).text
    Page(page(changed(bare, operations=[])))


def figure(result: Result, name: str) -> Figure:
    (found,) = [one for one in figures(result) if one.name == name]
    return found


def test_every_plot_of_the_issue_is_there_with_the_results_numbers() -> None:
    result = example()
    operation, sweep = result.operations[0], result.sweep
    assert sweep is not None
    over_time = figure(result, "search-over-time")
    p99 = [one.p99_ms for one in operation.over_time]
    assert [one.ys for one in over_time.series if one.name == "p99"] == [p99]
    by_percentile = figure(result, "search-percentiles")
    assert [one.name for one in by_percentile.series] == ["corrected", "uncorrected"]
    curve = [point.ms for point in operation.corrected_curve]
    assert by_percentile.series[0].ys == curve
    by_rate = figure(result, "latency-by-rate")
    assert by_rate.series[0].xs == [250.0, 500.0, 1000.0, 2000.0]
    assert by_rate.series[1].ys == [point.corrected.p99_ms for point in sweep.points]
    assert by_rate.series[1].hollow == {3}
    assert [(mark.x, mark.label) for mark in by_rate.marks] == [(1000.0, "knee: 1,000/s")]
    lag = figure(result, "live-percentiles")
    assert lag.series[0].ys == [point.ms for point in result.pushes[0].lag_curve]
    assert figure(result, "memory").series[0].ys[0] == 200_000_000 / (1 << 20)


def test_no_knee_is_marked_where_no_rate_was_sustained() -> None:
    sweep = example().sweep
    assert sweep is not None
    without = dataclasses.replace(sweep, knee_per_second=None)
    assert rate_latency(without).marks == []
    assert "no rate was sustained" in page(changed(example(), sweep=without))


def test_points_of_a_drawing_lie_where_the_axes_say() -> None:
    one = figure(example(), "latency-by-rate")
    circles = re.findall(r'<circle class="(\w+) c1" cx="([\d.]+)" cy="([\d.]+)"', svg.draw(one))
    places = [
        (svg.LEFT + one.x.place(x) * (svg.WIDTH - svg.LEFT - svg.RIGHT), one.y.place(y or 0.0))
        for x, y in zip(one.series[1].xs, one.series[1].ys, strict=True)
    ]
    assert [kind for kind, _, _ in circles[:4]] == ["dot", "dot", "dot", "hollow"]
    for (_, x, y), (wanted, height) in zip(circles, places, strict=False):
        assert float(x) == pytest.approx(wanted, abs=0.06)
        span = svg.HEIGHT - svg.TOP - svg.BOTTOM
        assert float(y) == pytest.approx(svg.HEIGHT - svg.BOTTOM - height * span, abs=0.06)
    assert "knee: 1,000/s" in svg.draw(one)


def test_an_interval_without_answers_is_a_gap_in_the_line() -> None:
    result = example("run")
    operation = result.operations[0]
    intervals = list(operation.over_time)
    intervals[4] = dataclasses.replace(intervals[4], count=0, p50_ms=None, p99_ms=None, max_ms=None)
    changed_operation = dataclasses.replace(operation, over_time=intervals)
    one = figure(changed(result, operations=[changed_operation]), "search-over-time")
    lines = re.findall(r'class="line c0" d="(M[^"]*L[^"]*)"', svg.draw(one))
    assert [line.count("M") for line in lines] == [2]


def test_the_percentile_axis_gives_each_nine_the_same_room() -> None:
    axis = axes.Axis("percentile", "percentile", 0.0, 99.99)
    places = [axis.place(one) for one in (0.0, 90.0, 99.0, 99.9, 99.99)]
    assert places == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert [tick.label for tick in axis.ticks()] == ["0%", "50%", "90%", "99%", "99.9%", "99.99%"]


@pytest.mark.parametrize("values", [[0.001], [3.0, 3.0], [1e-3, 40.0], [7.0, 1e6], [0.02, 123.4]])
def test_latency_axes_hold_their_values_and_have_labelled_ticks(values: list[float]) -> None:
    axis = axes.latency("ms", values)
    assert axis.low <= min(values) <= max(values) <= axis.high
    assert math.isfinite(axis.place(values[0]))
    labels = [tick.label for tick in axis.ticks() if tick.label]
    assert 2 <= len(labels) <= 12
    assert len(set(labels)) == len(labels)
    assert all(axis.low * 0.999 <= tick.value <= axis.high * 1.001 for tick in axis.ticks())


def test_the_command_writes_the_page_and_a_png_of_every_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    document = tmp_path / "run7.json"
    results.save(example(), document)
    main([str(document), "-o", str(tmp_path / "out")])
    written = [Path(line) for line in capsys.readouterr().out.split()]
    assert written[0] == tmp_path / "out" / "run7.html"
    names = {f"{one.name}.png" for one in figures(example())}
    assert {path.name for path in written[1:]} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[1:])


def test_no_name_in_a_result_leads_out_of_the_folder(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = example("run")
    operation = dataclasses.replace(result.operations[0], name="../../out/x")
    folder = tmp_path / "a" / "b"
    for path in write(changed(result, operations=[operation], pushes=[]), folder):
        assert path.parent == folder
        assert path.exists()


def test_without_matplotlib_the_page_is_written_and_the_rest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert write(example("run"), tmp_path) == [tmp_path / "report.html"]
    assert "no PNGs: matplotlib is missing" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', '{"schema": 1}'])
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match=r"odd\.json"):
        main([str(path)])
