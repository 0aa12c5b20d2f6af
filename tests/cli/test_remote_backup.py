"""``omendb-ws backup`` and ``restore`` with ``--url``: all of a server in one file, and back."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest

from omendb_ws.sync import connect
from tests.server.raw import settings

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


def test_a_snapshot_by_itself_is_taken_where_one_collection_is_asked_for(
    omendb: Runs, tmp_path: Path
) -> None:
    filled(omendb, tmp_path)
    file = tmp_path / "one.snapshot"
    with connect(omendb.url) as db:
        begun = db.snapshot("one")
        file.write_bytes(b"".join(iter(lambda: db.snapshot_next(begun.number), b"")))
    assert "it is cut off" in omendb("restore", file, "--url", omendb.url, code=1).err
    omendb("restore", file, "--url", omendb.url, "--as", "again")
    omendb("restore", "-", "--url", omendb.url, "--as", "piped", input=file.read_bytes())
    with server() as url:
        omendb("restore", file, "--url", url, "-c", "one")
        assert [name for name, _, _ in listed(Runs(url))] == ["one"]
    assert [name for name, _, _ in listed(omendb)] == ["again", "one", "piped", "two"]
    file.write_bytes(file.read_bytes()[:-8])
    assert "byte" in omendb("restore", file, "--url", omendb.url, "--as", "cut", code=1).err
    omendb("backup", "--url", omendb.url, tmp_path / "all.omen")
    many = omendb("restore", tmp_path / "all.omen", "--url", omendb.url, "--as", "x", code=2)
    assert "holds many" in many.err


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


def test_all_collections_of_a_directory_go_into_one_file_while_its_server_runs(
    tmp_path: Path,
) -> None:
    data_dir, file = tmp_path / "data", tmp_path / "all.omen"
    with server(settings(data_dir=str(data_dir), default_durability="always")) as url:
        omendb = Runs(url)
        filled(omendb, tmp_path)
        with connect(url) as db:
            db.add("one", [[1.0, 0, 0, 0]], ids=[101], metadata=[{"x": "é"}])
            db.delete("one", [7, 8])
        held = listed(omendb)
        omendb("backup", data_dir, file)
        only = omendb("backup", data_dir, "-", "-c", "two").raw
        with server() as elsewhere:
            runs = Runs(elsewhere)
            refused = runs("restore", file, "--url", elsewhere, code=1)
            assert "needs a data directory" in refused.err
            memory = ("--durability", "memory", "--url", elsewhere)
            runs("restore", file, *memory)
            assert listed(runs) == held
            runs("restore", file, *memory, "--as", "*-old")
            names = [name for name, _, _ in listed(runs)]
            assert names == ["one", "one-old", "two", "two-old"]
            runs("restore", "-", *memory, "-c", "two", "--as", "pipe", input=only)
            assert [one[1:] for one in listed(runs) if one[0] == "pipe"] == [held[1][1:]]
            with connect(elsewhere) as db:
                row, gone = db.get("one-old", [101, 7], include=["metadata"])
                assert row is not None
                assert row.metadata == {"x": "é"}
                assert gone is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.omen", "data", "vectors.npy"]


def test_what_of_a_directory_cannot_be_written_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    data_dir, file = tmp_path / "data", tmp_path / "all.omen"
    with server(settings(data_dir=str(data_dir), default_durability="always")) as url:
        omendb = Runs(url)
        filled(omendb, tmp_path)
    assert "no collection 'x'" in omendb("backup", data_dir, file, "-c", "x", code=2).err
    assert "holds no collection" in omendb("backup", tmp_path, file, code=2).err
    assert "name one: --tenant" not in omendb("backup", data_dir, file, "--tenant", "default").out
    assert "is there already" in omendb("backup", data_dir, file, code=2).err
    omendb("backup", data_dir, file, "--force")
    file.unlink()
    [other] = data_dir.glob("default+two+*")
    other.rename(data_dir / other.name.replace("default+", "acme+"))
    assert "(acme, default); name one: --tenant" in omendb("backup", data_dir, file, code=2).err
    omendb("backup", data_dir, file, "--tenant", "default")
    file.unlink()
    [log] = data_dir.glob("default+one+*/*.log")
    data = bytearray(log.read_bytes())
    data[len(data.rstrip(b"\0")) // 2] ^= 1
    log.write_bytes(data)
    told = omendb("backup", data_dir, file, "--tenant", "default", code=1).err
    assert told.startswith("omendb-ws: one: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "vectors.npy"]


def test_which_arguments_go_together_is_said() -> None:
    for arguments in (
        ("backup", "a"),
        ("backup", "a", "b", "--url", "ws://x"),
        ("restore", __file__, "a"),
        ("restore", "a"),
        ("restore", "a", "b", "--url", "ws://x"),
        ("restore", "a", "b", "--replicas", "2"),
    ):
        ran = run(*arguments)
        assert ran.code == 2, arguments
        assert len(ran.err.splitlines()) == 1, arguments
