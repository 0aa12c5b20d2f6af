"""One client's connection to one other node: greeted, vouched for, watched.

Messages wait here until the other node has said who it is. Whether it is there is looked at while
it owes anything: a node that stands still is as good as gone. Lives on the loop's thread; which
messages go here, and what becomes of their replies, is the router's.

Invariant: ``lost`` is called at most once, and not after ``close``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

import orjson

from ...access.peer import Peer
from ...access.principal import Principal
from ...access.vouching import Vouched, sign
from ...cluster.directory import Node
from ...runtime.faults import as_error
from ..context import Context
from .parts import (
    AT_LEAST,
    BIND,
    MARK_BYTES,
    OF_NODES,
    SPEAK,
    SPOKEN,
    ClusterParts,
    forget_first,
)

log = logging.getLogger(__name__)

#: Looks without an answer after which a node is gone; one that is not in the directory, sooner.
#: Looks and not seconds: whoever stood still itself hears what has come meanwhile first.
MOST_LOOKS: Final = 8
_LOOKS_IF_UNLISTED: Final = 2
#: Looks after which one that answers, but that the cluster misses, is given up: it is cut off from
#: NATS, so what it owes may not be decided for as long.
_LOOKS_IF_CUT_OFF: Final = 4


class LinkUser(Protocol):
    """The router: whose link it is."""

    context: Context

    @property
    def peer(self) -> Peer:
        """Where the client is."""

    def owes(self, link: Link) -> bool:
        """Whether the node owes it an answer."""

    def heard(self, link: Link, data: bytes, is_text: bool) -> None:
        """A reply or a push."""

    def lost(self, link: Link, why: str) -> None:
        """The node is gone, or cannot be reached."""


class Link:
    """To ``node``; ``number`` is its own among those of its client, from 1."""

    def __init__(
        self, parts: ClusterParts, node: Node, number: int, principal: Principal,
        first_sub: int, user: LinkUser,
    ) -> None:  # fmt: skip
        self.node = node
        self.number = number
        self.subs: set[int] = set()
        self.is_open = self.was_open = self.is_over = False
        self._parts = parts
        self._user = user
        self._principal = principal
        self._first_sub = first_sub
        self._challenge = ""
        self._said = 0
        self._when_spoken: dict[int, Callable[[], None]] = {}
        self._waiting: list[bytes | str] = []
        self._bound: dict[int, None] = {}
        #: The newest versions of collections that the node has stated, and that it was told of.
        self._stated: dict[str, int] = {}
        self._expected: dict[str, int] = {}
        #: Which collections of these names they were of.
        self._keys: dict[str, str] = {}
        self._is_held = False
        self._looks, self._heard_before, self._missed = 0, 0, 0
        self._line = parts.open_line(node, self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(parts.look_seconds, self._look)

    # -- what goes there --------------------------------------------------------------------------

    def send(self, message: bytes | str) -> None:
        """Send a message, behind those before."""
        if self.is_open:
            self._line.send(message)
        else:
            self._waiting.append(message)

    def bind(self, handle: int, name: str, epoch: str | None) -> None:
        """Have a handle of the client's mean that collection; ``epoch`` None: as it is now."""
        if handle not in self._bound:
            said = {"handle": handle, "collection": name, "epoch": epoch}
            self.send(BIND + orjson.dumps(said))
            self._bound[handle] = None
            forget_first(self._bound)

    def expect(self, collection: str, key: str, version: int) -> None:
        """Have reads of a collection wait for a version; 0: for none, as it is another now."""
        self._know(collection, key)
        told = self._expected.get(collection, 0)
        if version != told and not 0 < version <= self._stated.get(collection, 0):
            self._expected[collection] = version
            self._stated.pop(collection, None)
            said = {"collection": collection, "version": version}
            self.send(AT_LEAST + orjson.dumps(said))
            forget_first(self._expected)

    def states(self, collection: str, key: str, version: int) -> None:
        """The node has answered from that version."""
        self._know(collection, key)
        self._stated[collection] = max(version, self._stated.get(collection, 0))

    def _know(self, collection: str, key: str) -> None:
        """What was stated of another collection of that name says nothing of this one."""
        if self._keys.get(collection, key) != key:
            self._stated.pop(collection, None)
        self._keys[collection] = key
        self._stated.pop(forget_first(self._keys), None)

    def speak(self, principal: Principal, then: Callable[[], None] | None = None) -> None:
        """Speak for ``principal`` from now on; ``then`` is called once that holds, or it is over.

        Behind what was sent before.
        """
        self._principal = principal
        if not self.is_open:  # what waits is said for the newer one
            if then is not None:
                then()
            return
        self._say(then)

    def _say(self, then: Callable[[], None] | None) -> None:
        self._said += 1
        if then is not None:
            self._when_spoken[self._said] = then
        user = self._user
        vouched = Vouched(self._principal, user.peer, self._said, self._first_sub)
        now_seconds = user.context.wall_seconds()
        said = sign(self._parts.secret, self._challenge, self.node.name, vouched, now_seconds)
        self._line.send(SPEAK + said)

    def hold(self, must_hold: bool) -> None:
        """Hear nothing while the client takes too little, but who is there."""
        if must_hold is not self._is_held and not self.is_over:
            self._is_held = must_hold
            if self.is_open:
                self._looks = 0
                (self._line.hold if must_hold else self._line.go_on)()

    def close(self) -> None:
        """The client is gone."""
        self._end()
        self._line.close()

    # -- what comes (``LineUser``) ----------------------------------------------------------------

    def opened(self) -> None:
        """The other node says hello next."""

    def heard(self, data: bytes, is_text: bool) -> None:
        """A whole message."""
        if self.is_over:
            return
        try:
            if not self.is_open:
                self._greeted(data)
            elif not is_text and data[:1] == OF_NODES:
                self._spoken(data)
            else:
                self._user.heard(self, data, is_text)
        except Exception as error:
            as_error(error, "hearing another node")
            self.fail("it said what could not be heard")

    def lost(self, why: str) -> None:
        """The connection is gone."""
        if self.is_over:
            return
        log.info("the connection to node %s is gone: %s", self.node.name, why)
        waiting = list(self._when_spoken.values())
        self._end()
        self._user.lost(self, why)
        for then in waiting:
            then()

    def fail(self, why: str) -> None:
        """Have done with a node that cannot be talked to."""
        if not self.is_over:
            self._line.close()
            self.lost(why)

    def _greeted(self, data: bytes) -> None:
        hello = orjson.loads(data)
        if hello.get("event") != "hello":  # an error: no place, say
            self.fail(str(hello.get("message", "it does not say hello")))
            return
        who = (hello.get("node"), hello.get("cluster"))
        if who != (self.node.name, self._parts.cluster):
            self.fail(f"there is node {who[0]} of cluster {who[1]}")
            return
        self._challenge = hello["challenge"]
        self.is_open = self.was_open = True
        if self._is_held:
            self._line.hold()
        self._say(None)
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self._line.send(message)

    def _spoken(self, data: bytes) -> None:
        if data[:MARK_BYTES] == SPOKEN:
            then = self._when_spoken.pop(int(data[MARK_BYTES:]), None)
            if then is not None:
                then()

    # -- whether it is there ----------------------------------------------------------------------

    def _look(self) -> None:
        """Look whether the node is there, while it owes something."""
        if self.is_over:
            return
        self._timer = asyncio.get_running_loop().call_later(self._parts.look_seconds, self._look)
        owes = self._user.owes(self) or bool(self._when_spoken) or not self.is_open
        heard = self._line.heard_count
        is_held = self._is_held and self.is_open
        if not owes or is_held or heard != self._heard_before:
            self._looks, self._heard_before = 0, heard
        if not owes or is_held:
            self._missed = 0
            return
        self._looks += 1
        is_listed = any(one.name == self.node.name for one in self._parts.directory.nodes())
        self._missed = 0 if is_listed else self._missed + 1
        if self._missed > _LOOKS_IF_CUT_OFF:
            self.fail("the cluster misses it")
        elif self._looks > (MOST_LOOKS if is_listed else _LOOKS_IF_UNLISTED):
            self.fail("it does not answer")
        elif self.is_open:
            self._line.look()

    def _end(self) -> None:
        self.is_over = True
        self.is_open = False
        self._timer.cancel()
        self._when_spoken.clear()
        self._waiting.clear()
