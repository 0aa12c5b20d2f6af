"""The server under load: one of our own in a child process, or one that runs already.

Ends what it started, by its process id.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from .connection import Endpoint

_LEAVE_SECONDS: Final = 20.0
_ANSWER_SECONDS: Final = 10.0


class ServerFailed(Exception):
    """The server did not start; the message says why."""


class Target(NamedTuple):
    """Where the server is. ``process_id`` None: not known, so its CPU is not measured."""

    url: str
    process_id: int | None


@contextlib.contextmanager
def serving(flags: Sequence[str] = ()) -> Iterator[Target]:
    """``omendb-ws serve`` on a free port of this machine. Raises ServerFailed."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("OMENDB_")
    }
    command = [sys.executable, "-m", "omendb_ws", "serve", "--port", "0", "--log-level", "warning"]
    child = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        found = re.search(r"wss?://\S+", line)
        if found is None:
            raise ServerFailed(f"the server did not start: {line!r}")
        yield Target(found[0], child.pid)
    finally:
        child.terminate()
        try:
            child.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert child.stdout is not None
        child.stdout.close()


def scrape(endpoint: Endpoint) -> dict[str, float]:
    """The samples without labels of ``/metrics``; empty where they cannot be had."""
    parts = urlsplit(endpoint.url)
    scheme = "https" if parts.scheme == "wss" else "http"
    request = urllib.request.Request(f"{scheme}://{parts.netloc}/metrics", headers=endpoint.headers)
    try:
        with urllib.request.urlopen(
            request, timeout=_ANSWER_SECONDS, context=endpoint.tls()
        ) as response:
            page = response.read().decode()
    except OSError:
        return {}
    return {name: float(value) for name, value in re.findall(r"^(\w+) ([-+.\deE]+)$", page, re.M)}
