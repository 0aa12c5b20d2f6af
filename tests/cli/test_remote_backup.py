"""``omendb-ws backup`` and ``restore`` with ``--url``: all of a server in one file, and back."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest

from .here import Runs, omendb, run, server, vectors

__all__ = ["omendb"]


def filled(omendb: Runs, tmp_path: Path) -> None:
    array = tmp_path / "vectors.npy"
    np.save(array, vectors())
    for name in ("one", "two"):
        omendb("load", array, "--collection", name, "--create", "--metric", "dot")


def listed(omendb: Runs) -> list[tuple[str, int, int]]:
    lines = omendb("list", "--json").out
    found = json.loads(lines)
    return sorted((one["collection"], one["rows"], one["version"]) for one in found["collections"])


def test_all_collections_go_into_one_file_and_into_another_server(
    omendb: Runs, tmp_path: Path
) -> None:
    filled(omendb, tmp_path)
    file = tmp_path / "all.omen"
    told = omendb("backup", "--url", omendb.url, file).out
    assert [line.split(":")[0] for line in told.splitlines()] == ["one", "two"]
    assert "is there already" in omendb("backup", "--url", omendb.url, file, code=2).err
    omendb("backup", "--url", omendb.url, file, "--force")
    with server() as url:
        omendb("restore", file, "--url", url)
        assert listed(Runs(url)) == listed(omendb)
    omendb("restore", file, "--url", omendb.url, "-c", "two", "--as", "again")
    assert [name for name, _, _ in listed(omendb)] == ["again", "one", "two"]
    refused = omendb("restore", file, "--url", omendb.url, "-c", "two", code=1)
    assert "there is a 'two' already" in refused.err
    assert "holds no none" in omendb("restore", file, "--url", omendb.url, "-c", "none", code=2).err


@pytest.mark.parametrize("spoil", ["cut", "end", "middle", "flip", "more", "stream"])
def test_a_file_that_is_not_what_was_written_restores_nothing(
    omendb: Runs, tmp_path: Path, spoil: str
) -> None:
    filled(omendb, tmp_path)
    file = tmp_path / "all.omen"
    omendb("backup", "--url", omendb.url, file)
    data = file.read_bytes()
    second = data.index(b"OMENSNAP", 8)
    flipped = bytearray(data)
    flipped[len(data) // 3] ^= 4
    spoiled = {
        "cut": data[: len(data) // 3],
        "end": data[:-24],
        "middle": data[: len(data) // 3] + data[len(data) // 3 + 8 :],
        "flip": bytes(flipped),
        "more": data + b"12345678",
        "stream": data[second:],
    }[spoil]
    file.write_bytes(spoiled)
    with server() as url:
        elsewhere = Runs(url)
        told = elsewhere("restore", file, "--url", url, code=1).err
        assert f"{file}: " in told
        assert "byte" in told
        assert listed(elsewhere) == []


def test_an_address_is_there_when_all_of_it_was_written(omendb: Runs, tmp_path: Path) -> None:
    filled(omendb, tmp_path)
    memory = fsspec.filesystem("memory")
    omendb("backup", "--url", omendb.url, "memory://backups/all.omen")
    try:
        assert memory.exists("/backups/all.omen")
        omendb(
            "restore", "memory://backups/all.omen", "--url", omendb.url, "-c", "one", "--as", "x"
        )
        assert [name for name, _, _ in listed(omendb)] == ["one", "two", "x"]
        omendb("backup", "--url", omendb.url, "memory://backups/none.omen", "-c", "none", code=1)
        assert not memory.exists("/backups/none.omen")
        refused = omendb("restore", "memory://backups/none.omen", "--url", omendb.url, code=2)
        assert "memory://backups/none.omen: " in refused.err
    finally:
        memory.rm("/backups", recursive=True)


def test_which_arguments_go_together_is_said() -> None:
    for arguments in (
        ("backup", "a"),
        ("backup", "a", "b", "--url", "ws://x"),
        ("restore", "a"),
        ("restore", "a", "b", "--url", "ws://x"),
        ("restore", "a", "--as", "b", "--url", "ws://x"),
    ):
        ran = run(*arguments)
        assert ran.code == 2, arguments
        assert len(ran.err.splitlines()) == 1, arguments
