"""Server-sent events read as browsers read them (the WHATWG's "event stream interpretation").

Written from that text alone, so that what the server writes is held to something else than itself.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Read(NamedTuple):
    """An event as a page gets it; ``id`` is the last one seen by then."""

    name: str
    data: str
    id: str


class EventReader:
    """Takes bytes as they come. ``comments``: how many came; ``retry_ms``: the last said."""

    def __init__(self) -> None:
        self.last_id = ""
        self.comments = 0
        self.retry_ms: int | None = None
        self._rest = b""
        self._data: list[str] = []
        self._name = ""
        self._next_id = ""

    def feed(self, data: bytes) -> list[Read]:
        """The events that ``data`` ends. (A stream that ends in the middle of one drops it.)"""
        *lines, self._rest = _LINE_END.split(self._rest + data)
        found = []
        for line in lines:
            event = self._line(line.decode())
            if event is not None:
                found.append(event)
        return found

    def _line(self, line: str) -> Read | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            self.comments += 1
            return None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._next_id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Read | None:
        self.last_id = self._next_id
        data, name = self._data, self._name or "message"
        self._data, self._name = [], ""
        return Read(name, "\n".join(data), self.last_id) if data else None
