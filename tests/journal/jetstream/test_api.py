"""What is asked of JetStream's API while nobody may be there to answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from omendb_core.model.errors import Unavailable

from omendb_ws.journal.jetstream import api
from omendb_ws.journal.jetstream.api import ApiError, JetStream


class Servers:
    """A connection to servers of which nobody answers the first ``silent`` requests."""

    def __init__(self, silent: int, answer: dict[str, Any]) -> None:
        self.client = self
        self.asked = self.given_up = 0
        self._silent, self._answer = silent, answer

    async def request(self, *_: object, **__: object) -> SimpleNamespace:
        self.asked += 1
        if self.asked > self._silent:
            return SimpleNamespace(data=orjson.dumps(self._answer))
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up += 1
        raise AssertionError


def jetstream(servers: Servers) -> JetStream:
    return JetStream(servers, "b")  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "AGAIN_SECONDS", 0.001)


async def test_what_nobody_answered_during_an_election_is_asked_again() -> None:
    servers = Servers(3, {"state": {"last_seq": 7}})
    assert await jetstream(servers).stream_state("s") == {"last_seq": 7}
    assert servers.asked == 4
    assert servers.given_up == 3


async def test_a_refusal_is_an_answer() -> None:
    servers = Servers(1, {"error": {"err_code": 10059, "description": "stream not found"}})
    with pytest.raises(ApiError, match="not found"):
        await jetstream(servers).stream_state("s")
    assert await jetstream(servers).get("entry") is None


async def test_after_a_while_it_is_said_that_nobody_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api, "REQUEST_SECONDS", 0.01)
    servers = Servers(10**9, {})
    with pytest.raises(Unavailable, match=r"STREAM\.INFO\.s"):
        await jetstream(servers).stream_state("s")
    assert servers.given_up == servers.asked
