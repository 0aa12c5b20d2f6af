"""``omendb-ws load`` as a user has it: what it creates, prints, refuses, and goes on with."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.commands import TIMEOUT_SECONDS, environment, serving
from tests.cli.here import Runs, run, vectors


def saved(tmp_path: Path, array: Any, name: str = "rows.npy") -> Path:
    path = tmp_path / name
    np.save(path, array)
    return path


def described(omendb: Runs, collection: str = "items") -> Any:
    [found] = [
        one for one in omendb("list", "--json").document["collections"]
        if one["collection"] == collection
    ]  # fmt: skip
    return found


# -- creating ---------------------------------------------------------------------------------


def test_a_collection_is_created_from_the_file(omendb: Runs, tmp_path: Path) -> None:
    path = saved(tmp_path, vectors(100, 4))
    ran = omendb("load", path, "-c", "items", "--create")
    assert re.fullmatch(r"items: 100 rows in [\d.]+ s, [\d,]+ rows/s\n", ran.out)
    there = described(omendb)
    assert (there["dim"], there["capacity"], there["rows"]) == (4, 100, 100)
    assert (there["metric"], there["ids"], there["columns"]) == ("cosine", "u64", {})
    assert omendb("search", "items", "--like", 7, "-k", 1, "--json").document["results"]


def test_rows_near_others_are_left_out_and_counted(omendb: Runs, tmp_path: Path) -> None:
    rows = vectors(100, 4)
    path = saved(tmp_path, np.concatenate([rows, rows, rows]))
    asked = ("load", path, "-c", "items", "--create", "--unless-near", 0.99999)
    ran = omendb(*asked)
    found = re.search(r"300 rows in .*; ([\d,]+) of them left out as near others", ran.out)
    assert found is not None
    skipped = int(found[1])
    assert skipped >= 200
    assert described(omendb)["rows"] == 300 - skipped
    again = omendb(*asked)
    assert "were loaded before" in again.out
    other = omendb("load", path, "-c", "items", "--unless-near", 0.9999, "--json").document
    assert (other["rows"], other["skipped_rows"]) == (300, skipped)


def test_the_flags_go_before_what_the_file_tells(omendb: Runs, tmp_path: Path) -> None:
    path = saved(tmp_path, vectors(100, 4))
    omendb(
        "load", path, "-c", "items", "--create", "--capacity", 30, "--metric", "l2",
        "--ids", "auto", "--columns", "price:f64, kind:str", "--ttl", 3600, "--durability",
        "memory",
    )  # fmt: skip
    there = described(omendb)
    assert (there["capacity"], there["metric"], there["ids"]) == (30, "l2", "auto")
    assert (there["columns"], there["ttl"]) == ({"price": "f64", "kind": "str"}, 3600)
    assert (there["rows"], there["last_seq"]) == (30, 100)


def test_fields_of_a_typed_file_become_columns(omendb: Runs, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    fields = {"id": ["a", "b"], "vector": rows, "price": [9.5, 7.0], "tags": [["x"], []]}
    pq.write_table(pa.table(fields), path)
    omendb("load", path, "-c", "items", "--create", "--metric", "dot")
    there = described(omendb)
    assert (there["ids"], there["columns"]) == ("str", {"price": "f64"})
    found = omendb(
        "search", "items", "1,1", "--filter", '{"price": {"$lt": 8}}', "--include", "metadata",
        "--json",
    ).document["results"]  # fmt: skip
    assert [(one["id"], one["metadata"]) for one in found] == [("b", {"price": 7.0, "tags": []})]


def test_lines_tell_how_many_they_are_unless_they_come_by_a_pipe(
    omendb: Runs, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"id": {one}, "vector": [{one}, 1]}}\n' for one in range(7)))
    omendb("load", path, "-c", "items", "--create")
    assert described(omendb)["capacity"] == 7
    pipe = ("load", "-", "--format", "jsonl", "-c", "more", "--create")
    with serving_stdin(omendb, path.read_bytes(), *pipe) as (code, _, err):
        assert code == 2
        assert "--create needs --capacity" in err
    with serving_stdin(omendb, path.read_bytes(), *pipe, "--capacity", "5") as (code, out, _):
        assert code == 0
        assert out.startswith("more: 7 rows in ")
    assert described(omendb, "more")["rows"] == 5


class serving_stdin:  # noqa: N801 - reads as a function
    """A load of a process of its own, with ``data`` on its standard input."""

    def __init__(self, omendb: Runs, data: bytes, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "omendb_ws", *arguments],
            input=data,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            env=environment(OMENDB_URL=omendb.url),
            check=False,
        )
        self._ran = (done.returncode, done.stdout.decode(), done.stderr.decode())

    def __enter__(self) -> tuple[int, str, str]:
        assert "Traceback" not in self._ran[2]
        return self._ran

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dim", "5"], "its dim is 4, not 5"),
        (["--capacity", "11"], "its capacity is 10, not 11"),
        (["--metric", "dot"], "its metric is cosine, not dot"),
        (["--ids", "str"], "its ids is u64, not str"),
        (["--columns", "a:f64"], "its columns is {}, not {'a': 'f64'}"),
    ],
)
def test_a_collection_that_is_another_is_refused(
    omendb: Runs, tmp_path: Path, flags: list[str], said: str
) -> None:
    omendb("create", "items", "--dim", 4, "--capacity", 10)
    path = saved(tmp_path, vectors())
    ran = omendb("load", path, "-c", "items", "--create", *flags, code=1)
    assert said in ran.err
    assert described(omendb)["version"] == 0


def test_a_dimension_that_the_file_does_not_have_creates_nothing(
    omendb: Runs, tmp_path: Path
) -> None:
    path = saved(tmp_path, vectors())
    ran = omendb("load", path, "-c", "items", "--create", "--dim", 5, code=2)
    assert "--dim 5: " in ran.err
    assert omendb("list", "--json").document == {"collections": []}


def test_ids_that_a_collection_gives_itself_are_said_to_be_unused(
    omendb: Runs, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 7, "vector": [1]}\n')
    ran = omendb("load", path, "-c", "items", "--create", "--ids", "auto")
    assert ran.err == (f"omendb-ws: items numbers its rows itself; the ids of {path} are unused\n")
    array = saved(tmp_path, vectors(5, 1))
    assert omendb("load", array, "-c", "items").err == ""
    assert described(omendb)["last_seq"] == 6


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.npy", "-c", "x"], "nothing.npy: No such file or directory"),
        (["rows.txt", "-c", "x"], "rows.txt: needs --format, one of npy, fvecs"),
        (["rows.npy", "-c", "x", "--format", "csv"], "--format csv: it is one of"),
        (["-", "-c", "x"], "-: needs --format"),
        (["rows.npy", "-c", "x", "--dim", "4"], "--dim: goes with --create"),
        (["rows.npy", "-c", "x", "--create", "--metric", "cos"], "--metric cos: must be one of"),
        (["rows.npy", "-c", "x", "--create", "--columns", "a"], "--columns a: must be NAME:TYPE"),
        (["rows.npy", "-c", "x", "--create", "--columns", "a:f32"], "--columns a:f32: must be"),
        (["rows.npy", "-c", "x", "--create", "--columns", "a:f64,a:str"], "stands there twice"),
        (["rows.npy", "-c", "x", "--ids-from", "ids.npy"], "ids.npy: No such file"),
        (["cut.npy", "-c", "x"], "cut.npy: truncated: 1,590 of 1,600 bytes of rows are there"),
        (["deep.npy", "-c", "x"], "deep.npy: must be an array (rows, dimensions)"),
        (["text.npy", "-c", "x"], "text.npy: holds <U1, not real numbers"),
    ],
)
def test_what_is_asked_wrongly_is_one_line_and_code_2_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.npy").write_bytes(saved(tmp_path, vectors()).read_bytes()[:-10])
    saved(tmp_path, np.zeros((2, 2, 2)), "deep.npy")
    saved(tmp_path, np.array([["a"]]), "text.npy")
    ran = Runs("ws://127.0.0.1:1/v1")("load", *arguments, code=2)
    assert said in ran.err
    assert ran.out == ""


def test_a_file_of_another_dimension_or_kind_of_ids_is_refused(
    omendb: Runs, tmp_path: Path
) -> None:
    omendb("create", "items", "--dim", 5, "--capacity", 10)
    omendb("create", "texts", "--dim", 4, "--capacity", 10, "--ids", "str")
    path = saved(tmp_path, vectors())
    ran = omendb("load", path, "-c", "items", code=2)
    assert "has 4 dimensions, the collection 5; 0 rows are acknowledged" in ran.err
    ran = omendb("load", path, "-c", "texts", code=2)
    assert "row numbers are u64, the collection's ids are str" in ran.err
    ran = omendb("load", path, "-c", "nothing", code=1)
    assert "there is no 'nothing' (not_found); --create makes it of the file" in ran.err


def test_a_bad_row_is_named_with_what_went_in_before_it(omendb: Runs, tmp_path: Path) -> None:
    array = vectors(1000)
    array[678] = np.nan
    path = saved(tmp_path, array)
    omendb("create", "items", "--dim", 4, "--capacity", 1000)
    ran = omendb("load", path, "-c", "items", code=1)
    assert "rows.npy: row 678: a value is NaN" in ran.err
    hint = "--skip-bad begins anew, and leaves such rows out"
    assert f"; 678 rows are acknowledged; {hint}\n" in ran.err
    assert described(omendb)["last_seq"] == 678
    ran = omendb("load", path, "-c", "items", "--skip-bad")
    assert "999 rows in " in ran.out
    assert "; 1 left out (row 678)" in ran.out
    document = omendb("load", path, "-c", "items", "--skip-bad", "--again", "--json").document
    assert (document["rows"], document["bad_rows"], document["error"]) == (999, 1, None)
    assert document["bad"][0]["number"] == 678


# -- going on ---------------------------------------------------------------------------------


def test_a_file_is_loaded_once_unless_again_or_changed(omendb: Runs, tmp_path: Path) -> None:
    path = saved(tmp_path, vectors())
    arguments = ("load", path, "-c", "items", "--create", "--capacity", 1000)
    omendb(*arguments)
    ran = omendb(*arguments)
    assert ran.out == "items: all 100 rows were loaded before; --again loads them once more\n"
    assert described(omendb)["last_seq"] == 100
    assert omendb(*arguments, "--again").out.startswith("items: 100 rows in ")
    assert described(omendb)["last_seq"] == 200
    saved(tmp_path, vectors(101))
    assert omendb(*arguments).out.startswith("items: 101 rows in ")


def test_a_producer_makes_a_pipe_resumable(omendb: Runs) -> None:
    lines = b"".join(b'{"id": %d, "vector": [%d, 1]}\n' % (one, one) for one in range(50))
    omendb("create", "items", "--dim", 2, "--capacity", 100)
    flags = ("load", "-", "--format", "jsonl", "-c", "items", "--producer", "cam", "--json",
             "--batch-rows", "10")  # fmt: skip
    for rows, earlier in ((30, 0), (20, 30)):
        data = lines if earlier else b"".join(lines.splitlines(keepends=True)[:30])
        with serving_stdin(omendb, data, *flags) as (code, out, err):
            assert code == 0, err
            document = json.loads(out)
            assert (document["rows"], document["earlier_rows"]) == (rows, earlier)
    assert described(omendb)["last_seq"] == 50


def test_an_interrupted_load_says_what_is_in_and_goes_on_from_there(tmp_path: Path) -> None:
    path = saved(tmp_path, vectors(1200))
    with serving() as server:
        command = [sys.executable, "-m", "omendb_ws", "load", str(path), "-c", "items", "--create",
                   "--rate", "1000", "--json"]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(OMENDB_URL=server.url),
        )  # fmt: skip
        # Some rows are in: then it is told to end.
        wait_for_rows(server.url, 100)
        process.send_signal(signal.SIGTERM)  # as Ctrl-C, which other tests type
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == 130
        [line] = err.splitlines()
        first = json.loads(out)
        assert f"interrupted; {first['rows']:,} rows are acknowledged" in line
        assert "the same command goes on there" in line
        assert 100 <= first["rows"] < 1200
        there = json.loads(run("stats", "items", "--json", OMENDB_URL=server.url).out)
        assert there["last_seq"] == first["rows"]
        rest = [one for one in command[3:] if one != "--json"]
        ran = run(*rest[:-2], "--rate", "1000", "--json", OMENDB_URL=server.url)
        assert ran.code == 0
        assert ran.document["earlier_rows"] == first["rows"]
        there = json.loads(run("stats", "items", "--json", OMENDB_URL=server.url).out)
        assert (there["last_seq"], there["rows"]) == (1200, 1200)


def test_a_file_that_is_cut_short_while_it_is_loaded_is_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path, vectors(2000, 64))
    with serving() as server:
        load = subprocess.Popen(
            [sys.executable, "-m", "omendb_ws", "load", str(path), "-c", "items", "--create",
             "--rate", "1000"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(OMENDB_URL=server.url),
        )  # fmt: skip
        wait_for_rows(server.url, 100)
        os.truncate(path, 4096)
        _, err = load.communicate(timeout=TIMEOUT_SECONDS)
    assert load.returncode == 1
    [line] = err.splitlines()
    assert line.startswith(f"omendb-ws: {path}: truncated in row ")


@pytest.mark.parametrize("begins", [False, True])
def test_ctrl_c_ends_a_load_whose_pipe_says_nothing(omendb: Runs, begins: bool) -> None:
    omendb("create", "items", "--dim", 1, "--capacity", 10)
    load = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "load", "-", "--format", "jsonl", "-c", "items",
         "--batch-rows", "1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(OMENDB_URL=omendb.url),
    )  # fmt: skip
    assert load.stdin is not None
    assert load.stderr is not None
    if begins:
        load.stdin.write(b'{"id": 1, "vector": [1]}\n')
        load.stdin.flush()
        wait_for_rows(omendb.url, 1)
    else:
        # It looks for a usable line, which tells what the others are held to.
        load.stdin.write(b"nonsense\n")
        load.stdin.flush()
        wait_until_it_is_read(load.stdin)
    load.send_signal(signal.SIGINT)
    assert load.wait(TIMEOUT_SECONDS) == 130
    [line] = load.stderr.read().decode().splitlines()
    said = "; 1 rows are acknowledged" if begins else ""
    assert line == f"omendb-ws: interrupted{said}"
    load.stdin.close()
    load.stdout.close()  # type: ignore[union-attr]
    load.stderr.close()


def wait_until_it_is_read(pipe: IO[bytes]) -> None:
    """Return when nothing that was written waits in the pipe any more."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_named_pipe_is_read_like_standard_input(omendb: Runs, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    load = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "load", str(path), "--format", "jsonl", "-c", "items",
         "--create", "--capacity", "10", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(OMENDB_URL=omendb.url),
    )  # fmt: skip
    path.write_text('{"id": 1, "vector": [1]}\n{"id": 2, "vector": [2]}\n')
    out, err = load.communicate(timeout=TIMEOUT_SECONDS)
    assert load.returncode == 0, err
    assert json.loads(out)["rows"] == 2


def wait_for_rows(url: str, count: int) -> None:
    """Return when the collection has rows; the feed says when."""
    import asyncio

    from omendb_ws.client import connect
    from omendb_ws.errors import NotFound

    async def wait() -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS), connect(url) as db:
            while True:
                try:
                    epoch = (await db.describe("items")).epoch
                    break
                except NotFound:
                    await asyncio.sleep(0.02)
            async for rows in db.feed("items", from_seq=1, epoch=epoch):
                if rows.to_seq >= count:
                    return

    asyncio.run(wait())


def test_a_server_that_goes_away_is_code_3_with_what_is_in(tmp_path: Path) -> None:
    path = saved(tmp_path, vectors(100_000))
    with serving() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "omendb_ws", "load", str(path), "-c", "items", "--create",
             "--rate", "2000", "--timeout-seconds", "1"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(OMENDB_URL=server.url),
        )  # fmt: skip
        wait_for_rows(server.url, 100)
        server.send(signal.SIGKILL)
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 3
    assert out == ""
    [line] = err.splitlines()
    assert re.search(r"no answer within 1.0 s.*; [\d,]+ rows are acknowledged", line)


@pytest.mark.parametrize("durability", ["always", "memory"])
def test_a_server_that_is_killed_and_comes_back_gets_every_row_once_or_says_so(
    tmp_path: Path, durability: str
) -> None:
    path = saved(tmp_path, vectors(600))
    data = ("--data-dir", str(tmp_path / "data"))
    with serving(*data) as first:
        load = subprocess.Popen(
            [sys.executable, "-m", "omendb_ws", "load", str(path), "-c", "items", "--create",
             "--rate", "600", "--durability", durability, "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(OMENDB_URL=first.url),
        )  # fmt: skip
        wait_for_rows(first.url, 100)
        first.send(signal.SIGKILL)
        first.process.wait()
        with serving(*data, "--port", str(first.port)) as second:
            out, err = load.communicate(timeout=TIMEOUT_SECONDS)
            document = json.loads(out)
            there = json.loads(run("list", "--json", OMENDB_URL=second.url).out)["collections"]
    if durability == "memory":
        assert load.returncode == 1
        assert f"there is no 'items' (not_found); {document['rows']:,} rows are ack" in err
        assert there == []
    else:
        assert (load.returncode, document["rows"]) == (0, 600), err
        assert (there[0]["last_seq"], there[0]["rows"]) == (600, 600)


def test_ids_come_from_an_array_or_are_the_numbers_of_the_rows(
    omendb: Runs, tmp_path: Path
) -> None:
    path = saved(tmp_path, vectors(3, 2))
    ids = saved(tmp_path, np.array(["x", "y", "z"]), "ids.npy")
    omendb("load", path, "-c", "texts", "--create", "--ids-from", ids)
    found = omendb("search", "texts", "--like", "y", "-k", 5, "--json").document["results"]
    assert {one["id"] for one in found} == {"x", "z"}
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"id": "a", "v": [1, 2], "x": 1}\n{"id": "b", "v": [2, 1], "y": 2}\n')
    omendb("load", lines, "-c", "n", "--create", "--ids-from", "rows", "--vector-field", "v",
           "--fields", "id,y")  # fmt: skip
    found = omendb("search", "n", "1,2", "--include", "metadata", "--json").document["results"]
    assert [(one["id"], one["metadata"]) for one in found] == [
        (0, {"id": "a"}), (1, {"id": "b", "y": 2}),
    ]  # fmt: skip


def test_progress_is_lines_where_there_is_no_terminal(
    omendb: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omendb_ws.cli.progress._LINE_SECONDS", 0.0)
    ran = omendb("load", saved(tmp_path, vectors(50_000)), "-c", "items", "--create")
    lines = ran.err.splitlines()
    assert len(lines) > 2
    assert re.fullmatch(r"items: [\d,]+ rows, [\d,]+ rows/s, \d+%(, \d+:\d\d left)?", lines[-1])
    assert os.linesep not in lines[-1]


def test_a_load_that_fails_at_its_first_row_makes_nothing(omendb: Runs, tmp_path: Path) -> None:
    zeros = np.zeros((3, 4), np.float32)  # have no direction
    zeros[2] = 1
    ran = omendb("load", saved(tmp_path, zeros), "-c", "items", "--create", code=1)
    assert "row 0: its norm" in ran.err
    assert omendb("list", "--json").document == {"collections": []}
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "vector": [1]}\n')
    omendb("load", path, "-c", "items", "--create", "--ids", "str", code=1)
    assert omendb("list", "--json").document == {"collections": []}
    # Refused by the server before anything is in: the same.
    omendb("load", path, "-c", "items", "--create", "--columns", "-:f64", code=1)
    assert omendb("list", "--json").document == {"collections": []}
    ran = omendb("load", saved(tmp_path, zeros), "-c", "items", "--create", "--skip-bad")
    assert "1 rows in" in ran.out
    empty = saved(tmp_path, np.zeros((2, 4)), "empty.npy")
    ran = omendb("load", empty, "-c", "none", "--create", "--skip-bad")
    assert described(omendb, "none")["rows"] == 0


def test_fields_that_cannot_be_columns_are_metadata_and_said(omendb: Runs, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    fields = {"id": [1], "vector": [[1.0, 2.0]], "my price": [9.5], "large": [2**60],
              "__index_level_0__": [3]}  # fmt: skip
    pq.write_table(pa.table({**fields, **{f"f{at}": [at / 2] for at in range(70)}}), path)
    ran = omendb("load", path, "-c", "items", "--create")
    said = "'my price', '__index_level_0__', 'f64', 'f65', 'f66' and 3 more: kept as metadata"
    assert ran.err.startswith(f"omendb-ws: {said}")
    assert list(described(omendb)["columns"]) == [f"f{at}" for at in range(64)]
    [found] = omendb("search", "items", "1,2", "--include", "metadata", "--json").document[
        "results"
    ]
    assert found["metadata"]["large"] == 2**60
    assert found["metadata"]["my price"] == 9.5
    assert found["metadata"]["f69"] == 34.5


def test_timestamps_are_text_or_seconds_that_filters_take(omendb: Runs, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    at = pa.array([1_700_000_000_500, 1_800_000_000_000], pa.timestamp("ms"))
    pq.write_table(pa.table({"id": [1, 2], "vector": [[1.0], [2.0]], "at": at}), path)
    omendb("load", path, "-c", "texts", "--create")
    assert described(omendb, "texts")["columns"] == {}
    omendb("load", path, "-c", "numbers", "--create", "--times", "seconds")
    assert described(omendb, "numbers")["columns"] == {"at": "f64"}
    for name, flags, expected in (
        ("texts", [], ["2023-11-14T22:13:20.5", "2027-01-15T08:00:00"]),
        ("numbers", ["--filter", '{"at": {"$lt": 1.75e9}}'], [1_700_000_000.5]),
    ):
        found = omendb("search", name, "[1]", *flags, "--include", "metadata", "--json").document
        assert sorted(one["metadata"]["at"] for one in found["results"]) == expected
    assert (
        "--times minutes: must be one of text, seconds"
        in omendb("load", path, "-c", "x", "--times", "minutes", code=2).err
    )


def test_ids_that_come_late_are_said_to_be_unused(
    omendb: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omendb_ws.files.jsonl._LOOKED_AT", 2)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"vector": [1]}\n' * 3 + '{"id": 9, "vector": [1]}\n')
    ran = omendb("load", path, "-c", "items", "--create")
    assert ran.err.startswith(f"omendb-ws: {path}: line 4 has an id, which is unused")
    assert described(omendb)["ids"] == "auto"


@pytest.mark.parametrize("kind", ["jsonl", "npy", "parquet", "arrow"])
def test_bad_rows_of_every_kind_are_left_out_of_every_format(
    omendb: Runs, tmp_path: Path, kind: str
) -> None:
    ids = ["a", "x" * 257, "b", "c", "d\0e", "f"]
    rows = [[1.0, 2.0], [1.0, 2.0], [np.nan, 1.0], [3e38, 3e38], [1.0, 2.0], [5.0, 6.0]]
    path = tmp_path / f"rows.{kind}"
    flags: list[object] = []
    if kind == "npy":
        np.save(path, np.array(rows))
        flags = ["--ids-from", saved(tmp_path, np.array(ids), "ids.npy")]
    elif kind == "jsonl":
        lines = [json.dumps({"id": id, "vector": row}) for id, row in zip(ids, rows, strict=True)]
        path.write_text("\n".join(lines))
    else:
        table = pa.table({"id": ids, "vector": rows, "inf": [1.0] * 5 + [float("inf")]})
        if kind == "parquet":
            pq.write_table(table, path)
        else:
            with pa.ipc.new_file(path, table.schema) as file:
                file.write_table(table)
    flags += ["-c", "items", "--create", "--metric", "l2", "--skip-bad", "--json"]
    document = omendb("load", path, *flags).document
    bad = [1, 2, 3, 4] if kind in ("npy", "jsonl") else [1, 2, 3, 4, 5]
    shift = 1 if kind == "jsonl" else 0
    assert [one["number"] - shift for one in document["bad"]] == bad
    assert document["rows"] == 6 - len(bad)
    assert all("\n" not in one["reason"] for one in document["bad"])
