"""The benchmark of the HTTP API runs, and prints a line for each server."""

from __future__ import annotations

import subprocess
import sys

from tests.project.pages import ROOT


def test_it_measures_all_three_servers() -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "load_tests.bench_http", "--seconds", "0.1", "--runs", "1",
            "--rows", "500", "--connections", "2", "--streams", "20", "--pairs", "1",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    beside = lines.index("The WebSocket beside 20 idle event streams, 1 pairs:")
    assert [line.split(", ", 1)[1].split("  ")[0] for line in lines[1:beside]] == [
        "http", "websocket, binary", "websocket, JSON", "plain",
        "http", "websocket, binary", "plain",
    ]  # fmt: skip
    told = {line.split("  ")[0] for line in lines[beside + 1 :]}
    for what in ("searches", "adds of 8192 rows"):
        assert {f"{what}, {one}" for one in ("alone", "beside streams", "beside / alone")} <= told
