"""``top`` and the bar of ``load`` in a real terminal: drawn, typed at, resized, and left tidy."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import serving
from tests.cli.here import Runs, vectors
from tests.cli.terminal import ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR, terminal


@pytest.fixture
def several(omendb: Runs, tmp_path: Path) -> Runs:
    """A server with three collections."""
    for name, count in (("alpha", 100), ("beta", 300), ("gamma", 200)):
        path = tmp_path / f"{name}.npy"
        np.save(path, vectors(count))
        omendb("load", path, "-c", name, "--create", "--capacity", 1000)
    return omendb


def names(screen: str) -> list[str]:
    """The collections in the order in which they stand in the table."""
    words = [line.split()[0] for line in screen.splitlines() if line.strip()]
    return [word for word in words if word in ("alpha", "beta", "gamma")]


def test_top_shows_the_server_and_every_collection_and_q_quits(several: Runs) -> None:
    with terminal("top", "--every-ms", 100, columns=160, OMENDB_URL=several.url) as top:
        screen = top.wait_for("connections 1", "alpha", "beta", "gamma", "loop lag", "search p50/")
        assert names(screen) == ["alpha", "beta", "gamma"]
        head = next(line for line in screen.splitlines() if line.startswith("collection"))
        for heading in ("fill", "rows", "oldest", "adds/s", "live", "merged/s", "gaps/s", "memory"):
            assert heading in head
        assert "10%" in screen
        assert several.url in screen
        top.type(b"q")
        assert top.finish() == 0
        assert top.drawn.index(ENTER_SCREEN) < top.drawn.rindex(LEAVE_SCREEN)
        assert SHOW_CURSOR in top.drawn[top.drawn.index(ENTER_SCREEN) :]


def test_keys_sort_and_pick_and_show_all_figures(several: Runs) -> None:
    with terminal("top", "--every-ms", 100, columns=100, OMENDB_URL=several.url) as top:
        top.wait_for("alpha", "beta", "gamma", "connections")
        top.type(b"s")
        screen = top.wait_for("sort (fill, down)")
        assert names(screen) == ["beta", "gamma", "alpha"]
        top.type(b"r")
        assert names(top.wait_for("sort (fill, up)")) == ["alpha", "gamma", "beta"]
        top.type(b"\x1b[B\r")  # down, enter
        screen = top.wait_for("rows 200 of 1,000", "seqs 1 to 200", "metric cosine")
        top.type(b"\x1b[Bj")
        top.wait_for("rows 300 of 1,000")
        top.type(b"?")
        top.wait_for("pick a collection", "turn the order round")
        top.type(b"x")
        top.wait_for("rows 300 of 1,000")
        top.type(b"S")
        top.wait_for("sort (collection, up)")
        top.type(b"q")
        assert top.finish() == 0


@pytest.mark.parametrize("columns", [60, 160])
def test_top_fits_narrow_and_wide_terminals_and_follows_their_size(
    several: Runs, columns: int
) -> None:
    with terminal(
        "top", "--every-ms", 100, columns=columns, lines=20, OMENDB_URL=several.url
    ) as top:
        # The last words too: what is read may end in the middle of a picture.
        last = ["merged/s"] if columns == 160 else []
        screen = top.wait_for("alpha", "beta", "gamma", "connections", "q quit", *last)
        assert ("merged/s" in screen) == (columns == 160)
        assert names(screen) == ["alpha", "beta", "gamma"]
        top.resize(220 - columns, 30)
        if columns == 160:
            top.wait_for("alpha", "? help")
            while "merged/s" in top.text:
                top.wait_for("q quit")
                top._read(0.1)
        else:
            top.wait_for("merged/s", "memory")
        top.type(b"q")
        assert top.finish() == 0


def test_a_terminal_that_is_slow_is_waited_for(several: Runs) -> None:
    """Keys come by the file that pictures go to: an event loop may have it wait for nothing."""
    with terminal("top", OMENDB_URL=several.url) as top:
        top.wait_for("alpha", "connections")
        top.type(b"?")
        top.wait_for("pick a collection")
        assert top.makes_writers_wait
        top.type(b"q")
        top.type(b"q")
        assert top.finish() == 0


def test_what_is_created_comes_and_what_is_dropped_goes(several: Runs) -> None:
    with terminal("top", "--every-ms", 100, OMENDB_URL=several.url) as top:
        top.wait_for("alpha", "gamma", "connections")
        several("drop", "beta", "--yes")
        several("create", "delta", "--dim", 2, "--capacity", 5)
        screen = top.wait_for("delta")
        while "beta" in screen:
            top._read(0.1)
            screen = top.text
        top.type(b"q")
        assert top.finish() == 0


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, None)],
)
def test_a_signal_leaves_the_terminal_as_it_was(
    several: Runs, number: signal.Signals, code: int | None
) -> None:
    with terminal("top", OMENDB_URL=several.url) as top:
        top.wait_for("alpha", "connections")
        if number == signal.SIGINT:
            top.type(b"\x03")
        else:
            top.process.send_signal(number)
        left = top.finish()
        assert left == (128 + number if code is None else code)
        assert top.drawn.rindex(LEAVE_SCREEN) > top.drawn.index(ENTER_SCREEN)
        assert b"Traceback" not in top.drawn


def test_a_fault_of_our_own_leaves_the_terminal_as_it_was(several: Runs) -> None:
    code = """
import omendb_ws.cli.top_view as room
draw, drawn = room.view, []
def view(model, columns, lines):
    drawn.append(1)
    assert len(drawn) < 3, "a fault"
    return draw(model, columns, lines)
room.view = view
"""
    with terminal("top", "--every-ms", 100, code=code, OMENDB_URL=several.url) as top:
        assert top.finish() == 1
        assert top.drawn.rindex(LEAVE_SCREEN) > top.drawn.index(ENTER_SCREEN)
        assert b"a fault" in top.drawn[top.drawn.rindex(LEAVE_SCREEN) :]


def test_a_server_that_goes_and_comes_back_is_shown_again(tmp_path: Path) -> None:
    with serving() as first:
        port = str(first.port)
        code = "import omendb_ws.cli.top as room; room._LATE_SECONDS = room._LOOK_SECONDS = 0.3"
        flags = ("--every-ms", 100, "--url", first.url)
        with terminal("top", *flags, columns=100, code=code) as top:
            top.wait_for("connections 1")
            first.send(signal.SIGKILL)
            first.process.wait()
            top.wait_for("no figures: connecting again")
            with serving("--port", port):
                top.wait_for("connections 1", "up ")
                top.type(b"q")
                assert top.finish() == 0


def test_top_without_a_terminal_says_what_else_there_is(omendb: Runs) -> None:
    assert "--json prints lines" in omendb("top", code=2).err


def test_top_for_programs_is_a_line_of_figures_each_time(several: Runs) -> None:
    lines = several("top", "--json", "--count", 2, "--every-ms", 100).documents
    assert len(lines) == 2
    for line in lines:
        assert line["server"]["connections"] == 1
        assert [one["collection"] for one in line["collections"]] == ["alpha", "beta", "gamma"]


# -- the bar of load --------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 160])
def test_a_load_draws_a_bar_with_rows_rate_and_time_left(
    omendb: Runs, tmp_path: Path, columns: int
) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, vectors(1000))
    with terminal(
        "load", path, "-c", "items", "--create", "--rate", 500,
        columns=columns, lines=6, OMENDB_URL=omendb.url,
    ) as load:  # fmt: skip
        screen = load.wait_for("items ━", " rows", "/s 0:0")
        [bar] = [line for line in screen.splitlines() if line.startswith("items ━")]
        assert len(bar) <= columns
        assert ("%" in bar) == (columns == 160)
        load.wait_for("1,000 rows in ")
        assert load.finish() == 0


def test_ctrl_c_in_a_load_leaves_a_line_that_says_what_is_in(omendb: Runs, tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, vectors(100_000))
    with terminal(
        "load", path, "-c", "items", "--create", "--rate", 1000, OMENDB_URL=omendb.url, columns=120
    ) as load:
        load.wait_for("items ━", "/s")
        load.type(b"\x03")
        load.wait_for("omendb-ws: interrupted; ", "rows are acknowledged; the same command goes on")
        assert load.finish() == 130
        assert load.drawn.rstrip().endswith(b"there")
