"""Backups in a store that speaks S3: moto's server, a process of its own, reached by s3fs.

Needs the extra ``s3-test``; ``.ci/run`` and ``make torture`` install it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omendb_ws.sync import connect
from tests.cli.commands import Serving, environment, omendb_ws, serving
from tests.patience import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.skipif(
    not (find_spec("moto") and find_spec("s3fs")), reason="the extra s3-test is not installed"
)

_STORE = """
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0)
server.start()
print("at", *server.get_host_and_port(), flush=True)
server._thread.join()
"""
#: The least that S3 takes for a part.
PART_BYTES = 5 << 20


class Bucket:
    """A bucket of the store, looked at by plain requests."""

    def __init__(self, store: str) -> None:
        self.store = store
        self.url = f"{store}/backups"
        self.ask("", method="PUT")
        self.variables = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": store,
            "FSSPEC_S3": json.dumps({"default_block_size": PART_BYTES}),
        }

    def ask(self, query: str, method: str = "GET") -> str:
        request = urllib.request.Request(f"{self.url}{query}", method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
            return str(reply.read().decode())

    @property
    def keys(self) -> list[str]:
        return re.findall("<Key>([^<]*)</Key>", self.ask("?list-type=2"))

    @property
    def uploads(self) -> list[str]:
        """The keys of what is being uploaded, in parts."""
        return re.findall("<Key>([^<]*)</Key>", self.ask("?uploads"))

    def omendb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return omendb_ws(*arguments, **self.variables)

    def backing_up(self, url: str, key: str) -> subprocess.Popen[str]:
        """A backup in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "omendb_ws", "backup", "--url", url, f"s3://backups/{key}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(**self.variables),
        )  # fmt: skip


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _STORE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        lines = (line.split() for line in process.stdout)
        _, host, port = next(words for words in lines if words[:1] == ["at"])
        yield f"http://{host}:{port}"
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def bucket(store: str) -> Bucket:
    urllib.request.urlopen(
        urllib.request.Request(f"{store}/moto-api/reset", method="POST"), timeout=PATIENCE_SECONDS
    ).close()
    return Bucket(store)


@contextlib.contextmanager
def filled(rows: int, *arguments: str) -> Iterator[Serving]:
    """A server with two collections, the second of ``rows`` of 4 KiB."""
    vectors = np.random.default_rng(3).normal(size=(rows, 1024)).astype(np.float32)
    with serving(*arguments) as server:
        with connect(server.url) as db:
            for name, some in (("a", vectors[:10]), ("b", vectors)):
                durability: Any = "everysec" if arguments else "memory"
                db.create(name, dim=1024, capacity=rows, ids="auto", durability=durability)
                for start in range(0, len(some), 1000):
                    db.add(name, some[start : start + 1000])
        yield server


def listed(url: str) -> list[tuple[str, int, int]]:
    with connect(url) as db:
        return sorted((one.collection, one.rows, one.version) for one in db.list())


def test_a_backup_goes_into_a_bucket_in_parts_and_comes_back(bucket: Bucket) -> None:
    with filled(4000) as server:
        for key in ("all.omen", "all.omen"):  # over the one before, too
            done = bucket.omendb("backup", "--url", server.url, f"s3://backups/{key}")
            assert done.returncode == 0, done.stderr
        assert bucket.keys == ["all.omen"]
        assert bucket.uploads == []
        done = bucket.omendb("restore", "s3://backups/all.omen", "--url", server.url, "--as", "*-2")
        assert done.returncode == 0, done.stderr
        one, one_2, two, two_2 = listed(server.url)
        assert (one_2[0], two_2[0]) == ("a-2", "b-2")
        assert (one[1:], two[1:]) == (one_2[1:], two_2[1:])


def test_what_the_store_refuses_is_one_line(bucket: Bucket) -> None:
    with filled(10) as server:
        for key in ("s3://no-such-bucket/all.omen", "s3://backups/none"):
            done = bucket.omendb("restore", key, "--url", server.url)
            assert done.returncode == 2
            assert done.stderr.startswith(f"omendb-ws: {key}: ")
            assert len(done.stderr.splitlines()) == 1
        for name, value in (("FSSPEC_S3", "{}"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")):
            bucket.variables[name] = value
        bucket.variables["AWS_MAX_ATTEMPTS"] = "1"
        done = bucket.omendb("backup", "--url", server.url, "s3://backups/all.omen")
        assert done.returncode == 1
        assert done.stderr.startswith("omendb-ws: s3://backups/all.omen: ")


def halfway(bucket: Bucket, server: Serving, key: str) -> subprocess.Popen[str]:
    """A backup whose upload has begun and cannot end, as its server stands still."""
    while True:
        process = bucket.backing_up(server.url, key)
        wait_until(lambda process=process: bucket.uploads or process.poll() is not None)
        server.send(signal.SIGSTOP)
        # What it had asked for by then may still come; its end cannot.
        if bucket.uploads == [key] and process.poll() is None:
            return process
        server.send(signal.SIGCONT)
        process.communicate(timeout=PATIENCE_SECONDS)


def test_a_client_that_is_killed_while_it_uploads_leaves_the_backup_that_was_there(
    bucket: Bucket,
) -> None:
    with filled(10) as small:
        done = bucket.omendb("backup", "--url", small.url, "s3://backups/all.omen")
        assert done.returncode == 0, done.stderr
        held = listed(small.url)
    with filled(10_000) as server:
        process = halfway(bucket, server, "all.omen")
        process.kill()
        process.communicate()
        server.send(signal.SIGCONT)
        assert bucket.keys == ["all.omen"]
        with serving() as other:
            done = bucket.omendb("restore", "s3://backups/all.omen", "--url", other.url)
            assert done.returncode == 0, done.stderr
            assert listed(other.url) == held
        again = bucket.omendb("backup", "--url", server.url, "s3://backups/all.omen")
        assert again.returncode == 0, again.stderr


def test_a_server_that_is_killed_while_it_is_read_leaves_no_backup(bucket: Bucket) -> None:
    with filled(10_000) as server:
        process = halfway(bucket, server, "all.omen")
        server.process.kill()
        _, told = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 3, told
        assert len(told.splitlines()) == 1
        assert bucket.keys == []
        assert bucket.uploads == []  # given up, so that nobody pays for its parts


def test_a_server_that_is_killed_while_it_restores_has_what_was_there_before(
    bucket: Bucket, tmp_path: Path
) -> None:
    arguments = ("--data-dir", str(tmp_path))
    with filled(4000, *arguments) as server:
        done = bucket.omendb("backup", "--url", server.url, "s3://backups/all.omen")
        assert done.returncode == 0, done.stderr
        held = listed(server.url)
        restoring = subprocess.Popen(
            [sys.executable, "-m", "omendb_ws", "restore", "s3://backups/all.omen", "--url",
             server.url, "-c", "b", "--as", "c"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(**bucket.variables),
        )  # fmt: skip
        wait_until(lambda: list(tmp_path.glob("*+c+*")) or restoring.poll() is not None)
        os.kill(server.process.pid, signal.SIGKILL)
        restoring.communicate(timeout=PATIENCE_SECONDS)
        is_done = restoring.returncode == 0
    with serving(*arguments) as server, connect(server.url) as db:
        wait_until(lambda: not db.list_unavailable())
        whole = [*held, ("c", *held[1][1:])]
        assert listed(server.url) in ([whole] if is_done else [held, whole])
        assert is_done or not list(tmp_path.glob("*.new"))
