"""Messages as a socket takes them, and pushes of them, which somebody hears went out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Message(NamedTuple):
    """One message in UTF-8 or binary, in ``parts`` so that pushes may share a body."""

    parts: tuple[bytes | memoryview, ...]
    is_text: bool

    @property
    def size_bytes(self) -> int:
        """The length of the message."""
        parts = self.parts
        return len(parts[0]) if len(parts) == 1 else sum(map(len, parts))

    @property
    def data(self) -> bytes:
        """The whole message."""
        first = self.parts[0]
        return first if len(self.parts) == 1 and isinstance(first, bytes) else b"".join(self.parts)


def text(data: bytes) -> Message:
    """A text message."""
    return Message((data,), True)


def binary(data: bytes) -> Message:
    """A binary message."""
    return Message((data,), False)


@dataclass(slots=True, eq=False)
class Pushed:
    """Messages that go out together as one push of ``size_bytes``."""

    messages: Sequence[Message]
    size_bytes: int

    @property
    def maker(self) -> object:
        """Whose push it is: a subscription."""
        return None

    def went_out(self) -> None:
        """The socket took it. Not called if the connection ends before."""
