"""Standard output that is full, closed, gone or narrow: one line, the right code, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from omendb_ws.sync import connect
from tests.cli.commands import TIMEOUT_SECONDS, environment
from tests.cli.here import server

NAME = "größe … 数 \N{GRINNING FACE}"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with rows whose ids and metadata are not ASCII."""
    with server() as url, connect(url) as db:
        db.create("items", dim=2, capacity=10, ids="str")
        db.add("items", np.eye(2), ids=[NAME, "b"], metadata=[{NAME: NAME}, {}])
        yield url


COMMANDS: dict[str, list[str]] = {
    "help": ["--help"],
    "help of a command": ["load", "--help"],
    "version": ["--version"],
    "list": ["list"],
    "list --json": ["list", "--json"],
    "count": ["count", "items"],
    "stats": ["stats"],
    "usage": ["usage"],
    "cluster": ["cluster", "--help"],
    "search": ["search", "items", "[1, 0]", "--include", "metadata"],
    "search --json": ["search", "items", "[1, 0]", "--json"],
    "tail": ["tail", "items", "--from-seq", "1", "--count", "2"],
    "ping": ["ping", "--count", "1"],
    "top": ["top", "--json", "--count", "1"],
    "load": ["load", "rows.npy", "-c", "loaded", "--create"],
    "dump": ["dump", "out.jsonl", "-c", "items"],
    "dump - jsonl": ["dump", "-", "--format", "jsonl", "-c", "items"],
    "dump - parquet": ["dump", "-", "--format", "parquet", "-c", "items"],
    "dump - arrow": ["dump", "-", "--format", "arrow", "-c", "items"],
    "dump - fvecs": ["dump", "-", "--format", "fvecs", "-c", "items"],
    "check-config": ["check-config"],
    "check-config --json": ["check-config", "--json"],
    "new-key": ["new-key", "--name", "a"],
    "serve": ["serve", "--port", "0"],
    "demo": ["demo", "--port", "0", "--seconds", "0.1"],
    "create": ["create", "made", "--dim", "1", "--capacity", "1", "--if-exists"],
}


def ran(
    arguments: list[str], stdout: int | IO[bytes], url: str, cwd: Path, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    np.save(cwd / "rows.npy", np.eye(3))
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "omendb_ws", *arguments],
        stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, check=False, cwd=cwd,
        timeout=TIMEOUT_SECONDS,
        env=environment(
            OMENDB_URL=url, OMENDB_LOG_LEVEL="error", PYTHONPATH=os.pathsep.join(sys.path),
            **variables,
        ),
    )  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line_and_code_1(name: str, url: str, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = ran(COMMANDS[name], full, url, tmp_path)
    *before, line = done.stderr.decode().splitlines()
    assert line == "omendb-ws: standard output: No space left on device"
    assert [one.split(" ")[0] for one in before] == (["token"] if name == "new-key" else [])
    assert done.returncode == 1


CLOSED = """
import os, sys
os.close(1)
os.execv(sys.executable, [sys.executable, "-W", "error", "-m", "omendb_ws", *sys.argv[1:]])
"""


@pytest.mark.parametrize("name", ["help", "list", "search --json", "dump - parquet", "tail"])
def test_a_closed_output_is_one_line_and_code_1(name: str, url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, *COMMANDS[name]], capture_output=True, check=False,
        timeout=TIMEOUT_SECONDS, env=environment(OMENDB_URL=url),
    )  # fmt: skip
    assert done.stderr.decode() == "omendb-ws: standard output: Bad file descriptor\n"
    assert done.returncode == 1


def test_closed_streams_take_nothing_that_is_opened_later(tmp_path: Path) -> None:
    # Number 2 would be the first file that is opened: the error would be written into it.
    code = """
import os, sys
for number in (0, 1, 2):
    os.close(number)
os.execv(sys.executable, [sys.executable, "-m", "omendb_ws", *sys.argv[1:]])
"""
    config = tmp_path / "omendb.toml"
    config.write_text("max_k = 0")
    done = subprocess.run(
        [sys.executable, "-c", code, "check-config", "--config", str(config)],
        check=False, timeout=TIMEOUT_SECONDS, env=environment(),
    )  # fmt: skip
    assert done.returncode == 2
    assert config.read_text() == "max_k = 0"


@pytest.mark.parametrize(
    "name", ["help", "version", "list", "tail", "dump - jsonl", "dump - parquet", "demo", "new-key"]
)
def test_a_reader_that_went_away_hears_and_says_nothing(
    name: str, url: str, tmp_path: Path
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = ran(COMMANDS[name], write_end, url, tmp_path)
    finally:
        os.close(write_end)
    said = done.stderr.decode().splitlines()
    assert [one.split(" ")[0] for one in said] == (["token"] if name == "new-key" else [])
    assert done.returncode == (0 if name == "tail" else 1)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("help", "ascii"), ("search", "latin-1"), ("search --json", "cp1252"), ("tail", "ascii")],
)
def test_letters_that_an_encoding_does_not_have_are_escaped(
    name: str, encoding: str, url: str, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    with open(path, "wb") as out:
        done = ran(COMMANDS[name], out, url, tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    text = path.read_bytes().decode(encoding)
    if name == "search --json":
        assert json.loads(text)["results"][0]["id"] == NAME
    elif name in ("search", "tail"):
        assert NAME.encode(encoding, "backslashreplace").decode(encoding) in text
