"""``omendb-ws cluster start``: a whole cluster, which is ready, bears blows, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import omendb_ws
from omendb_ws.local_cluster.nats_servers import free_ports
from tests.cli.commands import environment
from tests.cli.commands import omendb_ws as run
from tests.patience import PATIENCE_SECONDS, UNHURRIED_VARIABLES, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it says that it cannot")


@dataclass
class Started:
    """One that is ready."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def urls(self) -> list[str]:
        return [node["url"] for node in self.ready["nodes"]]

    @property
    def pids(self) -> list[int]:
        return [one["pid"] for one in self.ready["nodes"] + self.ready["nats"]]

    def finish(self) -> tuple[int, str]:
        """Exit code and what was said on stderr."""
        _, said = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, said


def runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextlib.contextmanager
def started(directory: Path, *arguments: str) -> Iterator[Started]:
    """A cluster whose files lie in ``directory``."""
    variables = environment(**UNHURRIED_VARIABLES, TMPDIR=str(directory))
    process = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "cluster", "start", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield Started(process, json.loads(line))
    finally:
        process.kill()
        process.communicate()


def left(directory: Path, cluster: Started) -> list[object]:
    """What there is of it still."""
    return [*directory.iterdir(), *filter(runs, cluster.pids)]


async def add_and_search(urls: list[str]) -> None:
    async with omendb_ws.connect(urls[0], request_timeout_seconds=PATIENCE_SECONDS) as db:
        await db.create("items", dim=2, capacity=10, replicas=len(urls))
        await db.add("items", vectors=[[1, 0]], ids=[7])
    for url in urls[1:]:
        async with omendb_ws.connect(url, request_timeout_seconds=PATIENCE_SECONDS) as db:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not len((await db.search("items", [1, 0])).ids):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)


def test_every_node_sees_all_when_it_is_ready_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with started(tmp_path, "--nodes", "2", "--nats", "3") as cluster:
        assert [node["node"] for node in cluster.ready["nodes"]] == ["node1", "node2"]
        assert len(cluster.ready["nats"]) == 3
        asyncio.run(add_and_search(cluster.urls))
        cluster.process.send_signal(signal.SIGINT)
        code, said = cluster.finish()
        assert (code, said) == (0, "")
        assert left(tmp_path, cluster) == []


def test_a_node_that_is_killed_is_told_of_and_nothing_outlives_the_command(tmp_path: Path) -> None:
    with started(tmp_path, "--nodes", "2") as cluster:
        os.kill(cluster.ready["nodes"][0]["pid"], signal.SIGKILL)
        assert cluster.process.stderr is not None
        assert cluster.process.stderr.readline() == (
            f"omendb-ws: node1 (process {cluster.ready['nodes'][0]['pid']}) was ended by SIGKILL\n"
        )
        cluster.process.kill()
        wait_until(lambda: left(tmp_path, cluster) == [])


def test_without_its_nats_it_ends(tmp_path: Path) -> None:
    with started(tmp_path, "--nodes", "1") as cluster:
        os.kill(cluster.ready["nats"][0]["pid"], signal.SIGKILL)
        code, said = cluster.finish()
        assert code == 1
        assert said.endswith("cluster start: none of the NATS servers runs any more\n")
        assert left(tmp_path, cluster) == []


def refused(*arguments: str, **variables: str) -> tuple[int, str]:
    finished = run("cluster", "start", *arguments, **variables)
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr
    return finished.returncode, finished.stderr


def test_a_node_that_cannot_start_says_why_and_all_ends(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = refused("--nodes", "1", "--port", port, TMPDIR=str(tmp_path))
    assert code == 1
    assert said.splitlines()[-1] == "omendb-ws: node1 did not start"
    assert f"node1: omendb-ws: cannot listen on 127.0.0.1 port {port}" in said
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_make_no_cluster_are_refused() -> None:
    assert refused("--nats", "2") == (2, "omendb-ws: cluster start: --nats is 2; it is 1 or 3\n")
    code, said = refused("--nodes", "0")
    assert code == 2
    assert "--nodes" in said


def test_ports_that_are_looked_for_differ() -> None:
    assert len(set(free_ports(16))) == 16
