"""``search``, ``stats``, ``tail``, ``list``, ``create`` and ``drop`` against a real server."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from omendb_ws.cli.failure import FAILED, WRONG
from tests.cli.commands import TIMEOUT_SECONDS, environment
from tests.cli.here import Runs, run, server, vectors
from tests.server.raw import with_keys

ROWS = [
    {"id": 1, "vector": [1, 0, 0], "metadata": {"kind": "book", "price": 8}},
    {"id": 2, "vector": [0.9, 0.1, 0], "metadata": {"kind": "book", "price": 11}},
    {"id": 3, "vector": [0.8, 0.3, 0], "metadata": {"kind": "film", "note": "a\tb\x1b[31m"}},
]


@pytest.fixture
def items(omendb: Runs, tmp_path: Path) -> Runs:
    """A server with the collection ``items`` of three rows."""
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS))
    omendb("load", path, "-c", "items", "--create", "--columns", "kind:str,price:f64")
    return omendb


# -- search -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1,0,0", "[1, 0, 0]", "1.0, 0.0,0e0", "[[1,0,0]]"])
def test_numbers_are_a_vector(items: Runs, text: str) -> None:
    document = items("search", "items", text, "-k", 2, "--json").document
    assert [row["id"] for row in document["results"]] == [1, 2]
    assert document["results"][0] == {"id": 1, "seq": 1, "score": 1.0}
    assert document["version"] == 1
    assert document["took_us"] >= 0


def test_a_table_is_for_people(items: Runs) -> None:
    ran = items("search", "items", "1,0,0", "--include", "metadata", "--include", "vector")
    lines = ran.out.splitlines()
    assert lines[0].split() == ["id", "score", "seq", "metadata", "vector"]
    assert lines[1].split() == ["1", "1", "1", "1", '{"kind":"book","price":8}', "[1,", "0,", "0]"]
    assert [line.split()[1] for line in lines[1:]] == ["1", "2", "3"]
    assert "\x1b" not in ran.out  # what a row holds does not reach the terminal


def test_an_answer_is_shaped_by_options(items: Runs) -> None:
    grouped = items("search", "items", "1,0,0", "--group-by", "kind", "--json").document
    assert [row["id"] for row in grouped["results"]] == [1, 3]
    two = items("search", "items", "1,0,0", "--group-by", "kind", "--group-size", 2, "--json")
    assert [row["id"] for row in two.document["results"]] == [1, 2, 3]
    left = items("search", "items", "1,0,0", "--exclude", 1, "--exclude", 3, "--json").document
    assert [row["id"] for row in left["results"]] == [2]
    apart = items("search", "items", "1,0,0", "--spread", 0.99, "--json").document
    assert [row["id"] for row in apart["results"]] == [1, 3]
    mixed = items("search", "items", "1,0,0", "-k", 2, "--mmr", 0.1, "--candidates", 3, "--json")
    assert [row["id"] for row in mixed.document["results"]] == [1, 3]
    like = items("search", "items", "--positive", 1, "--negative", 3, "--json").document
    assert [row["id"] for row in like["results"]] == [2]


def test_ranks_are_shown_where_there_are_some(items: Runs) -> None:
    aged = ["--decay", 10, "--decay-column", "price", "--at", 11]
    document = items("search", "items", "1,0,0", *aged, "--json").document
    assert document["at"] == 11.0
    assert [row["id"] for row in document["results"]] == [2, 1, 3]
    assert document["results"][0]["weight"] == 1.0
    assert document["results"][2]["rank"] is document["results"][2]["weight"] is None
    lines = items("search", "items", "1,0,0", *aged).out.splitlines()
    assert lines[0].split() == ["id", "weight", "score", "seq"]  # ranks are all but equal then
    assert lines[1].split()[:3] == ["1", "2", "1"]
    assert lines[3].split()[:3] == ["3", "3", "-"]
    rank = '{"$mul": ["$score", {"$default": ["price", 1]}]}'
    ranked = items("search", "items", "1,0,0", "--rank", rank, "--json").document
    assert [row["id"] for row in ranked["results"]] == [2, 1, 3]
    lines = items("search", "items", "1,0,0", "--rank", rank).out.splitlines()
    assert lines[0].split() == ["id", "rank", "score", "seq"]
    assert [row["id"] for row in items("search", "items", "1,0,0", "--rank", "price", "--json")
            .document["results"]] == [2, 1]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--negative", "3"], "--negative: needs --positive"),
        (["--decay-column", "price"], "--decay-column: needs --decay"),
        (["--group-size", "2"], "--group-size: needs --group-by"),
        (["--candidates", "20"], "--candidates: needs --mmr"),
        (["--exclude", "x"], "--exclude x: the ids of this collection are numbers"),
        (["--rank", "{"], "--rank: not JSON"),
        (["--rank", "nothing"], "rank: "),
        (["--decay", "0"], "decay.half_life"),
        (["--group-by", "nothing"], "group.by"),
        (["--decay", "1", "--rank", "price"], "decay"),
        (["--at", "5"], "at"),
        (["--positive", "1"], "needs a vector, --like or --positive"),
    ],
)
def test_a_slip_in_these_options_is_named(items: Runs, options: list[str], said: str) -> None:
    is_ours = said.startswith("--") or "needs" in said
    ran = items("search", "items", "1,0,0", *options, code=WRONG if is_ours else FAILED)
    assert said in ran.err


def test_the_files_that_load_reads_are_vectors(items: Runs, tmp_path: Path) -> None:
    one, several, text = tmp_path / "one.npy", tmp_path / "several.npy", tmp_path / "vector.txt"
    np.save(one, np.array([1.0, 0, 0]))
    np.save(several, np.array([[1.0, 0, 0], [0.8, 0.3, 0]]))
    text.write_text("0.8 0.3 0\n")
    first = items("search", "items", "1,0,0", "--json").document["results"]
    third = items("search", "items", "0.8,0.3,0", "--json").document["results"]
    assert items("search", "items", one, "--json").document["results"] == first
    assert items("search", "items", text, "--json").document["results"] == third
    both = items("search", "items", several, "--json").documents
    assert [one["results"] for one in both] == [first, third]
    assert items("search", "items", several).out.count("vector ") == 2
    lines = tmp_path / "rows.jsonl"
    assert len(items("search", "items", lines, "--json").documents) == 3


def test_standard_input_is_a_vector(items: Runs) -> None:
    found = items("search", "items", "-", "--json", input=b"[0.8, 0.3, 0]").document["results"]
    assert found[0]["id"] == 3


def test_a_stored_row_is_searched_by_its_id(items: Runs) -> None:
    found = items("search", "items", "--like", "1", "--json").document["results"]
    assert [row["id"] for row in found] == [2, 3]


def test_answers_are_narrowed_as_the_protocol_says(items: Runs) -> None:
    def ids(*flags: object) -> list[int]:
        found = items("search", "items", "1,0,0", "--json", *flags).document["results"]
        return [row["id"] for row in found]

    assert ids("--filter", '{"price": {"$lt": 9}}') == [1]
    assert ids("--min-score", "0.99") == [1, 2]
    assert ids("--last", "2") == [2, 3]
    assert ids("-k", "1") == [1]
    found = items("search", "items", "1,0,0", "--include", "metadata,vector", "--json").document
    assert found["results"][1]["metadata"] == {"kind": "book", "price": 11}
    assert len(found["results"][1]["vector"]) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "needs a vector, --like or --positive"),
        (["1,0,0", "--like", "1"], 2, "needs a vector, --like or --positive"),
        (["1,x"], 2, "the vector: must be numbers"),
        (["[1, [2]]"], 2, "the vector: must be numbers"),
        (["[]"], 2, "must be numbers"),
        (["nothing.npy"], 2, "nothing.npy: No such file"),
        (["nothing"], 2, "nothing: No such file"),
        (["1,0"], 1, "dim_mismatch"),
        (["0,0,0"], 1, "zero_norm"),
        (["[NaN, 0, 0]"], 2, "must be numbers"),
        (["1,0,0", "-k", "0"], 1, "bad_k"),
        (["1,0,0", "--filter", "{"], 2, "--filter: not JSON"),
        (["1,0,0", "--filter", "[]"], 2, "--filter: must be a JSON object"),
        (["1,0,0", "--filter", '{"nothing": 1}'], 1, "bad_filter"),
        (["1,0,0", "--include", "score"], 2, "--include score: must be one of"),
        (["--like", "9"], 1, "not_found"),
        (["--like", "x"], 2, "--like x: the ids of this collection are numbers"),
    ],
)
def test_a_search_that_cannot_be_is_one_line(
    items: Runs, arguments: list[str], code: int, said: str
) -> None:
    ran = items("search", "items", *arguments, code=code)
    assert said in ran.err
    assert ran.out == ""


# -- count ------------------------------------------------------------------------------------


def test_rows_are_counted_and_by_the_values_of_a_column(items: Runs) -> None:
    assert items("count", "items").out == "3\n"
    assert items("count", "items", "--json").document == {"count": 3}
    assert items("count", "items", "--filter", '{"price": {"$gt": 8}}').out == "1\n"
    lines = items("count", "items", "--by", "kind").out.splitlines()
    assert [line.split() for line in lines] == [["kind", "rows"], ["book", "2"], ["film", "1"]]
    assert items("count", "items", "--by", "price", "--limit", 2, "--json").document == {
        "version": 1,
        "count": 3,
        "by": [{"value": 8.0, "count": 1}, {"value": 11.0, "count": 1}],
        "others": 1,
    }
    lines = items("count", "items", "--by", "price", "--limit", 2).out.splitlines()
    assert lines[-1].split() == ["(others)", "1"]
    nothing = items("count", "items", "--by", "price", "--filter", '{"kind": "film"}').out
    assert nothing.splitlines()[1].split() == ["-", "1"]


def test_a_count_that_cannot_be_says_why(items: Runs) -> None:
    assert "--limit: goes with --by" in items("count", "items", "--limit", 2, code=2).err
    assert "--limit" in items("count", "items", "--by", "kind", "--limit", 0, code=2).err
    ran = items("count", "items", "--by", "nix", code=1)
    assert "by: nix is not a declared column (declared: kind, price)" in ran.err
    items("count", "nothing", code=1)


def test_a_watched_count_is_printed_again_when_it_has_changed(items: Runs, tmp_path: Path) -> None:
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps({"id": 4, "vector": [1, 1, 1], "metadata": {"kind": "film"}}))
    with subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "count", "items", "--by", "kind", "--watch", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(OMENDB_URL=items.url),
    ) as process:
        try:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            items("load", path, "-c", "items")
            second = json.loads(process.stdout.readline())
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=TIMEOUT_SECONDS)
        finally:
            process.kill()
    assert [one["value"] for one in first["by"]] == ["book", "film"]
    assert [one["count"] for one in first["by"]] == [2, 1]
    assert (second["version"], second["count"], second["others"]) == (2, 3, 0)
    assert [one["value"] for one in second["by"]] == ["film", "book"]  # a book was evicted


# -- stats, list, create, drop ----------------------------------------------------------------


def test_stats_are_of_the_server_or_of_a_collection(items: Runs) -> None:
    server = items("stats", "--json").document
    assert server["connections"] == 1
    assert server["search_ms"].keys() == {"p50", "p99", "p999"}
    one = items("stats", "items", "--json").document
    assert (one["collection"], one["rows"], one["live_subscriptions"]) == ("items", 3, 0)
    lines = items("stats", "items").out.splitlines()
    assert lines[0].split() == ["figure", "value"]
    assert ["rows", "3"] in [line.split() for line in lines]
    memory = [line for line in lines if line.split()[0].endswith("bytes")]
    assert memory
    assert all(re.search(r" (B|KiB|MiB)$", line) for line in memory), memory
    assert re.fullmatch(r"at +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", lines[1])
    assert any(line.startswith("search_ms.p99 ") for line in items("stats").out.splitlines())
    items("stats", "nothing", code=1)


def test_collections_are_created_listed_and_dropped(omendb: Runs) -> None:
    ran = omendb("create", "b", "--dim", 3, "--capacity", 1000)
    assert ran.out.startswith("b: 1,000 rows of 3 dimensions, cosine, ids u64, memory; ")
    made = omendb("create", "a", "--dim", 2, "--capacity", 10, "--metric", "dot", "--ids", "str",
                  "--columns", "n:i64", "--ttl", 60, "--json").document  # fmt: skip
    assert (made["metric"], made["ids"], made["columns"], made["ttl"]) == (
        "dot", "str", {"n": "i64"}, 60,
    )  # fmt: skip
    assert "(exists)" in omendb("create", "a", "--dim", 2, "--capacity", 10, code=1).err
    omendb("create", "b", "--dim", 3, "--capacity", 1000, "--if-exists")
    listed = omendb("list").out.splitlines()
    assert [line.split()[0] for line in listed] == ["collection", "a", "b"]
    assert listed[1].split()[1:7] == ["2", "dot", "0", "10", "str", "memory"]
    assert omendb("drop", "a", "--yes").out == "a is dropped\n"
    assert omendb("drop", "b", "-y", "--json").document == {"dropped": "b"}
    assert omendb("list", "--json").document == {"collections": []}
    assert "(not_found)" in omendb("drop", "a", "--yes", code=1).err


@pytest.mark.parametrize(
    "flags",
    [["--metric", "cos"], ["--ids", "u32"], ["--durability", "disk"], ["--columns", "a"]],
)
def test_a_definition_that_cannot_be_is_one_line(omendb: Runs, flags: list[str]) -> None:
    omendb("create", "x", "--dim", 3, "--capacity", 10, *flags, code=2)
    omendb("create", "no spaces", "--dim", 3, "--capacity", 10, code=1)
    assert omendb("list", "--json").document == {"collections": []}


def test_nothing_is_dropped_where_nobody_can_be_asked(items: Runs) -> None:
    ran = items("drop", "items", code=2)
    assert "nobody is there to be asked; --yes drops it" in ran.err
    assert len(items("list", "--json").document["collections"]) == 1


@pytest.mark.parametrize(("answer", "code"), [(b"yes\n", 0), (b"\n", 1), (b"\x04", 1)])
def test_a_drop_asks(items: Runs, answer: bytes, code: int) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "drop", "items"], stdin=follower,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(OMENDB_URL=items.url),
    )  # fmt: skip
    os.close(follower)
    os.write(leader, answer)
    _, err = process.communicate(timeout=TIMEOUT_SECONDS)
    os.close(leader)
    assert b"Drop items and its 3 rows at ws://" in err
    assert process.returncode == code
    assert len(items("list", "--json").document["collections"]) == (1 if code else 0)


# -- tail -------------------------------------------------------------------------------------


def test_a_tail_from_a_row_on_shows_what_is_there(items: Runs) -> None:
    ran = items("tail", "items", "--from-seq", 1, "--count", 3)
    lines = ran.out.splitlines()
    assert [line.split()[:2] for line in lines] == [["1", "1"], ["2", "2"], ["3", "3"]]
    assert '{"kind":"book","price":8}' in lines[0]
    assert "\x1b" not in ran.out
    documents = items("tail", "items", "--from-seq", 2, "--count", 1, "--json").documents
    assert documents == [{"id": 2, "seq": 2, "metadata": {"kind": "book", "price": 11}}]
    filtered = items("tail", "items", "--from-seq", 1, "--count", 1, "--json", "--include",
                     "vector", "--filter", '{"kind": "film"}').documents  # fmt: skip
    assert filtered[0]["id"] == 3
    assert len(filtered[0]["vector"]) == 3
    assert "the newest row is 3" in items("tail", "items", "--from-seq", 5, code=2).err


def test_rows_that_left_before_are_a_gap(omendb: Runs, tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, vectors(30))
    omendb("load", path, "-c", "items", "--create", "--capacity", 10)
    lines = omendb("tail", "items", "--from-seq", 1, "--count", 1).out.splitlines()
    assert lines[0] == "--- rows 1 to 20 are missing: evicted"
    documents = omendb("tail", "items", "--from-seq", 1, "--count", 1, "--json").documents
    assert documents[0] == {"gap": {"from_seq": 1, "to_seq": 20, "reason": "evicted"}}
    assert documents[1]["seq"] == 21


def test_a_tail_shows_rows_as_they_come_and_ends_at_ctrl_c(items: Runs, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "tail", "items", "--json", "--from-seq", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(OMENDB_URL=items.url),
    )  # fmt: skip
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["id"] == 3  # it is subscribed
    path = tmp_path / "more.npy"
    np.save(path, vectors(2, 3))
    items("load", path, "-c", "items")
    assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == [0, 1]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, err) == (130, "omendb-ws: interrupted\n")


def test_a_reader_of_a_tail_may_leave(items: Runs) -> None:
    tail = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "tail", "items", "--from-seq", "1", "--count", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(OMENDB_URL=items.url),
    )  # fmt: skip
    assert tail.stdout is not None
    tail.stdout.close()
    assert tail.stderr is not None
    assert tail.stderr.read() == b""
    tail.stderr.close()
    assert tail.wait(TIMEOUT_SECONDS) in (0, 1)


def test_a_collection_that_is_dropped_ends_a_tail(items: Runs) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "tail", "items", "--from-seq", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(OMENDB_URL=items.url),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline()
    items("drop", "items", "--yes")
    _, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, err) == (1, "omendb-ws: items was dropped\n")


# -- reaching a server ------------------------------------------------------------------------

COMMANDS: list[list[str]] = [
    ["list"], ["stats"], ["usage"], ["search", "items", "1,2"], ["tail", "items"],
    ["drop", "items", "--yes"], ["create", "x", "--dim", "2", "--capacity", "2"],
    ["top", "--json", "--count", "1"],
    ["dump", "-", "-c", "items", "--format", "jsonl"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_server_that_is_not_there_is_code_3(command: list[str]) -> None:
    ran = run(*command, "--url", "ws://127.0.0.1:1/v1", "--timeout-seconds", "5")
    assert ran.code == 3
    [line] = ran.err.splitlines()
    assert line.startswith("omendb-ws: ws://127.0.0.1:1/v1: ")
    assert "refused" in line
    assert ran.out == ""


@pytest.mark.parametrize(
    ("url", "code"),
    [("http://127.0.0.1:1", 2), ("nonsense", 2), ("ws://no-such-host.invalid/v1", 3)],
)
def test_an_address_that_cannot_be_is_said(url: str, code: int) -> None:
    ran = run("list", "--url", url)
    assert ran.code == code
    [line] = ran.err.splitlines()
    assert url in line


def test_a_path_that_is_no_endpoint_is_no_server(omendb: Runs) -> None:
    ran = run("list", "--url", omendb.url.replace("/v1", "/v2"))
    assert ran.code == 3
    assert len(ran.err.splitlines()) == 1


def test_tokens_come_by_flag_file_or_environment_and_are_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with server(with_keys(tmp_path)) as url:
        for token, code in (("token-root", 0), ("token-nobody", 1)):
            file.write_text(f"{token}\n")
            for ran in (
                run("list", "--url", url, "--token", token),
                run("list", "--url", url, "--token-file", file),
                run("list", OMENDB_URL=url, OMENDB_TOKEN=token),
            ):
                assert ran.code == code, ran.err
                assert token not in ran.out + ran.err
        ran = run("list", "--url", url)
        assert (ran.code, len(ran.err.splitlines())) == (1, 1)
        assert "unauthenticated" in ran.err


def test_the_figures_of_a_server_need_the_right_and_collections_do_not(tmp_path: Path) -> None:
    with server(with_keys(tmp_path)) as url:
        made = ("create", "items", "--dim", 2, "--capacity", 2, "--url", url)
        assert run(*made, "--token", "token-root").code == 0
        ran = run("stats", "--url", url, "--token", "token-reader")
        assert ran.code == 1
        assert "(forbidden)" in ran.err
        ran = run("top", "--json", "--count", 1, "--url", url, "--token", "token-reader")
        assert ran.document["server"] is None
        assert [one["collection"] for one in ran.document["collections"]] == ["items"]


def test_a_token_file_that_cannot_be_read_is_code_2(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for path, said in ((tmp_path / "nothing", "No such file"), (empty, "is empty")):
        ran = run("list", "--token-file", path)
        assert ran.code == 2
        assert said in ran.err


# -- completion -------------------------------------------------------------------------------


def completed(words: str, **variables: str) -> list[str]:
    """What a shell would be given for the last word."""
    ran = subprocess.run(
        [sys.executable, "-m", "omendb_ws"],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        env=environment(_OMENDB_WS_COMPLETE="complete_bash", COMP_WORDS=words,
                        COMP_CWORD=str(len(words.split(" ")) - 1), **variables),
    )  # fmt: skip
    assert ran.stderr == ""
    return ran.stdout.split()


def test_a_shell_completes_commands_and_collections(items: Runs) -> None:
    items("create", "itemised", "--dim", 2, "--capacity", 2)
    items("create", "other", "--dim", 2, "--capacity", 2)
    assert completed("omendb-ws se") == ["serve", "search"]
    assert completed("omendb-ws search it", OMENDB_URL=items.url) == ["itemised", "items"]
    assert completed(f"omendb-ws dump x --url {items.url} -c o") == ["other"]
    assert completed("omendb-ws search it", OMENDB_URL="ws://127.0.0.1:1/v1") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_is_shown(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Else it is the shell that the tests were started from, if one is found.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    ran = run("--show-completion", shell)
    assert ran.code == 0
    assert "_OMENDB_WS_COMPLETE" in ran.out
