"""Every command that asks a server, where none of ours is: one line that says what is there."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.here import run, server

#: By what they need beside an address; ``top`` and ``ping`` as often as they are asked once.
COMMANDS = {
    "list": ["list"],
    "create": ["create", "made", "--dim", "2", "--capacity", "5"],
    "drop": ["drop", "items", "--yes"],
    "load": ["load", "rows.jsonl", "-c", "items"],
    "dump": ["dump", "rows.out.jsonl", "-c", "items"],
    "search": ["search", "items", "1,2"],
    "count": ["count", "items"],
    "stats": ["stats"],
    "usage": ["usage"],
    "cluster status": ["cluster", "status"],
    "cluster move-owner": ["cluster", "move-owner", "items", "two"],
    "cluster evacuate": ["cluster", "evacuate", "two"],
    "cluster heal": ["cluster", "heal", "items"],
    "tail": ["tail", "items", "--count", "1"],
    "top": ["top", "--json", "--count", "1"],
    "ping": ["ping", "--count", "1"],
}
#: What is there -> the exit code and what is said of it.
PLACES = {
    "HTTP/1.1": (3, "no endpoint of omendb.v1"),
    "HTTP/1.0": (3, "no WebSocket there: it answers in an older HTTP"),
    "silent": (3, "within 0.3 s"),
    "ours, by TLS": (3, "no TLS there"),
    "ours, by another path": (3, "; addresses end in /v1"),
    "ours, without a scheme": (2, "; one is ws://HOST:8765/v1, or wss:// with TLS"),
    "ours, by http": (2, "; one is ws://HOST:8765/v1, or wss:// with TLS"),
}


class Page(http.server.BaseHTTPRequestHandler):
    """A web server that knows no WebSockets."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, str]]:
    old = type("OldPage", (Page,), {"protocol_version": "HTTP/1.0"})
    webs = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in (Page, old)]
    threads = [threading.Thread(target=web.serve_forever) for web in webs]
    for thread in threads:
        thread.start()
    with server() as url, socket.create_server(("127.0.0.1", 0)) as silent:
        yield {
            "HTTP/1.1": f"ws://127.0.0.1:{webs[0].server_port}/v1",
            "HTTP/1.0": f"ws://127.0.0.1:{webs[1].server_port}/v1",
            "silent": f"ws://127.0.0.1:{silent.getsockname()[1]}/v1",
            "ours, by TLS": url.replace("ws://", "wss://"),
            "ours, by another path": url.replace("/v1", "/v2"),
            "ours, without a scheme": url.removeprefix("ws://"),
            "ours, by http": url.replace("ws://", "http://"),
        }
    for web, thread in zip(webs, threads, strict=True):
        web.shutdown()
        web.server_close()
        thread.join()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_no_server_of_ours_is_said_in_one_line(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"id": 1, "vector": [1, 2]}\n')
    limit = "0.3" if place == "silent" else "20"
    ran = run(
        *COMMANDS[name], "--timeout-seconds", limit, OMENDB_URL=places[place],
        OMENDB_EVENT_LOOP="asyncio",
    )  # fmt: skip
    code, said = PLACES[place]
    [line] = ran.err.splitlines()
    assert (ran.code, ran.out) == (code, ""), line
    assert line.startswith("omendb-ws: ")
    assert said in line
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]
