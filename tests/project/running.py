"""Runs what the pages show: commands of ours, servers as children, and where their addresses go."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.patience import PATIENCE_SECONDS
from tests.project.pages import ROOT

DEFAULT_URL = "ws://127.0.0.1:8765/v1"
DEFAULT_HTTP = "http://127.0.0.1:8765"
TIMEOUT_SECONDS = PATIENCE_SECONDS


def clean_environment() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OMENDB_")}
    return {**kept, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}


def command(*arguments: str, cwd: Path = ROOT, **variables: str) -> str:
    """What ``omendb-ws`` prints with ``arguments``; it succeeds."""
    done = subprocess.run(
        [sys.executable, "-m", "omendb_ws", *arguments],
        cwd=cwd,
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def running(*arguments: str, cwd: Path = ROOT) -> Iterator[str]:
    """A child started with ``arguments`` and a free port; gives the address it prints."""
    child = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", *arguments, "--port", "0"],
        cwd=cwd,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        lines = [child.stdout.readline()]
        while not (found := re.search(r"wss?://\S+/v1", lines[-1])):
            assert lines[-1], f"it ended without an address: {lines}"
            lines.append(child.stdout.readline())
        yield found[0]
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=TIMEOUT_SECONDS)
        assert child.returncode == 0


def run_python(text: str, url: str, cwd: Path = ROOT) -> str:
    """What a program prints, with ``url`` in place of the default address; it may not warn."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text.replace(DEFAULT_URL, url)],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def http_of(url: str) -> str:
    """The HTTP address of the server behind ``url``."""
    return url.replace("ws://", "http://").removesuffix("/v1")
