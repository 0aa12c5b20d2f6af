"""What ``/metrics`` says of the HTTP port: who is there, what was asked, who had to leave."""

from __future__ import annotations

import re

from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server.raw import settings

from .served import client_of, served
from .test_sockets import GET, MADE, POST, line_to, posted


def said(server: Server, name: str) -> dict[str, float]:
    """The samples of a metric, by their labels."""
    found = re.findall(
        rf"(?m)^omendb_http_{name}(\{{\S+|) (\S+)$", server.metrics_page().body.decode()
    )
    return {labels: float(value) for labels, value in found}


def counted(server: Server, name: str) -> dict[str, float]:
    """Those samples that are not 0."""
    return {labels: value for labels, value in said(server, name).items() if value}


async def test_connections_requests_and_answers_are_counted() -> None:
    async with served() as server:
        async with client_of(server) as client, line_to(server) as one:
            await client.get("/v1/collections")
            await client.get("/nowhere")
            await one.send(POST + b"Content-Length: %d\r\n\r\n" % len(MADE))
            await eventually(lambda: said(server, "requests_under_way") == {"": 1})
            assert said(server, "connections") == {"": 2}
            assert said(server, "connections_opened_total") == {"": 2}
            await one.send(MADE)
            assert (await one.answer())[0] == 200
            await one.send(b"what is this\r\n\r\n")
            assert (await one.answer())[0] == 400
        assert counted(server, "requests_total") == {'{method="GET"}': 2, '{method="POST"}': 1}
        answers = {'{status="200"}': 2, '{status="400"}': 1, '{status="404"}': 1}
        assert counted(server, "answers_total") == answers
        assert said(server, "requests_under_way") == {"": 0}
        await eventually(lambda: said(server, "connections") == {"": 0})


async def test_whoever_of_them_has_to_leave_is_counted_by_why() -> None:
    given = settings(http_port=0, max_unauthenticated_connections=1)
    async with Server(given, stall_seconds=0.5) as server:
        async with line_to(server) as first, line_to(server):
            assert await first.ended() == b""
        await eventually(lambda: said(server, "connections") == {"": 0})
        async with line_to(server) as half:
            await half.send(posted(MADE)[:-1])
            await half.ended()
        expected = {'{reason="bytes"}': 0, '{reason="stalled"}': 1, '{reason="strangers"}': 1}
        assert said(server, "shed_connections_total") == expected
        assert server.metrics.shed_connections == {"bytes": 0, "stalled": 1, "strangers": 1}


async def test_a_connection_of_which_no_request_came_is_there_too() -> None:
    async with served() as server, line_to(server) as one:
        await one.send(GET)
        await eventually(lambda: said(server, "connections") == {"": 1})
        assert counted(server, "requests_total") == {}
