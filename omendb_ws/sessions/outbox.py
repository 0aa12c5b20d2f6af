"""One connection's unsent messages: a queue that nobody who fills it ever waits for.

Knows no socket: one writer takes from it what the socket can take, and says when that went out.
Lives on the loop's thread. A *push* is a message that was built beforehand; its maker keeps at
most one unsent and hears when it went out, which is what bounds pushes. A *source* is a place in
the queue whose message is made when its turn comes, so that it always says what is true then, and
never queues twice. Replies are bounded by the session, which stops reading while too many wait.

Invariant: ``reply_bytes`` and ``push_bytes`` count exactly what was put in and is not yet sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from ..runtime.faults import as_error
from ..wire.encoded import Message, Messages, Pushed

#: How much goes to the socket at once. Websockets on loopback move 64 KiB to 256 KiB fastest, and
#: what was handed over cannot be merged or taken back.
BATCH_BYTES: Final = 256 << 10
#: Messages that are made as their turn comes, of one batch: 6 µs each.
MADE_AT_ONCE: Final = 128


class Source(Protocol):
    """Something that is asked for its message when the socket can take one."""

    def take(self) -> Message | None:
        """The message of this moment, or None if there is nothing to say any more."""


class Close(NamedTuple):
    """The end of the connection, after everything before it in the queue."""

    code: int
    reason: str


@dataclass(slots=True, eq=False)
class _Push(Pushed):
    on_sent: Callable[[], None]
    by: object

    @property
    def maker(self) -> object:
        """See ``Pushed.maker``."""
        return self.by

    def went_out(self) -> None:
        self.on_sent()


@dataclass(slots=True)
class Batch:
    """What the writer took; ``close`` if the connection ends after it.

    ``made``: places of sources; ``has_made``: so many that the next batch is for another turn;
    ``in_runs``: how many more messages there are than ``messages`` has elements.
    """

    messages: list[Messages] = field(default_factory=list)
    reply_bytes: int = 0
    push_bytes: int = 0
    pushes: list[Pushed] = field(default_factory=list)
    made: int = 0
    in_runs: int = 0
    has_made: bool = False
    close: Close | None = None


class Outbox:
    """A queue of messages and of pushes that are built when their turn comes.

    ``on_filled``: there is something to look at, in a turn of the loop to come; ``on_sent``: it
    went out. A call that faults has queued nothing.
    """

    def __init__(self) -> None:
        self.reply_bytes = 0
        self.push_bytes = 0
        self.closed = False
        self.on_filled: Callable[[], None] = lambda: None
        self.on_sent: Callable[[Batch], None] = lambda batch: None
        self._entries: deque[Message | Pushed | Source | Close] = deque()
        self._waiting: set[Source] = set()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_empty(self) -> bool:
        """Whether everything went out."""
        return not self._entries and not self.reply_bytes and not self.push_bytes

    def reply(self, message: Message) -> None:
        """Queue a reply or an event that the client must get."""
        if not self.closed:
            size_bytes = message.size_bytes
            self._add(message)
            self.reply_bytes += size_bytes

    def push(self, message: Message, on_sent: Callable[[], None], maker: object = None) -> None:
        """Queue a push; ``on_sent`` is called once the socket took it, never if it closes."""
        self.push_all(_Push((message,), message.size_bytes, on_sent, maker))

    def push_all(self, push: Pushed) -> None:
        """Queue a push."""
        if not self.closed:
            self._add(push)
            self.push_bytes += push.size_bytes

    def offer(self, source: Source) -> bool:
        """Queue a place for ``source``; False if it is waiting for its turn already."""
        if self.closed or source in self._waiting:
            return False
        self._add(source)
        self._waiting.add(source)
        return True

    def drop_pushes(self, of: Container[object] | None = None) -> None:
        """Forget the pushes that were not handed over: of these makers, or all of them.

        To who made them it is as if they went out.
        """
        kept: deque[Message | Pushed | Source | Close] = deque()
        going: list[Pushed] = []
        for entry in self._entries:
            if isinstance(entry, Message | Close):
                kept.append(entry)
                continue
            if isinstance(entry, Pushed):
                for push in (entry,) if of is None else entry.apart():
                    (going if of is None or push.maker in of else kept).append(push)
            elif of is not None and entry not in of:
                kept.append(entry)
            else:
                self._waiting.discard(entry)
        self._entries = kept
        self.push_bytes -= sum(one.size_bytes for one in going)
        for one in going:
            one.went_out()

    def close(self, code: int, reason: str) -> None:
        """End the connection after everything queued so far; later messages are dropped."""
        if not self.closed:
            self._add(Close(code, reason))
            self.closed = True

    def discard(self) -> None:
        """The connection is gone: forget everything."""
        self.closed = True
        self._entries.clear()
        self._waiting.clear()
        self.reply_bytes = self.push_bytes = 0
        self.on_filled()

    def take(self) -> Batch:
        """The next messages, at least one and about ``BATCH_BYTES``; empty if there are none."""
        batch = Batch()
        while self._entries and batch.reply_bytes + batch.push_bytes < BATCH_BYTES:
            if batch.made >= MADE_AT_ONCE:
                batch.has_made = True
                break
            entry = self._entries[0]
            if isinstance(entry, Close):
                batch.close = entry
                self._entries.popleft()
                break
            try:
                self._take_one(entry, batch)
            except Exception as error:  # nothing was taken
                as_error(error, "taking a message out")
                self._take_one(entry, batch)
            self._entries.popleft()
        return batch

    def sent(self, batch: Batch) -> None:
        """``batch`` was taken by the socket."""
        self.reply_bytes = max(0, self.reply_bytes - batch.reply_bytes)
        self.push_bytes = max(0, self.push_bytes - batch.push_bytes)
        for push in batch.pushes:
            try:
                push.went_out()
            except Exception as error:  # its maker waits for this
                as_error(error, "a push that went out")
                push.went_out()
        try:
            self.on_sent(batch)
        except Exception as error:  # reading goes on with this
            as_error(error, "messages that went out")
            self.on_sent(batch)

    def _take_one(self, entry: Message | Pushed | Source, batch: Batch) -> None:
        if isinstance(entry, Message):
            batch.reply_bytes += entry.size_bytes
            batch.messages.append(entry)
        elif isinstance(entry, Pushed):
            in_runs = entry.in_runs  # first: a fault here has taken nothing
            batch.messages += entry.messages
            batch.in_runs += in_runs
            batch.push_bytes += entry.size_bytes
            batch.pushes.append(entry)
        else:
            self._waiting.discard(entry)
            batch.made += 1
            try:
                message = entry.take()
            except Exception as error:  # it has its next turn; what is in the batch goes out
                as_error(error, "a message whose turn came")
                message = None
            if message is not None:
                size_bytes = message.size_bytes
                batch.messages.append(message)
                batch.push_bytes += size_bytes
                self.push_bytes += size_bytes

    def _add(self, entry: Message | Pushed | Source | Close) -> None:
        self.on_filled()
        self._entries.append(entry)
