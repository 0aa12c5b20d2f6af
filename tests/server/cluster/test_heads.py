"""The front of a stream goes under a healthy owner: it notices, and writes its rows again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from omendb_ws.journal.jetstream import head
from omendb_ws.net.server import Server
from tests.nats import NatsServer, nats_server
from tests.patience import eventually
from tests.server.cluster.nodes import node, served
from tests.server.cluster.test_healing import ask, epoch_of, found
from tests.server.cluster.test_one_node import stream_of
from tests.server.raw import client, rows


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOOK_SECONDS", 0.1)


def state(server: Server) -> dict[str, int]:
    found: dict[str, int] = ask(server, f"STREAM.INFO.{stream_of(server)}")["state"]
    return found


def is_written_again(server: Server, last: int) -> bool:
    """Whether there are a checkpoint and rows behind what was the end, and nothing before that."""
    now = state(server)
    return now["first_seq"] > last and now["messages"] >= 2


@pytest.mark.parametrize("left", [0, 1, 10])
async def test_a_stream_whose_front_was_taken_out_is_written_again_under_the_same_epoch(
    nats: NatsServer, left: int
) -> None:
    async with node(nats) as server, client(server) as raw:
        await raw.create("items", capacity=1000)
        for number in range(1, 31):
            await raw.add(number)
        await raw.ok("add", collection="items", rows=rows(31, 32), producer="p", batch=1)
        await raw.ok("delete", collection="items", ids=[7])
        before = await epoch_of(raw)
        last = state(server)["last_seq"]
        ask(server, f"STREAM.PURGE.{stream_of(server)}", {"seq": last + 1 - left})
        assert state(server)["messages"] == left
        await eventually(lambda: is_written_again(server, last))
        await raw.add(40)
        assert await epoch_of(raw) == before
        expected = sorted({*range(1, 33), 40} - {7})
        assert await found(raw) == expected
    async with served(nats, "two") as raw:
        assert await found(raw) == expected
        assert await epoch_of(raw) == before
        again = await raw.ok("add", collection="items", rows=rows(31, 32), producer="p", batch=1)
        assert again["duplicate"] is True


async def test_a_sound_stream_is_left_as_it_is(nats: NatsServer) -> None:
    async with node(nats) as server, client(server) as raw:
        await raw.create("items", capacity=1000)
        await raw.add(1)
        before = state(server)
        await asyncio.sleep(0.5)
        assert state(server) == before


async def test_a_message_in_front_that_is_not_what_was_written_is_found(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(nats) as server, client(server) as raw:
        await raw.create("items", capacity=1000)
        for number in range(1, 4):
            await raw.add(number)
        last = state(server)["last_seq"]
        jetstream = server.node._cluster._jetstream
        sound = type(jetstream).message

        async def spoiled(name: str, sequence: int) -> bytes:
            message = bytearray(await sound(jetstream, name, sequence))
            if sequence == last - 1:
                message[-1] ^= 1
            return bytes(message)

        monkeypatch.setattr(jetstream, "message", spoiled)
        await eventually(lambda: is_written_again(server, last))
        assert await found(raw) == [1, 2, 3]
