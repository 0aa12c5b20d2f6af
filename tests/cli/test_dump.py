"""``omendb-ws dump``: files that load reads, whole or not there at all."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import TIMEOUT_SECONDS, environment
from tests.cli.here import Runs, vectors


@pytest.fixture
def rows(omendb: Runs, tmp_path: Path) -> Path:
    """A collection ``items`` with metadata and strings as ids; the file that it came from."""
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": f"row {at}", "vector": one, "metadata": {"n": at}}) + "\n"
            for at, one in enumerate(vectors(20).tolist())
        )
    )
    omendb("load", path, "-c", "items", "--create", "--metric", "l2", "--columns", "n:i64")
    return path


def test_a_dump_is_what_was_loaded(omendb: Runs, rows: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    ran = omendb("dump", path, "-c", "items")
    assert ran.out == f"items: 20 rows of version 1 in {path}\n"
    assert ran.err == ""
    loaded = [json.loads(line) for line in rows.read_text().splitlines()]
    dumped = [json.loads(line) for line in path.read_text().splitlines()]
    for now, then in zip(dumped, loaded, strict=True):
        assert np.array_equal(np.float32(now.pop("vector")), np.float32(then.pop("vector")))
        assert now == then
    document = omendb("dump", path, "-c", "items", "--force", "--json").document
    assert (document["rows"], document["missing_rows"], document["version"]) == (20, 0, 1)


def test_a_file_that_is_there_is_not_written_over(omendb: Runs, rows: Path) -> None:
    before = rows.read_bytes()
    assert "is there already; --force" in omendb("dump", rows, "-c", "items", code=2).err
    assert rows.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["out.jsonl", "-c", "nothing"], 1),
        (["out.bvecs", "-c", "items"], 2),
        (["nowhere/out.jsonl", "-c", "items"], 2),
        (["out.txt", "-c", "items"], 2),
        (["out.jsonl", "-c", "items", "--ids-to", "ids.npy"], 2),
        (["out.npy", "-c", "items", "--ids-to", "out.npy"], 2),
        (["out.npy", "-c", "items", "--ids-to", "nowhere/ids.npy"], 2),
    ],
)
def test_a_dump_that_fails_leaves_nothing_behind(
    omendb: Runs, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    omendb("dump", *arguments, code=code)
    assert os.listdir(tmp_path) == [rows.name]


def test_what_a_format_has_no_place_for_is_said(omendb: Runs, rows: Path, tmp_path: Path) -> None:
    ran = omendb("dump", tmp_path / "out.npy", "-c", "items")
    assert ran.err.splitlines() == [
        "omendb-ws: npy has no place for ids, left out; --ids-to keeps them",
        "omendb-ws: npy has no place for metadata, left out",
    ]
    ids = tmp_path / "ids.npy"
    ran = omendb("dump", tmp_path / "out.npy", "-c", "items", "--ids-to", ids, "--force", "--json")
    assert ran.document["left_out"] == ["metadata"]
    assert np.load(ids).tolist() == [f"row {at}" for at in range(20)]
    assert np.array_equal(np.load(tmp_path / "out.npy"), vectors(20))


@pytest.mark.parametrize("format", ["jsonl", "arrow"])
def test_a_dump_goes_through_a_pipe_into_a_load(omendb: Runs, rows: Path, format: str) -> None:
    tools = [sys.executable, "-m", "omendb_ws"]
    dump = subprocess.run(
        [*tools, "dump", "-", "-c", "items", "--format", format],
        capture_output=True, timeout=TIMEOUT_SECONDS, env=environment(OMENDB_URL=omendb.url),
        check=True,
    )  # fmt: skip
    flags = ["-c", "copy", "--format", format, "--create", "--capacity", "99", "--json"]
    load = subprocess.run(
        [*tools, "load", "-", *flags], input=dump.stdout,
        capture_output=True, timeout=TIMEOUT_SECONDS, env=environment(OMENDB_URL=omendb.url),
        check=False,
    )  # fmt: skip
    assert load.returncode == 0, load.stderr
    assert json.loads(load.stdout)["rows"] == 20


def test_an_array_does_not_go_through_a_pipe(omendb: Runs, rows: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "omendb_ws", "dump", "-", "-c", "items", "--format", "npy"],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        env=environment(OMENDB_URL=omendb.url),
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr == (
        "omendb-ws: .npy cannot be written to a pipe: its length stands at its beginning\n"
    )


# -- what is no regular file ------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["--force"]])
def test_a_fifo_is_written_to(omendb: Runs, rows: Path, tmp_path: Path, flags: list[str]) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE) as reader:
        omendb("dump", fifo, "-c", "items", "--format", "jsonl", *flags)
        got, _ = reader.communicate(timeout=TIMEOUT_SECONDS)
    assert len(got.splitlines()) == 20
    assert stat.S_ISFIFO(os.stat(fifo).st_mode)


@pytest.mark.parametrize(("name", "code"), [("/dev/null", 0), ("/dev/full", 1)])
@pytest.mark.parametrize("format", ["jsonl", "parquet", "arrow"])
def test_a_device_is_written_to_and_stays_one(
    omendb: Runs, rows: Path, name: str, code: int, format: str
) -> None:
    ran = omendb("dump", name, "-c", "items", "--format", format, "--force", code=code)
    assert stat.S_ISCHR(os.stat(name).st_mode)
    if code:
        assert ran.err == "omendb-ws: /dev/full: No space left on device\n"


def test_a_format_that_seeks_is_refused_where_one_cannot(
    omendb: Runs, rows: Path, tmp_path: Path
) -> None:
    ran = omendb("dump", "/dev/null", "-c", "items", "--format", "npy", "--force", code=2)
    assert ".npy cannot be written to a pipe" in ran.err
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_link_keeps_pointing_at_what_is_replaced_with_its_permissions(
    omendb: Runs, rows: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(target)
    omendb("dump", link, "-c", "items")  # a link to nothing: the file that it names is made
    assert link.is_symlink()
    target.chmod(0o640)
    target.write_text("")
    assert "is there already" in omendb("dump", link, "-c", "items", code=2).err
    omendb("dump", link, "-c", "items", "--force")
    assert link.is_symlink()
    assert len(target.read_text().splitlines()) == 20
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize("name", [".", "link", "n" * 300])
def test_what_cannot_be_written_is_one_line(
    omendb: Runs, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("link")
    before = sorted(os.listdir(tmp_path))
    omendb("dump", name, "-c", "items", "--format", "jsonl", "--force", code=2)
    assert sorted(os.listdir(tmp_path)) == before


def test_the_longest_name_that_a_file_may_have_is_written(
    omendb: Runs, rows: Path, tmp_path: Path
) -> None:
    path = tmp_path / ("n" * 249 + ".jsonl")
    omendb("dump", path, "-c", "items")
    assert len(path.read_text().splitlines()) == 20


def test_vectors_and_ids_into_one_file_are_refused_whatever_it_is_called(
    omendb: Runs, rows: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.npy").symlink_to("out.npy")
    flags = ["-c", "items", "--ids-to", tmp_path / "link.npy"]
    assert "is the file of the vectors" in omendb("dump", tmp_path / "out.npy", *flags, code=2).err


def test_a_full_disk_keeps_the_file_that_was_there(
    omendb: Runs, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = rows.read_bytes()
    monkeypatch.setattr("omendb_ws.files.jsonl.JsonlWriter.write", full)
    ran = omendb("dump", rows, "-c", "items", "--force", code=1)
    assert ran.err == f"omendb-ws: {rows}: No space left on device\n"
    assert rows.read_bytes() == before
    assert os.listdir(tmp_path) == [rows.name]
