"""Three NATS servers of a test that keep each change twice; processes of their own on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from omendb_ws.local_cluster.nats_servers import (
    HOST,
    NatsPlan,
    PortTaken,
    plans,
    why_it_ended,
)
from tests.patience import wait_until


class Member:
    """One of them; its ports are kept over restarts."""

    def __init__(self, plan: NatsPlan) -> None:
        self._plan = plan
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """What the others call it."""
        return self._plan.name

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://{HOST}:{self._plan.port}"

    def start(self) -> None:
        """Start it; ``until_it_listens`` waits."""
        command = self._plan.write()
        with (self._plan.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def until_it_listens(self) -> None:
        """Raises PortTaken."""
        process = self._process
        assert process is not None

        def listens() -> bool:
            if process.poll() is not None:
                raise AssertionError(why_it_ended((self._plan.directory / "log").read_text()))
            return self._plan.listening_on() is not None

        wait_until(listens)
        port = self._plan.listening_on()
        assert port is not None
        self._plan = replace(self._plan, port=port)

    def kill(self) -> None:
        """End it as a crash does; again and again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lose_disk(self) -> None:
        """Take its files away; it must not run."""
        assert self._process is None
        shutil.rmtree(self._plan.directory / "store")

    def pause(self) -> None:
        """Let it stand still."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


class NatsServers:
    """All of them."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members

    @property
    def url(self) -> str:
        """Where they listen, with commas."""
        return ",".join(one.url for one in self.members)

    def called(self, name: str) -> Member:
        """The one of that name."""
        [found] = [one for one in self.members if one.name == name]
        return found

    def start(self) -> None:
        """Start them all. Raises PortTaken."""
        for one in self.members:
            one.start()
        for one in self.members:
            one.until_it_listens()

    def kill(self) -> None:
        """Kill them all."""
        for one in self.members:
            one.kill()


@contextmanager
def nats_servers(directory: Path, **fields: tuple[str, ...]) -> Iterator[NatsServers]:
    """Three that run, and end with the block; ``fields`` are a plan's."""
    servers = _started(directory, fields)
    try:
        yield servers
    finally:
        servers.kill()


def _started(directory: Path, fields: dict[str, tuple[str, ...]]) -> NatsServers:
    directory.mkdir(exist_ok=True)
    while True:
        servers = NatsServers([Member(plan) for plan in plans(3, directory, **fields)])
        try:
            servers.start()
        except PortTaken:
            servers.kill()
        except BaseException:
            servers.kill()
            raise
        else:
            return servers
