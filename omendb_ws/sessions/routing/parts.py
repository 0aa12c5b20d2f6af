"""What passing messages on to other nodes needs: the directory, the secret, connections.

``net/`` opens the connections (``Line``); a server by itself has none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from ...access.principal import Principal
from ...cluster.directory import Directory, Node
from ...wire.messages import Request, Said

#: How what one node says to another for itself begins, and not for a client: nothing that a client
#: sends is passed on if it begins so. Then a letter of these.
OF_NODES: Final = b"\xdc"
SPEAK: Final = OF_NODES + b"S"  #: for whom: what ``vouching.sign`` makes
SPOKEN: Final = OF_NODES + b"A"  #: its answer, once that holds: the number
BIND: Final = OF_NODES + b"B"  #: what a handle of the client's means
AT_LEAST: Final = OF_NODES + b"V"  #: reads of a collection wait for that version, from now on
MARK_BYTES: Final = 2
#: What handles mean, and which versions of which collections are waited for: so many of each are
#: remembered at both ends of a link, and the one that was told first is forgotten first at both, so
#: that neither counts on what the other has forgotten.
MOST_TOLD: Final = 1 << 16


def forget_first(told: dict[Any, Any]) -> Any:
    """Forget what was told first, if that is more than is remembered; which it was, or None."""
    if len(told) <= MOST_TOLD:
        return None
    first = next(iter(told))
    del told[first]
    return first


class LineUser(Protocol):
    """Who has a line."""

    def opened(self) -> None:
        """It may be sent to."""

    def heard(self, data: bytes, is_text: bool) -> None:
        """A whole message."""

    def lost(self, why: str) -> None:
        """It is gone, or could not be had; nothing comes after this. Not after ``Line.close``."""


class Line(Protocol):
    """A connection to another node."""

    @property
    def heard_count(self) -> int:
        """Grows with whatever comes, be it an answer to ``look``."""

    def send(self, message: bytes | str) -> None:
        """Send a message, once it is open, behind those before."""

    def look(self) -> None:
        """Have the other node say that it is there."""

    def hold(self) -> None:
        """Hear nothing until ``go_on``."""

    def go_on(self) -> None:
        """Hear what comes."""

    def close(self) -> None:
        """Let go of it."""


OpenLine: TypeAlias = Callable[[Node, LineUser], Line]


@dataclass(frozen=True, slots=True)
class ClusterParts:
    """One node's, for all its sessions. ``look_seconds``: how often it is looked whether a node
    that owes an answer is there."""

    directory: Directory
    cluster: str
    secret: bytes
    open_line: OpenLine
    look_seconds: float = 0.5


class Routes(Protocol):
    """What a session asks that is in a cluster."""

    def is_again(self, message: Said) -> bool:
        """Whether a message has waited for others' answers, and was counted and let in then."""

    def passes_on(self, message: Said, request: Request | None = None) -> bool:
        """Whether another node answers a message, which it is sent; ``request``: what it says,
        where that was read already."""

    def tell(self, principal: Principal, then: Callable[[], None]) -> None:
        """Have other nodes act as ``principal`` from now on, and call ``then`` when they do."""
