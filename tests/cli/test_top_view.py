"""``top``'s picture and its keys, without a terminal or a server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from omendb_ws.cli import keys
from omendb_ws.cli.output import age, plain, size, table
from omendb_ws.cli.progress import Pace, clock
from omendb_ws.cli.top_model import COLUMNS, HEADINGS, Model, columns_for, count
from omendb_ws.cli.top_view import view
from tests.examples import examples

SERVER: dict[str, Any] = {
    "uptime_s": 4000.5, "rss_bytes": 123_456_789, "loop_lag_ms": 1.25, "queue_wait_ms": 0.0,
    "connections": 12,
    "subscriptions": 3400, "adds_per_s": 730_000.5, "searches_per_s": 2560, "pushes_per_s": 19_800,
    "merged_per_s": 3, "gaps_per_s": 0.5, "errors_per_s": 0,
    **{name: {"p50": 0.31, "p99": 25.4, "p999": 100} for name in
       ("search_ms", "add_ms", "push_ms")},
}  # fmt: skip


def collection(name: str, rows: int = 500, **fields: Any) -> dict[str, Any]:
    return {
        "collection": name, "epoch": "0123456789abcdef", "version": 12, "first_seq": 1,
        "last_seq": rows, "rows": rows, "bytes": 61 << 20, "dim": 128, "capacity": 1000,
        "oldest_age_s": 75.0, "adds_per_s": 10.0, "searches_per_s": 1.0, "pushes_per_s": 0,
        "merged_per_s": 0, "gaps_per_s": 0, "errors_per_s": 0, "evictions_per_s": 0,
        "live_subscriptions": 7, "metric": "cosine", "ids": "u64", "ttl": None,
        "durability": "memory", "columns": {"price": "f64"}, **fields,
    }  # fmt: skip


def model(count: int = 5, *, server: bool = True) -> Model:
    made = Model("ws://127.0.0.1:8765/v1", server=SERVER if server else None)
    for at in range(count):
        made.take(collection(f"collection-{at:03}" + "x" * (at % 3 * 30), rows=at * 10))
    return made


def drawn(made: Model, columns: int, lines: int) -> list[str]:
    console = Console(width=columns, height=lines, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(view(made, columns, lines))
    return capture.get().rstrip("\n").split("\n")


@pytest.mark.parametrize("columns", [40, 60, 79, 80, 100, 132, 160, 250])
@pytest.mark.parametrize("count", [0, 1, 100])
@pytest.mark.parametrize("pressed", ["", "e", "?"])
def test_whatever_is_shown_fits_the_terminal(columns: int, count: int, pressed: str) -> None:
    made = model(count)
    for key in {"e": ["enter"], "?": ["?"]}.get(pressed, []):
        made.press(key)
    lines = drawn(made, columns, 30)
    assert len(lines) <= 30
    assert max(map(len, lines)) <= columns
    assert "OmenDB-WS" in lines[0]


@given(
    st.lists(st.sampled_from(["up", "down", "home", "end", "pageup", "pagedown", "enter", "escape",
                              "s", "S", "left", "right", "r", "?", "j", "k", " ", "x", "\t"])),
    st.integers(0, 30), st.integers(30, 200), st.integers(5, 50),
)  # fmt: skip
@settings(max_examples=examples(60), deadline=None)
def test_no_keys_bring_it_out_of_step(
    pressed: list[str], count: int, columns: int, lines: int
) -> None:
    made = model(count)
    for key in pressed:
        made.press(key)
    picture = drawn(made, columns, lines)
    assert max(map(len, picture)) <= columns
    if made.picked is not None:
        assert made.in_order()[made.picked_at]["collection"] == made.picked
        if not made.shows_help and not made.shows_detail and lines > 20:
            assert any(line.startswith(made.picked[:10]) for line in picture)


def test_columns_go_by_rank_and_name_and_adds_stay() -> None:
    assert [one.heading for one in columns_for(1000)] == list(HEADINGS)
    assert [one.heading for one in columns_for(10)] == ["collection", "adds/s"]
    widths = [len(columns_for(width)) for width in range(20, 200)]
    assert widths == sorted(widths)
    narrow = [one.heading for one in columns_for(60)]
    assert narrow == ["collection", "fill", "adds/s", "search/s", "live"]


def test_every_column_sorts_and_equals_stand_by_name() -> None:
    made = model(0)
    for name, rows in (("b", 5), ("a", 5), ("c", 900)):
        made.take(collection(name, rows, oldest_age_s=None))
    for heading in HEADINGS:
        made.sort, made.descending = heading, heading != "collection"
        order = [one["collection"] for one in made.in_order()]
        expected = ["c", "a", "b"] if heading in ("fill", "rows") else ["a", "b", "c"]
        assert order == expected, heading


def test_what_is_picked_stays_picked_when_the_order_changes() -> None:
    made = model(4)
    made.press("down")
    made.press("down")
    picked = made.picked
    made.press("s")
    made.press("r")
    assert made.picked == picked
    assert picked is not None
    made.forget(picked)
    assert made.picked_at == 0
    made.press("q")
    assert made.is_over


def test_figures_that_are_not_there_yet_or_not_allowed_are_said() -> None:
    waiting = model(2, server=False)
    assert "waiting for figures" in drawn(waiting, 80, 24)[1]
    waiting.server_why = "need a key"
    assert "need a key" in drawn(waiting, 80, 24)[1]
    waiting.silent_seconds = 5.0
    assert "connecting again" in drawn(waiting, 80, 24)[0]


def test_only_colours_that_read_on_light_and_dark_are_used() -> None:
    made = model(3)
    made.take(collection("gappy", gaps_per_s=3, errors_per_s=1))
    made.press("down")
    made.press("enter")
    console = Console(width=120, height=40, force_terminal=True, color_system="truecolor")
    with console.capture() as capture:
        console.print(view(made, 120, 40))
    import re

    codes = {code for found in re.findall(r"\x1b\[([\d;]*)m", capture.get())
             for code in found.split(";")}  # fmt: skip
    # Reset, bold, dim, reversed; red and cyan of the terminal's own palette.
    assert codes <= {"0", "", "1", "2", "7", "31", "36"}


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOB\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~", ["pageup", "pagedown", "home", "end", "home"]),
        (b"\x1b", ["escape"]),
        (b"\r\n ", ["enter", "enter", " "]),
        (b"\x1b[15~x", ["x"]),
        (b"\x1b[1;5Aq", ["q"]),
        (b"\x1b[", []),
        (b"\xc3\xa4s", ["Ã", "¤", "s"]),
        (b"", []),
    ],
)
def test_keys_are_read_from_what_terminals_send(data: bytes, names: list[str]) -> None:
    assert keys.names(data) == names


@given(st.binary(max_size=64))
def test_any_bytes_of_a_terminal_are_some_keys(data: bytes) -> None:
    assert len(keys.names(data)) <= len(data)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (0.25, "0.2"), (9.96, "10.0"), (42.4, "42"), (9_999, "9,999"),
     (12_345, "12.3k"), (730_000, "730.0k"), (1_234_567, "1.2M"), (2e9, "2.0G")],
)  # fmt: skip
def test_counts_are_short(value: Any, text: str) -> None:
    assert count(value) == text
    assert len(text) <= min(column.width for column in COLUMNS)


def test_people_read_sizes_ages_and_text() -> None:
    assert [size(one) for one in (0, 1023, 1024, 61 << 20, 5 << 40)] == [
        "0 B", "1023 B", "1.0 KiB", "61.0 MiB", "5.0 TiB",
    ]  # fmt: skip
    assert [age(one) for one in (None, 0.04, 119, 7000, 200_000)] == [
        "-", "0.0 s", "119.0 s", "116.7 min", "2.3 d",
    ]  # fmt: skip
    assert plain("a\x1b[31m\nb\u202e") == "a�[31m�b�"
    assert [plain(one) for one in (None, True, 1234, 0.5, [1], {"a": None})] == [
        "-", "yes", "1234", "0.5", "[1]", '{"a":null}',
    ]  # fmt: skip
    assert table(("a", "b"), [("x", "1"), ("yy", "10")], "lr") == "a    b\nx    1\nyy  10"
    assert [clock(one) for one in (0.4, 7, 750, 11_100)] == ["0:00", "0:07", "12:30", "3:05:00"]


def test_a_pace_is_that_of_the_recent_past() -> None:
    pace = Pace()
    pace.note(0.0, 0, 0.0)
    assert (pace.rows_per_second, pace.seconds_left) == (0.0, None)
    for second in range(1, 21):
        pace.note(float(second), second * 100 if second < 10 else 900 + (second - 9) * 10,
                  second / 100)  # fmt: skip
    assert pace.rows_per_second == pytest.approx(10)
    assert pace.seconds_left == pytest.approx(80)
    pace.note(20.01, 1100, None)
    assert pace.seconds_left is None
