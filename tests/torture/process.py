"""A server process on a data directory that is killed and started again."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests import patience
from tests.cli.commands import environment
from tests.patience import UNHURRIED_VARIABLES

PATIENCE_SECONDS = patience.PATIENCE_SECONDS


class ServerProcess:
    """``omendb-ws serve`` on ``data_dir``, on one port for all its lives; logs to ``log_file``."""

    def __init__(self, data_dir: Path, log_file: Path) -> None:
        self.data_dir = data_dir
        self.log_file = log_file
        self.url = ""
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, **variables: str) -> None:
        """Start it, and return when everything is back."""
        with open(self.log_file, "ab") as log:  # noqa: ASYNC230 - opened, and that is all
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "omendb_ws", "serve", "--port", str(self._port),
                "--data-dir", str(self.data_dir), "--log-format", "json",
                stdout=asyncio.subprocess.PIPE, stderr=log,
                env=environment(**UNHURRIED_VARIABLES, **variables),
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self._process.stdout.readline()
            assert line, self.log_file.read_text()[-4000:]
            ready = json.loads(line)
            self.url, self._port = ready["url"], ready["port"]
            while await self.probe("/readyz") != 200:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.002)

    async def probe(self, path: str) -> int:
        """The status of a plain GET."""
        port = int(self.url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        head = await reader.readline()
        writer.close()
        return int(head.split()[1])

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._process.wait()
