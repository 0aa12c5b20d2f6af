"""Requests that wait for their turn of the loop: that is time they waited, and may refuse them."""

from __future__ import annotations

import pytest

from omendb_ws.http.api.receiving import Receiving
from omendb_ws.sessions.overload import Load, Overload
from omendb_ws.sessions.session import Session

from .served import client_of, fault_of, served

LATE_SECONDS = 5.0


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request was whole long before the loop has time for it."""
    real = Receiving.on_message_complete

    def complete(connection: Receiving) -> None:
        real(connection)
        connection.asked_at -= LATE_SECONDS

    monkeypatch.setattr(Receiving, "on_message_complete", complete)


@pytest.mark.usefixtures("late")
async def test_a_request_counts_from_when_it_was_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    real = Session.is_heard_late

    def noted(session: Session, late_us: int, waiting_bytes: int = 0) -> None:
        heard.append(late_us)
        real(session, late_us, waiting_bytes)

    monkeypatch.setattr(Session, "is_heard_late", noted)
    async with served() as server:
        for _ in range(3):
            async with client_of(server) as client:
                assert (await client.get("/v1/collections")).status_code == 200
    assert len(heard) == 3
    assert min(heard) >= LATE_SECONDS * 1e6


@pytest.mark.usefixtures("late")
async def test_while_the_server_sheds_a_late_request_is_refused_as_a_message_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_late(overload: Overload, load: Load, late_us: float) -> bool:
        return late_us >= LATE_SECONDS * 1e6

    monkeypatch.setattr(Overload, "is_late", is_late)
    monkeypatch.setattr(Overload, "refuses", lambda overload, load: False)
    monkeypatch.setattr(Overload, "_look", lambda overload, late_us: None)
    async with served() as server, client_of(server) as client:
        server.context.overload.is_shedding = True
        answer = await client.get("/v1/collections")
        assert answer.status_code == 503
        assert fault_of(answer)["code"] == "overloaded"
        assert int(answer.headers["retry-after"]) >= 1
