"""Messages as a socket takes them, and pushes of them, which somebody hears went out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


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


class Run(NamedTuple):
    """Binary messages of ``each_bytes`` each, one behind the other: a thousand are one object."""

    data: bytes
    each_bytes: int

    @property
    def size_bytes(self) -> int:
        """The length of all of them."""
        return len(self.data)

    def messages(self) -> Iterator[Message]:
        """Each of them."""
        data, each_bytes = self.data, self.each_bytes
        for start in range(0, len(data), each_bytes):
            yield Message((data[start : start + each_bytes],), False)


class Numbered(NamedTuple):
    """Texts of one length that differ in a number: ``begins``, that number, ``ends``."""

    begins: bytes
    numbers: Sequence[bytes]
    ends: bytes

    @property
    def each_bytes(self) -> int:
        """The length of each of them."""
        return len(self.begins) + len(self.numbers[0]) + len(self.ends)


def numbered(begins: bytes, numbers: Sequence[int], ends: bytes) -> list[Numbered]:
    """A text for each of some natural numbers, at least one."""
    digits = [b"%d" % one for one in numbers]
    if len(b"%d" % min(numbers)) == len(b"%d" % max(numbers)):
        return [Numbered(begins, digits, ends)]
    by_length: dict[int, list[bytes]] = {}
    for one in digits:
        by_length.setdefault(len(one), []).append(one)
    return [Numbered(begins, some, ends) for some in by_length.values()]


#: What a batch for a socket is made of.
Messages: TypeAlias = Message | Run


def each(messages: Iterable[Messages]) -> Iterator[Message]:
    """One message after the other."""
    for one in messages:
        if isinstance(one, Run):
            yield from one.messages()
        else:
            yield one


def text(data: bytes) -> Message:
    """A text message."""
    return Message((data,), True)


def binary(data: bytes) -> Message:
    """A binary message."""
    return Message((data,), False)


@dataclass(slots=True, eq=False)
class Pushed:
    """Messages that go out together as one push of ``size_bytes``."""

    messages: Sequence[Messages]
    size_bytes: int

    @property
    def in_runs(self) -> int:
        """How many more messages there are than ``messages`` has elements."""
        return 0

    @property
    def maker(self) -> object:
        """Whose push it is: a subscription."""
        return None

    def apart(self) -> Sequence[Pushed]:
        """The same as pushes of one maker each."""
        return (self,)

    def went_out(self) -> None:
        """The socket took it. Not called if the connection ends before."""
