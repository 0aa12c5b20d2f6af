"""The demo as a user runs it: a child process, a real server, a real connection."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.patience import PATIENCE_SECONDS
from tests.project.pages import ROOT


def environment() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OMENDB_")}
    return {**kept, "PYTHONWARNINGS": "error", "COLUMNS": "80"}


def arguments(*flags: str) -> list[str]:
    return [sys.executable, "-m", "omendb_ws", "demo", *flags]


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(*flags),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def test_the_demo_has_an_http_api_where_one_is_asked_for() -> None:
    done = run("--port", "0", "--http-port", "0", "--seconds", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^The HTTP API: http://127\.0\.0\.1:\d+/docs$", done.stdout, re.M)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        refused = run("--port", "0", "--http-port", str(number), "--seconds", "1")
    assert refused.returncode == 1
    assert f"port {number}: it is taken" in refused.stderr
    assert "--http-port 0 takes" in refused.stderr


@contextmanager
def piped(*flags: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        arguments(*flags),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a signal to its group is what Ctrl-C is
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate(timeout=PATIENCE_SECONDS)


def numbers(line: str) -> list[float]:
    return [float(text.replace(",", "")) for text in re.findall(r"\d[\d,]*\.?\d*", line)]


def test_the_demo_ends_by_itself_evicts_and_finds_the_right_digits() -> None:
    done = run("--port", "0", "--seconds", "3")
    assert (done.returncode, done.stderr) == (0, "")
    first, second, *_, last = done.stdout.splitlines()
    where = re.fullmatch(r"Serving the demo at ws://(127\.0\.0\.1:\d+)/v1", first)
    assert where
    assert second == f"In a browser: http://{where[1]}/"
    said = re.fullmatch(
        r"([\d.]+) s: ([\d,]+) rows streamed, ([\d,]+) evicted, ([\d,]+) searches"
        r" \(p50 ([\d.]+) ms, p99 ([\d.]+) ms\), ([\d.]+)% of the neighbours show the right digit",
        last,
    )
    assert said, last
    _, streamed, evicted, searches, p50, p99, right = (
        float(text.replace(",", "")) for text in said.groups()
    )
    assert streamed > 1000
    assert evicted == streamed - 1000
    assert searches > 0
    assert 0 < p50 <= p99
    assert 90 < right < 100


def test_without_a_terminal_there_is_a_plain_line_a_second() -> None:
    done = run("--port", "0", "--seconds", "3", "--rows-per-second", "2000")
    lines = [line for line in done.stdout.splitlines() if re.match(r"\d+ s: ", line)]
    assert len(lines) >= 1
    assert all("1,000 of 1,000 rows" in line for line in lines)
    assert "\x1b" not in done.stdout


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--port", str(port), "--seconds", "1")
    assert done.returncode == 1
    assert done.stderr == (
        f"omendb-ws: port {port}: it is taken, perhaps by another demo;"
        " --port 0 takes any free one\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    with piped("--port", "0") as child:
        assert child.stdout is not None
        while "right digit" not in child.stdout.readline():
            assert child.poll() is None
        os.killpg(child.pid, number) if number == signal.SIGINT else child.send_signal(number)
        out, err = child.communicate(timeout=PATIENCE_SECONDS)
    assert (child.returncode, err) == (0, "")
    assert "rows streamed" in out.splitlines()[-1]


def test_its_server_goes_with_it_even_when_it_is_killed() -> None:
    with piped("--port", "0") as child:
        assert child.stdout is not None
        found = re.search(r"ws://127\.0\.0\.1:(\d+)/v1", child.stdout.readline())
        assert found
        child.kill()
        child.wait(PATIENCE_SECONDS)
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(found[1])), timeout=PATIENCE_SECONDS).close()
        except OSError:
            return
        assert time.monotonic() < end, "the server outlives the demo"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_in_a_terminal_it_is_drawn_and_ctrl_c_ends_it(term: str) -> None:
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen(
        arguments("--port", "0"),
        cwd=ROOT,
        env={**environment(), "TERM": term},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as child:
        os.close(slave)
        seen = until(master, b"asked: " if term != "dumb" else b"right digit 9")
        os.write(master, b"\x03")
        seen += until(master, b"rows streamed")
        assert child.wait(PATIENCE_SECONDS) == 0
    os.close(master)
    assert b"Traceback" not in seen
    assert (b"\x1b[?1049h" in seen) == (term != "dumb")
    if term != "dumb":
        assert seen.index(b"\x1b[?1049l") > seen.index(b"\x1b[?1049h")


def until(master: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([master], [], [], PATIENCE_SECONDS)
        assert ready, seen[-2000:]
        seen += os.read(master, 65_536)
    return seen
