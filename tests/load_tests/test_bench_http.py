"""The benchmark of the HTTP API runs, and prints a line for each server."""

from __future__ import annotations

import subprocess
import sys

from tests.project.pages import ROOT


def test_it_measures_all_three_servers() -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "load_tests.bench_http", "--seconds", "0.1", "--runs", "1",
            "--rows", "500", "--connections", "2",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[1:]
    assert [line.split(", ", 1)[1].split("  ")[0] for line in lines] == [
        "http", "websocket, binary", "websocket, JSON", "plain",
        "http", "websocket, binary", "plain",
    ]  # fmt: skip
