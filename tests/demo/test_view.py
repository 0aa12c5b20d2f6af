from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from omendb_ws.demo import digits
from omendb_ws.demo.figures import (
    REMEMBERED_SEARCHES,
    Neighbour,
    Question,
    Snapshot,
    Tally,
    WindowFigures,
)
from omendb_ws.demo.pictures import bar, levels, picture, sparkline
from omendb_ws.demo.view import Canvas, live_view, plain_line

URL = "ws://127.0.0.1:8765/v1"
DATA = digits.load()


def snapshot() -> Snapshot:
    rows = zip(DATA.vectors[1:11], DATA.labels[1:11].tolist(), strict=True)
    neighbours = tuple(Neighbour(vector, label, 0.987) for vector, label in rows)
    tally = Tally(
        label_counts=(103, 97, 88, 114, 96, 97, 98, 110, 99, 98),
        question=Question(DATA.vectors[0], 0, neighbours),
    )
    for second in range(30):
        for _ in range(100):
            tally.searched(0.25 if second < 29 else 0.5, 0.95)
        window = WindowFigures(1000, 1000, 500 * second + 1, 500 * second + 1000, 2.0)
        tally.reported(window, 100.0 + second)
    return tally.snapshot(30.0)


def drawn(columns: int, lines: int, colour_system: str | None) -> list[str]:
    out = io.StringIO()
    console = Console(
        file=out,
        width=columns,
        height=lines,
        force_terminal=True,
        color_system=colour_system,  # type: ignore[arg-type]
        legacy_windows=False,
    )
    canvas = Canvas(columns, lines, colour_system in ("256", "truecolor"))
    console.print(live_view(URL, "hint", snapshot(), canvas))
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()


@pytest.mark.parametrize("colour_system", [None, "standard", "256", "truecolor"])
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (100, 30), (120, 40), (200, 60)])
def test_the_view_fits_the_terminal(columns: int, lines: int, colour_system: str | None) -> None:
    rows = drawn(columns, lines, colour_system)
    assert len(rows) <= lines
    assert max(cell_len(row) for row in rows) <= columns
    text = "\n".join(rows)
    for part in (URL, "1,000 of 1,000", "500 rows/s", "14,500 evicted", "p99", "95.0%", "asked: 0"):
        assert part in text, part
    assert text.count("0.987") == 10
    assert "…" not in text


@pytest.mark.parametrize("columns", [60, 66, 79])
@pytest.mark.parametrize("colour_system", [None, "truecolor"])
def test_a_narrow_terminal_has_fewer_neighbours_and_nothing_cut_off(
    columns: int, colour_system: str | None
) -> None:
    rows = drawn(columns, 24, colour_system)
    assert len(rows) <= 24
    assert max(cell_len(row) for row in rows) <= columns
    text = "\n".join(rows)
    assert text.count("0.987") in (6, 8, 10)
    assert "…" not in text
    assert "9█" in text.replace("▇", "█")


def test_pictures_grow_with_the_terminal() -> None:
    heights = [
        len(drawn(columns, lines, None)) for columns, lines in ((80, 24), (110, 40), (150, 50))
    ]
    assert heights == sorted(set(heights))


def test_the_view_stands_before_anything_has_come() -> None:
    empty = Tally().snapshot(0.0)
    console = Console(file=io.StringIO(), width=80, height=24)
    console.print(live_view(URL, "hint", empty, Canvas(80, 24, False)))
    assert "0 evicted" in plain_line(empty)


def test_rates_are_those_of_the_last_seconds() -> None:
    now = snapshot()
    assert now.rates.rows == pytest.approx(500)
    assert now.rates.evictions == pytest.approx(500)
    assert now.rates.searches == pytest.approx(100)
    assert now.searches == 3000
    assert now.p50_ms == 0.25
    assert now.p99_ms == 0.5


def test_a_plain_line_says_the_same() -> None:
    assert plain_line(snapshot()) == (
        "30 s: 1,000 of 1,000 rows, oldest 2.0 s, 500 rows/s, 14,500 evicted, 100 searches/s,"
        " p50 0.25 ms, p99 0.50 ms, right digit 95.0%"
    )


def test_a_tally_stays_small_however_long_it_runs() -> None:
    tally = Tally()
    for number in range(3 * REMEMBERED_SEARCHES):
        tally.searched(1.0, 1.0)
        tally.reported(WindowFigures(last_seq=number), number * 0.01)
    kept = (tally._latencies_ms, tally._right_shares, tally._medians_ms, tally._moments)
    assert max(map(len, kept)) <= REMEMBERED_SEARCHES
    assert len(tally._moments) < 250


def test_a_normalised_digit_looks_as_its_image() -> None:
    image = DATA.vectors[3]
    assert np.array_equal(levels(image, 8, 8), levels(image / np.linalg.norm(image), 8, 8))
    assert levels(image, 8, 8).reshape(-1).tolist() == np.rint(image * 16 / image.max()).tolist()


def test_nothing_and_negative_values_are_paper() -> None:
    assert not levels(np.zeros(64, np.float32), 16, 16).any()
    assert not levels(np.full(64, -1, np.float32), 16, 16).any()


@pytest.mark.parametrize("columns", [8, 12, 16, 32])
def test_a_picture_is_square(columns: int) -> None:
    for colours in (True, False):
        lines = picture(DATA.vectors[0], "asked", columns, colours).plain.split("\n")
        assert len(lines) == columns // 2
        assert {len(line) for line in lines} == {columns}


def test_without_colours_the_shape_draws() -> None:
    half = np.zeros((8, 8), np.float32)
    half[:, 4:] = 16
    assert picture(half.reshape(-1), "right", 8, False).plain.split("\n") == ["    ████"] * 4


def test_bars_and_graphs() -> None:
    assert bar(0.0, 4) == "░░░░"
    assert bar(1.0, 4) == "████"
    assert bar(2.0, 4) == "████"
    assert bar(0.53125, 4) == "██▏░"
    assert sparkline([0, 1, 2]) == "▁▅█"
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert sparkline([]) == ""
