"""What an HTTP connection receives: heads within bounds, bodies as somebody takes them.

Subclasses uvicorn's protocol over httptools, which parses requests and writes responses. Here is
what that leaves open: how large a head may be, how much of a body there may be before somebody
takes it, how many requests may wait behind one another, and what to say to what is no request. It
leans on ``cycle``, ``flow``, ``pipeline``, ``scope`` and the parser's callbacks; tests hold each
use. The other half is ``connection.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from omendb_core.model.errors import BadRequest
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from ...telemetry.metrics import HttpNumbers
from . import offers
from .body import Body
from .refusals import Refused

#: As on the WebSocket's port (PROTOCOL section 10).
HEAD_BYTES: Final = 32 << 10
HEAD_LINES: Final = 128
LINE_BYTES: Final = 8 << 10
#: Of a body that nobody has taken yet, with so much nothing more is read.
_UNTAKEN_BYTES: Final = 256 << 10
#: What comes in smaller pieces is weighed when all connections are.
_STEP_BYTES: Final = 4096
#: What a header takes beside its name and its value, at the least.
_FIELD_BYTES: Final = len(b":\r\n")
#: Requests that wait for the one before them; more is no client but a flood.
_PIPELINED: Final = 32
#: What comes within it is passed over, behind what was no request.
_LINGER_SECONDS: Final = 1.0
_OVER_HEAD_BYTES: Final = "its head is over 32 KiB"
#: uvicorn says a line of every request that is none, which may be a flood.
_quiet: Final = logging.getLogger("omendb_ws.uvicorn")
_quiet.setLevel(logging.ERROR)


class Pool(Protocol):
    """A crowd, as a member sees it."""

    def enter(self, member: Any) -> None:
        """Count a member in."""

    def leave(self, member: Any) -> None:
        """Count a member out."""

    def change(self, member: Any, to_bytes: int) -> None:
        """What it holds has changed."""

    def may_go_on(self, member: Any) -> bool:
        """Whether it may be read from."""


@dataclass(slots=True, eq=False)
class Port:
    """What all connections of one port share.

    ``max_body_bytes``: of a body that is refused, so much more is read before its connection ends.
    ``on_gone`` hears of each that is closed; ``numbers`` are for ``/metrics``.
    """

    config: Config
    strangers: Pool
    known: Pool
    admits: Callable[[int], bool]
    max_body_bytes: int
    idle_seconds: float
    stall_seconds: float
    state: ServerState
    numbers: HttpNumbers
    on_gone: Callable[[], None]


class Receiving(HttpToolsProtocol):
    """A connection that can be received from. ``is_rationed``: it is others' turn to be read."""

    def __init__(self, port: Port) -> None:
        super().__init__(port.config, port.state, {"connection": self})
        self.logger = _quiet
        self.port = port
        self.is_rationed = False
        self.body = Body(_nothing)
        #: What of a request is being received.
        self.part: Literal["none", "head", "body"] = "none"
        self.head_bytes = 0
        #: Of the head that is being parsed; the whole of it may have come at once.
        self._head_lines = self._parsed_bytes = 0
        self._discarded_bytes = 0
        #: When something was done last that a client is not waited for after.
        self.moved_at = self.body_began_at = self.loop.time()
        #: When the request that is next was whole, or it was its turn.
        self.asked_at = self.moved_at
        self._fault: Refused | None = None
        self._is_over = False
        #: Of a request that offers another protocol: the head that its body is read by, and
        #: whether that is being parsed.
        self._body_head = b""
        self._is_said_again = self._is_offer_ignored = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        cycle: Any = self.cycle  # None before the first one
        return cycle is not None and not cycle.response_complete

    def weigh(self) -> None:
        """What it holds may be more or less than was known."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Parse it."""
        if self._is_over or self.transport.is_closing():
            return
        was_in_head = self.part == "head"
        if self.part == "none":
            self.moved_at = self.loop.time()
        self._parse(data)
        if self.part == "head" and not self._is_over:
            # Of what it began in, it may be the last byte.
            self.head_bytes = self.head_bytes + len(data) if was_in_head else 1
            if self.head_bytes > HEAD_BYTES:
                self._fault = _too_large_head(_OVER_HEAD_BYTES)
                self.send_400_response("")
        if len(data) > _STEP_BYTES:
            self.weigh()

    def _parse(self, data: bytes) -> None:
        try:
            while data:
                data = self._parse_on(data)
        except HttpParserError:
            self.send_400_response("")

    def _parse_on(self, data: bytes) -> bytes:
        """Parse it, up to the end of a head that offers another protocol; what is behind that."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as offered:
            if self._is_over:
                return b""
            rest = data[offered.args[0] :]
        else:
            return b""
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        head, self._body_head = self._body_head, b""
        if head:
            self._is_said_again = True
            try:
                self.parser.feed_data(head)
            finally:
                self._is_said_again = False
        return rest

    def on_message_begin(self) -> None:
        """Another request begins."""
        if self._is_said_again:
            return
        super().on_message_begin()
        self.part = "head"
        self._head_lines = self._parsed_bytes = 0
        self.body = self.scope["state"]["body"] = Body(_nothing)

    def on_url(self, url: bytes) -> None:
        """See ``on_header``."""
        if self._is_said_again:
            return
        super().on_url(url)
        self._parsed_bytes += len(url)
        if len(self.url) > LINE_BYTES:
            self._fail(_too_large_head("its first line is over 8 KiB"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count them. Those behind a body are passed over: a proxy has not looked at them."""
        if self._is_said_again:
            return
        self._head_lines += 1
        if self._head_lines > HEAD_LINES or len(name) + len(value) > LINE_BYTES:
            self._fail(_too_large_head("its head has more than 128 lines, or one of over 8 KiB"))
        self._parsed_bytes += len(name) + len(value) + _FIELD_BYTES
        if self._parsed_bytes > HEAD_BYTES:
            self._fail(_too_large_head(_OVER_HEAD_BYTES))
        if self.part == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: the request begins, or waits for the one before it."""
        if self._is_said_again:
            return
        if len(self.pipeline) >= _PIPELINED:
            self._fail(Refused.of(BadRequest("too many requests that wait for another one")))
        if self.parser.should_upgrade():
            self._look_at_offer()
        super().on_headers_complete()
        self.part, self.head_bytes = "body", 0
        self.moved_at = self.body_began_at = self.loop.time()
        cycle = self.cycle
        self.body.ask = lambda: self._ask(cycle)

    def on_body(self, body: bytes) -> None:
        """More of a body: keep it until it is taken, or pass over it."""
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > self.port.max_body_bytes:
                self.transport.abort()
            return
        self.body.feed(body)
        if self.body.untaken_bytes > _UNTAKEN_BYTES:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._body_head:  # the parser takes it for one
            return
        self.part = "none"
        self._discarded_bytes = 0
        self.moved_at = self.asked_at = self.loop.time()
        self.body.finish()
        super().on_message_complete()
        if self.parser.should_upgrade() and not self._is_offer_ignored:
            self._is_over = True  # what follows may be no HTTP
            self.cycle.keep_alive = False

    def _look_at_offer(self) -> None:
        """Another protocol is offered, see ``offers.py``. Refused with a body if it is no offer."""
        method, headers = self.parser.get_method(), self.headers
        self._is_offer_ignored = offers.is_ignored(method, headers)
        if not offers.has_body(headers):
            return
        if not self._is_offer_ignored:
            self._fail(Refused.of(BadRequest("Upgrade: with a body it is not taken; leave it out")))
        self._body_head = offers.body_head(method, self.parser.get_http_version(), headers)

    def send_400_response(self, msg: str) -> None:
        """What is no request gets the error object, too."""
        fault = self._fault or Refused.of(BadRequest("not HTTP/1.1"))
        if self.part == "body":  # its own request is refused for that, unless it was answered
            self.part = "none"
            self.body.fail(fault)
        elif not self.is_busy:  # else it would be taken for another's answer
            self.port.numbers.answers[str(fault.status)] += 1
            head = [
                STATUS_LINE[fault.status],
                b"content-type: application/json\r\n",
                b"content-length: %d\r\n" % len(fault.body),
                b"connection: close\r\n\r\n",
            ]
            self.transport.write(b"".join((*head, fault.body)))
        self._end()

    def _end(self) -> None:
        """Close, in a moment: with bytes unread, the system would take back what was written."""
        self._is_over = True
        if self.is_busy:  # it closes behind its answer
            self.cycle.keep_alive = False
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _fail(self, fault: Refused) -> NoReturn:
        """From within the parser, which answers by ``send_400_response`` then."""
        self._fault = fault
        raise fault

    def _ask(self, cycle: Any) -> None:
        """A body is waited for: ask for it, or go on reading."""
        if cycle.waiting_for_100_continue and not self.transport.is_closing():
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.is_rationed:
            self.flow.resume_reading()


def _too_large_head(why: str) -> Refused:
    return Refused.of(BadRequest(f"the request: {why}"), 431)


def _nothing() -> None:
    """Nobody is to be asked."""
