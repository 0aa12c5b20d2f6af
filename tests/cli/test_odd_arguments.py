"""Commands with odd arguments: whatever they are, a documented exit code and plain lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omendb_ws.cli import app
from omendb_ws.sync import connect
from tests.cli.here import Ran, run, server
from tests.examples import examples

#: ``serve`` has the flags of ``check-config``, and like the others would not end.
ENDLESS = ("serve", "demo", "cluster start", "mcp")


def _commands(group: Any, before: str = "") -> dict[str, Any]:
    """Each command by its words."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= _commands(command, f"{name} ")
        elif before + name not in ENDLESS:
            found[before + name] = command
    return found


COMMANDS = _commands(typer.main.get_command(app))
#: Last, so that it ends: a flag that stands there twice is the last one.
ENDS = {
    "tail": ["--from-seq", "1", "--count", "1"],
    "ping": ["--count", "1"],
    "top": ["--count", "1", "--every-ms", "100"],
}
TEXTS = [
    "", " ", "-", "--", "-1", "0", "1", "2.5", "9" * 5000, "-" + "9" * 5000, "1e400", "nan", "inf",
    "-inf", "0x10", "items", "none", "a b", "größe", "\udcff", "\u202e", "a\nb",
    "\x1b[31m", "x" * 300,
    "[", "[]", "[1, 2]", "1,2", "[[[1]]]", "[" * 3000, "{}", '{"a": 1}', "null", '{"$and": []}',
    '{"$not": ' * 300, "[1e400]", f"[{'9' * 5000}]", '["a"]', "[1, null]", "a:f64", "a:f64,a:str",
    ":", "metadata", "vector,metadata", "metadata,", "cosine", "u64", "auto", "seconds", "rows",
    "jsonl", "npy", "parquet", ".", "..", "/dev/null", "/dev/full", "/proc/self/mem", "no/thing",
    "rows.npy", "rows.jsonl", "broken.npy", "broken.parquet", "broken.arrow", "broken.toml",
    "directory.npy", "out.jsonl",
]  # fmt: skip
URLS = [
    "", "nonsense", "ws://", "ws://[", "http://127.0.0.1:1", "ws://127.0.0.1:1/v1",
    "ws://127.0.0.1:99999/v1", "ws://127.0.0.1:0/v1", "ws://127.0.0.1:x/v1", "wss://127.0.0.1:1/v1",
    "ws://user:word@127.0.0.1:1/v1", "ws://127.0.0.1:1/v1#x", "ws://\udcff/v1", "ws://a\nb/v1",
    "memory://", "memory://x y", "ws://" + "x" * 300, "ws://127.0.0.1:1/" + "x" * 5000,
]  # fmt: skip


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server() as url, connect(url) as db:
        db.create("items", dim=2, capacity=10)
        db.add("items", np.eye(2), ids=[1, 2])
        yield url


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to be in, with files that are and are not what they are called."""
    path = tmp_path_factory.mktemp("odd")
    before = os.getcwd()
    os.chdir(path)
    np.save("rows.npy", np.eye(2))
    Path("rows.jsonl").write_text('{"id": 1, "vector": [1, 2]}\n')
    for name in ("broken.npy", "broken.parquet", "broken.arrow", "broken.toml"):
        Path(name).write_bytes(b"\x93NUMPY\x01\0\xff\xff = ")
    Path("directory.npy").mkdir()
    yield path
    os.chdir(before)


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command line: mostly of arguments and flags that the command has, some of none."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    words = name.split()
    for parameter in COMMANDS[name].params:
        is_url = parameter.name in ("url", "source")
        value = st.sampled_from(URLS if is_url else TEXTS)
        if parameter.param_type_name == "argument":
            if draw(st.integers(0, 9)):
                words.append(draw(value))
        elif draw(st.integers(0, 3)) == 0:
            flag = draw(st.sampled_from(parameter.opts))
            if flag in ("--help", "-h"):
                continue
            words += [flag] if parameter.is_flag else [flag, draw(value)]
    if draw(st.integers(0, 19)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(TEXTS)))
    return [*words, *ENDS.get(name, [])]


def check(ran: Ran) -> None:
    assert ran.code in (0, 1, 2, 3), (ran.code, ran.err)
    assert "Traceback" not in ran.err
    if ran.code:
        assert ran.err
        assert all(line.startswith("omendb-ws: ") for line in ran.err.splitlines()), ran.err


@settings(
    max_examples=examples(150), deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(words=lines())
def test_a_command_with_odd_arguments_ends_in_plain_lines(
    url: str, place: Path, words: list[str]
) -> None:
    check(run(*words, OMENDB_URL=url, OMENDB_EVENT_LOOP="asyncio"))


@pytest.mark.parametrize("value", ["nan", "inf", "1e300", "-inf", "0"])
@pytest.mark.parametrize(
    "words",
    [
        ["list", "--timeout-seconds"],
        ["load", "rows.npy", "-c", "items", "--rate"],
        ["load", "rows.npy", "-c", "made", "--create", "--ttl"],
        ["create", "made", "--dim", "1", "--capacity", "1", "--ttl"],
        ["search", "items", "[1, 2]", "--min-score"],
        ["ping", "--count", "1", "--timeout-seconds"],
        ["ping", "--count", "1", "--interval-seconds"],
    ],
)
def test_numbers_that_are_none_are_refused_or_work(
    url: str, place: Path, words: list[str], value: str
) -> None:
    check(run(*words, value, OMENDB_URL=url))


@pytest.mark.parametrize("name", sorted({**COMMANDS}))
def test_a_command_alone_ends(url: str, place: Path, name: str) -> None:
    check(run(*name.split(), *ENDS.get(name, []), OMENDB_URL=url))
