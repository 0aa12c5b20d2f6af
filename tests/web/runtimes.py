"""Node and Chromium as tests see them: something that runs pieces of JavaScript.

``await runtime.run(code)`` runs the body of an async function and returns what that returns, as
JSON. Everything that ``client.js`` exports is global; variables that shall stay are made properties
of ``globalThis``. Chromium is spoken to over its DevTools protocol.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self

from websockets.asyncio.client import ClientConnection, connect

import omendb_ws
from tests import patience

CLIENT = Path(omendb_ws.__file__).parent / "web" / "client.js"
RUNNER = Path(__file__).parent / "runner.mjs"
PATIENCE_SECONDS = patience.PATIENCE_SECONDS


class JavaScriptError(Exception):
    """What the JavaScript threw, with its stack."""


class Runtime(Protocol):
    """Something that runs JavaScript."""

    async def run(self, code: str) -> Any: ...


class Node:
    """A process of Node. Version 20 has a WebSocket behind a flag, later ones without."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def started(cls) -> AsyncIterator[Self]:
        process = await asyncio.create_subprocess_exec(
            "node", *websocket_flags(), str(RUNNER), str(CLIENT),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 24,
        )  # fmt: skip
        try:
            yield cls(process)
        finally:
            process.kill()
            await process.wait()

    async def run(self, code: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"code": code}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = json.loads(await self._process.stdout.readline())
        if "error" in answer:
            raise JavaScriptError(answer["error"])
        return answer.get("value")


class Page:
    """One tab of Chromium. ``errors``: what its console said at level error, and what it threw;
    ``requests``: every address that it asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())
        self.loaded = asyncio.Event()
        self.errors: list[str] = []
        self.requests: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        id = next(self._ids)
        answered = self._replies[id] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": id, "method": method, "params": params}))
        async with asyncio.timeout(PATIENCE_SECONDS):
            reply = await answered
        assert "error" not in reply, (method, reply)
        return dict(reply.get("result", {}))

    async def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.loaded.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.loaded.wait()

    async def import_client(self) -> None:
        """Make what the server's client exports global."""
        await self.run('Object.assign(globalThis, await import("/client.js"))')

    async def run(self, code: str) -> Any:
        """What ``code``, the body of an async function, returns."""
        result = await self.call(
            "Runtime.evaluate",
            expression=f"(async () => {{ {code} }})()",
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in result:
            thrown = result["exceptionDetails"].get("exception", {})
            raise JavaScriptError(thrown.get("description") or str(thrown.get("value")))
        return result["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until the expression is true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.run(
                f"while (!({condition})) await new Promise((done) => setTimeout(done, 20));"
            )

    async def press(self, key: str) -> None:
        """Press and release a key that writes nothing, by its name."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}.get(key, 0)
        # What Enter does, a button does when it hears of a character.
        down = {"type": "keyDown", "text": "\r"} if key == "Enter" else {"type": "rawKeyDown"}
        for how in (down, {"type": "keyUp"}):
            await self.call(
                "Input.dispatchKeyEvent", **how, key=key, code=key, windowsVirtualKeyCode=code
            )

    async def nameless(self, roles: set[str]) -> list[str]:
        """The roles of what has one of ``roles`` and no name, as assistive technology sees it."""
        await self.call("Accessibility.enable")
        tree = await self.call("Accessibility.getFullAXTree")
        seen = [node for node in tree["nodes"] if not node["ignored"]]
        found = [(node["role"]["value"], node.get("name", {}).get("value")) for node in seen]
        assert roles <= {role for role, _ in found}, roles
        return [role for role, name in found if role in roles and not name]

    async def look(self, *, width: int, height: int, dark: bool, phone: bool = False) -> None:
        """Make it of that size, and of that theme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self) -> bytes:
        """A PNG of what it shows."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])

    async def close(self) -> None:
        """Close the tab."""
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message:
                self._replies.pop(message["id"]).set_result(message)
                continue
            method, params = message["method"], message["params"]
            if method == "Page.loadEventFired":
                self.loaded.set()
            elif method == "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"].get("exception", params)))
            elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
                if not params["entry"].get("url", "").endswith("/favicon.ico"):
                    self.errors.append(params["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            elif method == "Network.webSocketCreated":
                self.requests.append(params["url"])


class Chromium:
    """A headless browser; ``page`` opens a tab of its own."""

    def __init__(self, address: str) -> None:
        self._address = address

    @classmethod
    @contextmanager
    def started(cls, directory: Path) -> Iterator[Self]:
        """Start one, with a profile in ``directory``."""
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))))
        command = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--remote-debugging-port=0",
            f"--user-data-dir={directory}", "about:blank",
        ]  # fmt: skip
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(command, stderr=log, stdout=log, env=dict(os.environ))
        try:
            yield cls(_devtools_address(process, directory / "log"))
        finally:
            process.terminate()
            process.wait()

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """An empty tab, closed after the block."""
        target = await asyncio.to_thread(self._ask, "PUT", "/json/new?about:blank")
        async with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await page.call(f"{domain}.enable")
            try:
                yield page
            finally:
                await page.close()
        await asyncio.to_thread(self._ask, "PUT", f"/json/close/{target['id']}")

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self._address + path, method=method)
        with urllib.request.urlopen(request) as response:
            body = response.read()
        return json.loads(body) if body.startswith(b"{") else body


@lru_cache
def websocket_flags() -> tuple[str, ...]:
    """What Node needs to have WebSockets."""
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    is_old = int(told.stdout.lstrip("v").split(".")[0]) < 22
    return ("--experimental-websocket", "--no-warnings") if is_old else ()


def _devtools_address(process: subprocess.Popen[bytes], log: Path) -> str:
    said = "DevTools listening on ws://"
    while said not in (text := log.read_text("utf-8", "replace")):
        assert process.poll() is None, text
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    return "http://" + text.split(said)[1].split("/")[0]


@contextmanager
def browser() -> Iterator[Chromium]:
    """A Chromium with a profile of its own, which is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="omendb-", ignore_cleanup_errors=True) as directory,
        Chromium.started(Path(directory)) as found,
    ):
        yield found


def missing() -> list[str]:
    """Programs that these tests need and this machine lacks."""
    found = {name: shutil.which(name) for name in ("node", "npm")}
    found["chromium"] = shutil.which("chromium") or shutil.which("chromium-browser")
    return [name for name, path in found.items() if path is None] if sys.platform != "win32" else []
