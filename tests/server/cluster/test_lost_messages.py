"""The law of faults for what a node says to NATS: a message or its answer is lost, once.

Each kind of message that a change sets off (a sample of them; all by ``make torture``) is lost, or
its answer is, or it comes twice, or the client of NATS refuses it. Then what ``test_fault_walk.py``
asks: one reply, further changes taken, and all that was acknowledged there once, on a fresh node
as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, Final
from zlib import crc32

import pytest
from nats import errors
from nats.aio.client import Client

from omendb_ws.journal.jetstream import api, pipeline
from tests.nats import NatsServer, nats_server
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.cluster.nodes import node as running_node
from tests.server.cluster.nodes import until_taken
from tests.server.cluster.test_fault_walk import (
    CHANGES,
    IS_WHOLE,
    ITEMS,
    NUMBERS,
    asked_until_taken,
    ids_of,
    ready,
    walked,
)
from tests.server.cluster.test_several_nodes import owns
from tests.server.raw import client, rows
from tests.server.walk import Injector, Side, started

pytestmark = pytest.mark.timeout(1200)

EVERY: Final = 8
HOW: Final = ("lost", "answer lost", "twice", "refused")
#: What a node is patient with, seconds; of silence it can only learn by it.
PATIENT_SECONDS: Final = 0.3


def kind_of(subject: str) -> str | None:
    """What kind of message goes there; None for a node's beats, which go all the time."""
    if subject.startswith("$JS.API."):
        return ".".join(subject.split(".")[2:4])
    if subject.startswith("$KV."):
        kind = subject.split(".")[2]
        return None if kind == "node" else f"entry {kind}"
    return "stream" if subject.startswith("omendb.") else None


class Lossy:
    """Loses the first message of ``kind`` while it is armed; without one it only notes kinds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: str = "", how: str = "") -> None:
        self.is_armed = self.has_lost = False
        self.seen: dict[str, None] = {}
        publish = Client.publish

        async def publishes(
            client: Client, subject: str, payload: bytes = b"", reply: str = "", headers: Any = None
        ) -> None:
            found = kind_of(subject) if self.is_armed and not self.has_lost else None
            if found is not None:
                self.seen[found] = None
            if found is None or found != kind:
                await publish(client, subject, payload, reply, headers)
                return
            self.has_lost = True
            if how == "refused":
                raise errors.ConnectionClosedError
            if how != "lost":
                answers_to = "" if how == "answer lost" else reply
                await publish(client, subject, payload, answers_to, headers)
            if how == "twice":
                await publish(client, subject, payload, reply, headers)

        monkeypatch.setattr(Client, "publish", publishes)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(autouse=True)
def _is_patient_for_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "REQUEST_SECONDS", PATIENT_SECONDS)
    monkeypatch.setattr(api, "AGAIN_SECONDS", PATIENT_SECONDS / 3)
    monkeypatch.setattr(api, "_RETRY_SECONDS", PATIENT_SECONDS / 10)
    monkeypatch.setattr(pipeline, "ACKNOWLEDGED_SECONDS", PATIENT_SECONDS)
    monkeypatch.setattr("omendb_ws.cluster.agenda.SETTLED_SECONDS", PATIENT_SECONDS)


@pytest.mark.parametrize("name", CHANGES)
async def test_any_message_or_its_answer_may_be_lost_and_nothing_acknowledged_is(
    name: str, nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    with monkeypatch.context() as patch:
        watching = Lossy(patch)
        await walked(Injector("loop"), name, nats, watching)
    assert watching.seen.keys() & {"stream", "entry def"}
    cases = [(kind, how) for kind in sorted(watching.seen) for how in HOW]
    chosen = cases if IS_WHOLE else cases[crc32(name.encode()) % 3 :: EVERY]
    lost = 0
    for kind, how in chosen:
        with monkeypatch.context() as patch:
            faults = Lossy(patch, kind, how)
            try:
                await walked(Injector("loop"), name, nats, faults)
            except Exception as error:
                raise AssertionError(f"after {kind}: {how}") from error
            lost += faults.has_lost
    assert 4 * lost >= 3 * len(chosen), "some are sent at other times as well; most are not"


async def began(nats: NatsServer, kind: str = "", how: str = "") -> Lossy:
    """Another node takes over what one has left, and loses a message meanwhile."""
    quiet = Injector("loop")
    fields: dict[str, Any] = {"cluster": nats.url, "cluster_name": f"start{next(NUMBERS)}"}
    async with asyncio.timeout(PATIENCE_SECONDS), started(quiet, node_name="one", **fields) as node:
        await ready(node)
        side = Side(node, quiet)
        await side.create(capacity=1000)
        await side.add(1, 2)
        node.close_session(side.session)
    with pytest.MonkeyPatch.context() as patch:
        faults = Lossy(patch, kind, how)
        faults.is_armed = True
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            started(quiet, node_name="two", **fields) as node,
        ):
            await ready(node)
            faults.is_armed = False
            side = Side(node, quiet)
            assert await ids_of(side) == [1, 2]
            assert "ok" in await asked_until_taken(side, "add", **ITEMS, rows=rows(9))
            assert await ids_of(side) == [1, 2, 9]
            node.close_session(side.session)
    return faults


async def test_a_node_that_begins_may_lose_any_message_and_has_all_the_same(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    seen = (await began(nats)).seen
    cases = [(kind, how) for kind in sorted(seen) for how in HOW]
    lost = 0
    for kind, how in cases if IS_WHOLE else cases[3::EVERY]:
        try:
            lost += (await began(nats, kind, how)).has_lost
        except Exception as error:
            raise AssertionError(f"after {kind}: {how}") from error
    assert lost, "none was"


async def handed_over(nats: NatsServer, kind: str = "", how: str = "") -> Lossy:
    """An owner leaves, a follower takes over, and one of them loses a message meanwhile."""
    fields: dict[str, Any] = {"cluster_name": f"hand{next(NUMBERS)}"}
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(AsyncExitStack())
        servers = {"one": await one.enter_async_context(running_node(nats, "one", **fields))}
        servers["two"] = await stack.enter_async_context(running_node(nats, "two", **fields))
        raw = await stack.enter_async_context(client(servers["two"]))
        await raw.create("items", ids="u64", replicas=2)
        for number in range(1, 6):
            await raw.add(number)
        await eventually(lambda: owns(servers["two"], "items") or owns(servers["one"], "items"))
        await until_taken(raw, "move_owner", collection="items", to="one")
        await eventually(lambda: owns(servers["one"], "items"))
        with pytest.MonkeyPatch.context() as patch:
            faults = Lossy(patch, kind, how)
            faults.is_armed = True
            await one.aclose()
            await until_taken(raw, "add", collection="items", rows=rows(6))
            faults.is_armed = False
        await until_taken(raw, "add", collection="items", rows=rows(7))
        found = await until_taken(raw, "search", collection="items", vector=[1, 0], k=10)
        ids = sorted(one["id"] for one in found["results"])
        assert ids == [1, 2, 3, 4, 5, 6, 7]
    return faults


async def test_an_owner_that_hands_over_and_who_follows_it_may_lose_any_message(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    async with asyncio.timeout(PATIENCE_SECONDS):
        seen = (await handed_over(nats)).seen
    cases = [(kind, how) for kind in sorted(seen) for how in HOW]
    lost = 0
    for kind, how in cases if IS_WHOLE else cases[2 :: 2 * EVERY]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                lost += (await handed_over(nats, kind, how)).has_lost
        except Exception as error:
            raise AssertionError(f"after {kind}: {how}") from error
    assert lost, "none was"
