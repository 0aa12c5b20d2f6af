"""Neighbours: every scenario asks for what it says, and the table tells of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast, get_args

import orjson
import pytest

import omendb_ws
from load_tests.neighbours import __main__ as command_line
from load_tests.neighbours import filters
from load_tests.neighbours.asking import WINDOW, Asker
from load_tests.neighbours.heavy import asked
from load_tests.neighbours.scenario import NOBODY, Asks, Scenario, names, read
from load_tests.simulation.toml_tables import ScenarioError
from tests.load_tests.served import served

SMALL = {"collection.capacity": 1000, "light.rows": 200}
#: Most of each that a test asks for.
MOST = {"rows": 100, "vectors": 8, "subscriptions": 10, "conditions": 4}
#: How the answer to what is said in JSON begins.
SAID = {
    "add_json": b'{"id":1,"ok":{"version":',
    "add_json_refused": b'{"id":1,"error":{"code":"non_finite",',
    "nested_json": b'{"id":1,"error":{"code":"bad_request",',
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served({}) as url:
        yield url


def small(name: str) -> Scenario:
    asked = vars(read(name, {}).neighbour)
    fewer = {f"neighbour.{field}": min(asked[field], most) for field, most in MOST.items()}
    return read(name, SMALL | fewer)


@pytest.mark.parametrize("name", names())
async def test_a_neighbour_asks_for_what_its_scenario_says(name: str, url: str) -> None:
    scenario = small(name)
    async with omendb_ws.connect(url) as db:
        asker = Asker(db, url, "nobody asks for it", scenario)
        await asker.fill()
        try:
            assert await db.count(WINDOW) == 1000
            for _ in range(2):
                said = await asker.ask()
                assert (said is not None) is (name in SAID)
                assert said is None or said.startswith(SAID[name]), orjson.loads(said)
            assert asker.turn == 2
            if name in ("feeds", "stats"):
                assert (await db.stats())["subscriptions"] == MOST["subscriptions"]
        finally:
            await asker.close()
            await db.drop(WINDOW)


def test_a_filter_is_another_one_each_time_and_as_long_as_it_says() -> None:
    for make in filters.KINDS.values():
        assert make(62, 1) != make(62, 2)
    assert str(filters.arithmetic(62, 1)).count("'$gt'") == 31
    assert str(filters.arithmetic(62, 1)).count("'$lt'") == 31
    assert str(filters.texts(1024, 1)).count("xxx") >= 1024


def test_scenarios_are_told_apart_and_faults_are_named() -> None:
    found = [read(name, {}) for name in names()]
    assert names()[0] == NOBODY
    assert len({one.description for one in found}) == len(found) > 25
    assert max(len(one.description) for one in found) < 50
    assert {one.neighbour.asks for one in found} == set(get_args(Asks))
    assert not read("add", {}).columns
    assert read("add", {"load.seconds": 2}).load.seconds == 2.0
    for name, key, why in (
        ("nothing", "load.seconds", "nothing: is none of nobody, add"),
        ("add", "neighbour.row", "neighbour.row: unknown"),
        ("add", "neighbour.asks", "neighbour.asks: 1 is none of nothing, search"),
        ("add", "heavy.rows", "heavy: unknown"),
    ):
        with pytest.raises(ScenarioError) as caught:
            read(name, {key: 1})
        assert why in str(caught.value)


def test_the_table_has_a_line_for_each_with_two_connections_and_two_tenants(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [f"--set={key}={value}" for key, value in SMALL.items()]
    monkeypatch.setattr("sys.argv", ["neighbours", "count_texts", "--seconds", "0.3", *sizes])
    assert command_line.main() == 0
    lines = capsys.readouterr().out.splitlines()
    description = read("count_texts", {}).description
    [line] = [line for line in lines if line.startswith(description)]
    p50, p99, most, heavy, *other = line.removeprefix(description).split()
    assert 0 < float(p50) <= float(p99) <= float(most)
    assert int(heavy.split("/")[0]) > 0
    assert len(other) == 4
    assert lines[-1].endswith("of 1 within what is wanted: p50 at most 3 ms and p99 at most 10 ms")
    monkeypatch.setattr("sys.argv", ["neighbours", "add", "--set", "add.rows=1"])
    assert command_line.main() == 2
    assert "add: unknown" in capsys.readouterr().err


@pytest.mark.parametrize(("said", "is_refused"), [
    (None, False), (b'{"id":1,"ok":{}}', False), (b'{"id":1,"error":{"code":"bad_request"}}', True),
])  # fmt: skip
async def test_what_is_said_to_be_refused_was(said: bytes | None, is_refused: bool) -> None:
    class Said:
        async def ask(self) -> bytes | None:
            return said

    assert await asked(cast(Any, Said())) is is_refused


def test_a_neighbour_that_fails_is_no_quiet_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It had begun, and asked for nothing from then on."""

    @contextmanager
    def failing(*_: Any) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-c", "raise SystemExit(1)"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
            yield child

    sizes = [f"--set={key}={value}" for key, value in SMALL.items()]
    monkeypatch.setattr(command_line, "_neighbour", failing)
    monkeypatch.setattr("sys.argv", ["neighbours", "add", "--seconds", "0.1", *sizes])
    assert command_line.main() == 2
    assert "add: the neighbour failed" in capsys.readouterr().err


def test_searches_that_were_refused_are_not_what_is_wanted() -> None:
    assert command_line.Waited(1.0, 2.0, 3.0, "1/0", 0).is_within
    assert not command_line.Waited(1.0, 2.0, 3.0, "1/0", 1).is_within
    assert not command_line.Waited(1.0, 12.0, 13.0, "1/0", 0).is_within
