"""What the examples with a page share: a server and the page's own little one, in one process.

``run`` starts both on this machine, gives a ``Client`` to the coroutine that streams, and says
where the page is. The page is files of one folder, and ``/server.js``, which tells it where its
server is; its Content-Security-Policy allows these two and nothing inline. A page with a
``Backend`` may also post JSON to it.

In earnest the page comes from your web server, and the vector server is started by ``omendb-ws
serve --allow-origin https://your.site``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import omendb_ws
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from omendb_ws.runtime.extras import ExtraMissing

HOST = "127.0.0.1"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}

MAX_POST_BYTES = 4096

Stream = Callable[[omendb_ws.Client], Awaitable[None]]
#: To a post: what is answered, as JSON.
Answer = tuple[HTTPStatus, Any]


@dataclass(frozen=True)
class Backend:
    """More than files: ``settings`` of the vector server, the token of whoever streams, and what
    the page may post, path -> what makes the answer, in any thread, of the JSON that was sent."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    get_token: Callable[[], str] | None = None
    posts: Mapping[str, Callable[[Any], Answer]] = field(default_factory=dict)


NONE = Backend()


class PageServer(ThreadingHTTPServer):
    """Serves ``files``, path -> (content type, bytes), under the policy ``csp``."""

    daemon_threads = True
    files: Mapping[str, tuple[str, bytes]] = {}
    posts: Mapping[str, Callable[[Any], Answer]] = {}
    csp = "default-src 'none'"

    def origins(self) -> tuple[str, ...]:
        """What a browser may call this server."""
        return tuple(f"http://{name}:{self.server_port}" for name in (HOST, "localhost"))


class Handler(BaseHTTPRequestHandler):
    """GET of one of the server's files, POST to what it posts to."""

    server: PageServer
    #: A client that says nothing for so long is let go.
    timeout = 30

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        found = self.server.files.get("/index.html" if path == "/" else path)
        kind, body = found or ("text/plain", b"There is nothing here.")
        self.answer(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND, kind, body)

    def do_POST(self) -> None:
        status, told = self.posted()
        self.answer(status, "application/json", json.dumps(told).encode())

    def posted(self) -> Answer:
        answer = self.server.posts.get(self.path)
        if answer is None:
            return HTTPStatus.NOT_FOUND, "There is nothing here."
        # A foreign page can send other types without being asked.
        if self.headers.get_content_type() != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send application/json."
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_POST_BYTES:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {MAX_POST_BYTES} bytes."
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return HTTPStatus.BAD_REQUEST, "That is no JSON."
        return answer(asked)

    def answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", self.server.csp)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: the terminal is for the example."""


@contextlib.contextmanager
def page_served(
    pages: PageServer, folder: Path, server: Server, told: Mapping[str, Any]
) -> Iterator[None]:
    """Serve the files of ``folder``, and in ``/server.js`` the client of ``server``.

    ``told``: more that the page is told, as JSON values by name.
    """
    url = server.url
    http = url.replace("ws://", "http://").removesuffix("/v1")
    exported = {"url": url, **told}
    if server.http_url is not None:
        exported["api"] = server.http_url
    lines = [f"export {{ connect }} from {json.dumps(http + '/client.js')};"]
    lines += [f"export const {name} = {json.dumps(value)};" for name, value in exported.items()]
    files = {
        f"/{path.name}": (TYPES[path.suffix], path.read_bytes())
        for path in [*folder.iterdir(), Path(__file__).with_name("page.css")]
    }
    pages.files = files | {"/server.js": (TYPES[".js"], "\n".join(lines).encode())}
    pages.csp = (
        f"default-src 'none'; script-src 'self' {http}; style-src 'self';"
        f" connect-src 'self' {url} {server.http_url or ''};"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    thread = threading.Thread(target=pages.serve_forever, name="page")
    thread.start()
    try:
        yield
    finally:
        pages.shutdown()
        thread.join()


async def serve(
    folder: Path,
    stream: Stream,
    told: Mapping[str, Any],
    ports: tuple[int, int],
    backend: Backend = NONE,
) -> None:
    """Serve until cancelled, or until ``stream`` fails. Raises OSError where a port is taken."""
    port, page_port = ports
    with PageServer((HOST, page_port), Handler) as pages:
        pages.posts = backend.posts
        settings = Settings(host=HOST, port=port, allow_origins=pages.origins(), **backend.settings)
        async with (
            Server(settings) as server,
            omendb_ws.connect(server.url, get_token=backend.get_token) as db,
        ):
            with page_served(pages, folder, server, told):
                print(
                    f"Open {pages.origins()[0]}/ (its server: {server.url}; Ctrl-C ends it)",
                    flush=True,
                )
                await stream(db)


def run(
    name: str, folder: Path, stream: Stream, told: Mapping[str, Any], backend: Backend = NONE
) -> None:
    """The command line of an example: ``python -m examples.NAME``."""
    parser = argparse.ArgumentParser(prog=f"python -m examples.{name}")
    parser.add_argument("--port", type=int, default=8765, help="the server's; 0 takes a free one")
    parser.add_argument("--page-port", type=int, default=8000, help="the page's; 0 likewise")
    arguments = parser.parse_args()
    try:
        ports = (arguments.port, arguments.page_port)
        asyncio.run(serve(folder, stream, told, ports, backend))
    except KeyboardInterrupt:
        pass
    except ExtraMissing as error:
        parser.exit(2, f"{error}\n")
    except OSError as error:
        why = os.strerror(error.errno) if error.errno is not None else error
        taken = f"ports {arguments.port} and {arguments.page_port}"
        parser.exit(1, f"cannot serve at {taken}: {why}; --port 0 --page-port 0 take free ports\n")
