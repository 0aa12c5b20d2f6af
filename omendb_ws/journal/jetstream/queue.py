"""What is queued for a stream, and how it becomes messages. On the connection's thread, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from omendb_core.model.types import WindowLimits

from ..interface import Logged, Manifest
from ..local.contents import body_of
from ..local.files import Buffer
from ..local.groups import Done, Queued, Turn
from ..local.records import Body
from ..local.tracker import Tracker
from .checkpoints import checkpoint_body
from .followed import Followed
from .records import (
    ENVELOPE_BYTES,
    HEADER_BYTES,
    MESSAGE_BYTES,
    Broken,
    Record,
    encode,
    group_message,
    part_messages,
)
from .statements import Statement

#: What comes together goes as one message of about so much: of half of it a row takes more of
#: NATS, where it is on three servers, and more of this thread.
GROUP_BYTES: Final = 512 << 10
#: A checkpoint is written again behind so much.
CHECKPOINT_BYTES: Final = 64 << 20


@dataclass(slots=True)
class Sent:
    """Something on its way into the stream; ``checksum`` None: a pass of compaction ends."""

    queued: Queued
    checksum: int | None
    begins_pass: bool = False


class Writing:
    """Makes messages for one reign: the records' term, each one's predecessor, checkpoints."""

    def __init__(
        self, manifest: Manifest, followed: Followed, limits: WindowLimits, most_bytes: int
    ) -> None:
        self._manifest = manifest
        self._followed = followed
        self._term = followed.judge.term
        self._chain = followed.judge.chain
        self._tracker = Tracker(manifest.definition, limits, followed.tracker.checkpoint())
        self._part_bytes = most_bytes - ENVELOPE_BYTES
        self._group_bytes = min(GROUP_BYTES, self._part_bytes)
        self._since_checkpoint = 0
        self._made: tuple[Logged, Body] | None = None
        #: Whether the end of a pass was what ``messages`` took last.
        self.has_ended_pass = False
        #: What is sent and has not come back, oldest first.
        self.sent: deque[Sent] = deque()

    def came_back(self, record: Record) -> Sent:
        """What of ours a record is that counts, the next of what was sent. Broken."""
        if not self.sent or self.sent[0].checksum != record.checksum:
            raise Broken("it holds what this node, its owner, did not append")
        one = self.sent.popleft()
        logged = one.queued[0]
        if not isinstance(logged, Turn | Done):
            self._followed.tracker.follow(logged)
        return one

    def end_pass(self) -> bool:
        """Whether a pass of compaction is over: all of its rows have come back."""
        is_over = bool(self.sent) and self.sent[0].checksum is None
        if is_over:
            self.sent.popleft()
        return is_over

    def give_up(self) -> list[Queued]:
        """What has not come back, and never will."""
        gone = [one.queued for one in self.sent]
        self.sent.clear()
        return gone

    def messages(self, queue: deque[Queued], *, is_alone: bool) -> Sequence[bytes]:
        """The next messages of what is queued, which is taken out: one, or some to be stored as
        one. None where that must wait until nothing else is on its way (``is_alone``).

        ValueError if the next change is too large for a stream.
        """
        head = queue[0][0]
        self.has_ended_pass = isinstance(head, Done)
        if isinstance(head, Done):
            self.sent.append(Sent(queue.popleft(), None))
            return []
        if isinstance(head, Turn) or self._since_checkpoint >= CHECKPOINT_BYTES:
            return self._checkpoint(queue, is_alone)
        body = self._next_body(head)
        if body.payload_bytes + HEADER_BYTES + MESSAGE_BYTES > self._part_bytes:
            if not is_alone:
                return []
            buffers, checksum = encode(body, self._term, self._chain)
            messages = part_messages(buffers, self._part_bytes)
            self._take(queue, body, checksum)
            return messages
        return [self._group(queue)]

    def _group(self, queue: deque[Queued]) -> bytes:
        """As many records as a message takes; the first one fits."""
        buffers: list[Buffer] = []
        size = MESSAGE_BYTES
        while queue and not isinstance(queue[0][0], Turn | Done):
            body = self._next_body(queue[0][0])
            size += HEADER_BYTES + body.payload_bytes
            if buffers and size > self._group_bytes:
                break
            made, checksum = encode(body, self._term, self._chain)
            buffers += made
            self._take(queue, body, checksum)
        return group_message(buffers)

    def _next_body(self, logged: Logged) -> Body:
        """Its record, kept until it is taken; what was refused meanwhile never is."""
        if self._made is None or self._made[0] is not logged:
            self._made = logged, body_of(logged)
        return self._made[1]

    def _take(self, queue: deque[Queued], body: Body, checksum: int) -> None:
        queued = queue.popleft()
        self._made = None
        self._chain = checksum
        self._since_checkpoint += body.payload_bytes
        assert not isinstance(queued[0], Turn | Done)
        self._tracker.follow(queued[0])
        self.sent.append(Sent(queued, checksum))

    def _checkpoint(self, queue: deque[Queued], is_alone: bool) -> Sequence[bytes]:
        """The messages of a checkpoint; a pass that begins with it is taken out of the queue."""
        head, checkpoint = queue[0][0], self._tracker.checkpoint()
        stated = head.stated if isinstance(head, Statement) else None
        if stated is not None and stated.version != checkpoint.version:
            stated = None
        body = checkpoint_body(self._manifest, checkpoint, stated)
        buffers, checksum = encode(body, self._term, self._chain)
        if body.payload_bytes + HEADER_BYTES + MESSAGE_BYTES > self._part_bytes:
            if not is_alone:
                return []
            messages = part_messages(buffers, self._part_bytes)
        else:
            messages = [group_message(buffers)]
        queued: Queued = queue.popleft() if isinstance(head, Turn) else (Turn(), None, 0)
        self._chain = checksum
        self._since_checkpoint = 0
        begins_pass = isinstance(head, Turn) and not isinstance(head, Statement)
        self.sent.append(Sent(queued, checksum, begins_pass))
        return messages
