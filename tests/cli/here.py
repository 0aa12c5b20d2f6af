"""Client commands run in this process, against a server in a thread of it: quick, and real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from omendb_ws.cli import app
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from tests.cli import commands
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import settings

TIMEOUT_SECONDS = PATIENCE_SECONDS


@contextlib.contextmanager
def server(given: Settings | None = None, **options: Any) -> Iterator[str]:
    """A server in a thread; gives its address. ``options`` are ``Server``'s."""
    ready: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = []
    is_up = threading.Event()

    async def serve() -> None:
        end = asyncio.Event()
        async with Server(given or settings(), **options) as started:
            ready.append((asyncio.get_running_loop(), end, started.url))
            is_up.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert is_up.wait(TIMEOUT_SECONDS)
    loop, end, url = ready[0]
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(TIMEOUT_SECONDS)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str
    #: What ``out`` was, as bytes.
    raw: bytes = b""

    @property
    def document(self) -> Any:
        """What was printed, as JSON."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """Every line that was printed, as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(*arguments: object, input: bytes | None = None, **variables: str) -> Ran:
    """Run ``omendb-ws`` with ``arguments``."""
    clean = {"OMENDB_URL": "", "OMENDB_TOKEN": "", "NO_COLOR": "1", "COLUMNS": "80"}
    environment: dict[str, str | None] = {
        **{name: text or None for name, text in clean.items()}, **variables,
    }  # fmt: skip
    done = CliRunner().invoke(app, [str(one) for one in arguments], input=input, env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


def omendb_ws(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`commands.omendb_ws` in this process, for what no process is needed for; servers have one."""
    if arguments[:1] in (("serve",), ("demo",)):
        return commands.omendb_ws(*arguments, **variables)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("OMENDB_"):
                patch.delenv(name)
        ran = run(*arguments, **variables)
    return subprocess.CompletedProcess(list(arguments), ran.code, ran.out, ran.err)


class Runs:
    """Commands against one server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *arguments: object, input: bytes | None = None, code: int = 0) -> Ran:
        """Run a command, which must end with ``code``; if it is not 0, with one line on stderr."""
        ran = run(*arguments, input=input, OMENDB_URL=self.url)
        assert ran.code == code, (ran.code, ran.out, ran.err)
        assert "Traceback" not in ran.err
        if code != 0:
            [line] = ran.err.splitlines()
            assert line.startswith("omendb-ws: ")
        return ran


@pytest.fixture
def omendb() -> Iterator[Runs]:
    """A fresh server, and what runs commands against it."""
    with server() as url:
        yield Runs(url)


def vectors(count: int = 100, dim: int = 4) -> Any:
    return np.random.default_rng(2).normal(size=(count, dim)).astype(np.float32)
