"""The benchmark of the clients runs, and has a figure for each client and call."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.patience import PATIENCE_SECONDS
from tests.project.pages import ROOT


def test_it_measures_every_call_of_every_client() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "load_tests.bench_client", "--rounds", "1", "--calls", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^(a?sync\w* \S+) +(.+?)  +[1-9]\d* µs", done.stdout, re.M)
    clients = {client for client, _ in lines}
    assert clients == {
        "asyncio socket", "asyncio memory://", "asyncio memory://NAME",
        "sync socket", "sync memory://NAME",
    }  # fmt: skip
    for client in clients:
        found = {call for one, call in lines if one == client}
        assert {"ping", "search, k = 10", "add, 1 row", "add, 100 rows"} <= found, client
