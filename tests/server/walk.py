"""A fault in every call between a request and its reply, one after the other.

``Injector`` watches the calls that the project's functions make of each other, on the loop's thread
or on the engine's: it notes them, or raises a ``MemoryError`` instead of the first one of a kind
(who is called by whom). What the event loop or a thread calls is not counted: where a call like
that fails nothing of ours has begun. Nor a ``__del__`` and what it leads to: what that raises is
dropped.

``Side`` is a connection without a socket: a session whose outbox the test empties.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Literal

import omendb_core
import orjson

import omendb_ws
from omendb_ws.access.principal import OPEN
from omendb_ws.node.node import Node
from omendb_ws.sessions.receive import Receiver
from omendb_ws.wire import binary_replies
from omendb_ws.wire.messages import Live, Rows

from .raw import PATIENCE_SECONDS, Raw, settings

#: The others are those of the store and of logs, and helpers that wait for what the loop cannot.
Thread = Literal["loop", "engine", "others"]

_ROOTS = tuple(str(Path(package.__file__ or "").parent) for package in (omendb_core, omendb_ws))


class Injector:
    """Raises at one call of a thread, or notes all of them.

    ``call`` None: only notes, in ``seen``. ``has_raised``: once it has. ``within``: only calls of
    functions in files under these folders of the project, or in these files; none: all.
    """

    def __init__(self, on: Thread, call: str | None = None, within: tuple[str, ...] = ()) -> None:
        self.on = on
        self.call = call
        self._within = within
        self.seen: dict[str, None] = {}
        self.has_raised = False
        self._is_armed = self._is_watching = False
        self._loop_thread = threading.get_ident()
        self._known: dict[CodeType, bool] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch threads that start in here, or this one, which is the loop's: while armed."""
        self._is_watching = True
        if self.on != "loop":
            threading.setprofile(self._profile)
        self._watch_loop()
        try:
            yield
        finally:
            self._is_watching = False
            threading.setprofile(None)
            sys.setprofile(None)

    @property
    def is_armed(self) -> bool:
        """Whether calls are noted, and one may fail. Set on the loop's thread."""
        return self._is_armed

    @is_armed.setter
    def is_armed(self, value: bool) -> None:
        self._is_armed = value
        self._watch_loop()

    def _watch_loop(self) -> None:
        """Each call that is watched costs as much as itself: none that need not be."""
        if self.on == "loop" and self._is_watching:
            sys.setprofile(self._profile if self._is_armed else None)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """What is called in here is the test's own."""
        was_armed, self.is_armed = self.is_armed, False
        try:
            yield
        finally:
            self.is_armed = was_armed

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not self._is_armed or self.has_raised:
            return
        before = frame.f_back
        if before is None or not (self._is_ours(frame.f_code) and self._is_ours(before.f_code)):
            return
        if (threading.get_ident() == self._loop_thread) != (self.on == "loop"):
            return
        if self.on != "loop":
            is_engine = threading.current_thread().name == "omendb-engine"
            if is_engine != (self.on == "engine"):
                return
        if self._within and not any(one in frame.f_code.co_filename for one in self._within):
            return
        at: FrameType | None = frame
        while at is not None and self._is_ours(at.f_code):
            if at.f_code.co_name == "__del__":
                return
            at = at.f_back
        call = f"{frame.f_code.co_qualname} by {before.f_code.co_qualname}"
        self.seen[call] = None
        if call == self.call:
            self.has_raised = True
            raise MemoryError(f"on purpose, instead of {call}")

    def _is_ours(self, code: CodeType) -> bool:
        known = self._known.get(code)
        if known is None:
            known = self._known[code] = code.co_filename.startswith(_ROOTS)
        return known


class Side(Raw):
    """What ``Raw`` is over a socket, over channels."""

    def __init__(self, node: Node, injector: Injector) -> None:
        self._injector = injector
        self.session = node.open_session(OPEN)
        self._receiver = Receiver(self.session)
        self._filled = asyncio.Event()
        self._unread: list[str | bytes] = []
        self.session.outbox.on_filled = self._filled.set
        self.hello: dict[str, Any] = {}
        self.events: list[dict[str, Any] | Live | Rows] = []
        self.replies: dict[int, Any] = {}
        self.order: list[Any] = []
        self._last_id = 0

    async def send_text(self, text: bytes | str) -> None:
        self._receiver.receive(text if isinstance(text, str) else text.decode())

    async def send_binary(self, frame: bytes) -> None:
        self._receiver.receive(frame)

    async def message(self) -> Any:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._unread:
                batch = self.session.outbox.take()
                if batch.messages:
                    self._unread += [
                        bytes(one.data).decode() if one.is_text else bytes(one.data)
                        for one in batch.messages
                    ]
                    self.session.outbox.sent(batch)
                else:
                    await self._filled.wait()
                    self._filled.clear()
        with self._injector.resting():
            return self._decoded(self._unread.pop(0))

    def _decoded(self, data: str | bytes) -> Any:
        if isinstance(data, bytes):
            decoded: Any = binary_replies.decode_incoming(data)
            if isinstance(decoded, Live | Rows):
                self.events.append(decoded)
            else:
                assert decoded[0] not in self.replies, "a second reply"
                self.replies[decoded[0]] = decoded[1]
        else:
            decoded = orjson.loads(data)
            if "event" in decoded:
                self.events.append(decoded)
            else:
                assert decoded["id"] not in self.replies, "a second reply"
                self.replies[decoded["id"]] = decoded
        self.order.append(decoded)
        return decoded


@asynccontextmanager
async def started(injector: Injector, **fields: Any) -> AsyncIterator[Node]:
    """A node whose engine is watched."""
    open_store: Callable[[str], Any] | None = fields.pop("open_store", None)
    chosen = settings(scan_threads=1, **fields)
    node = Node(chosen) if open_store is None else Node(chosen, open_store=open_store)
    with injector.watching():
        node.start()
        try:
            yield node
        finally:
            injector.is_armed = False
            await node.stop()
