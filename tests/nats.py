"""NATS servers of tests: processes of their own on loopback, with files where the test says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.patience import wait_until


def program() -> str:
    """The server's program, which comes with the extra test."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    assert found is not None, "nats-server is not there; install the extra test"
    return found


class NatsServer:
    """One server with JetStream; its port is kept over restarts."""

    def __init__(
        self, directory: Path, more: Sequence[str] = (), *, has_jetstream: bool = True
    ) -> None:
        self._directory = directory
        self._more = [*(["-js"] if has_jetstream else []), *more]
        self._port = -1
        #: Where it is monitored, with ``-m`` among ``more``.
        self.monitor = ""
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(exist_ok=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        ports = self._directory / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir()
        arguments = [
            program(), "-sd", str(self._directory / "store"), "-a", "127.0.0.1",
            "-p", str(self._port), "--ports_file_dir", str(ports), *self._more,
        ]  # fmt: skip
        with (self._directory / "log").open("ab") as log:
            process = self._process = subprocess.Popen(arguments, stdout=log, stderr=log)

        def is_ready() -> bool:
            assert process.poll() is None, (self._directory / "log").read_text()
            return any(file.stat().st_size for file in ports.glob("*.ports"))

        try:
            wait_until(is_ready)
            [file] = ports.glob("*.ports")
            told = json.loads(file.read_text())
            [url] = told["nats"]
            self._port = int(url.rpartition(":")[2])
            self.monitor = next(iter(told.get("monitoring", [])), "")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it as a crash does; again and again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it stand still."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


@contextmanager
def nats_server(
    directory: Path, more: Sequence[str] = (), *, has_jetstream: bool = True
) -> Iterator[NatsServer]:
    """A server that runs, and ends with the block; its files lie in ``directory``."""
    server = NatsServer(directory, more, has_jetstream=has_jetstream)
    try:
        server.start()
        yield server
    finally:
        server.kill()
