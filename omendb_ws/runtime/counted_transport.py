"""A transport that counts what it is given to write. All else is the other one's, as it is."""

from __future__ import annotations

import asyncio
from typing import Any


class CountedTransport(asyncio.Transport):
    """``written_bytes``: all that ``write`` was given. The methods are those that HTTP needs."""

    def __init__(self, counted: asyncio.Transport) -> None:
        super().__init__()
        self.written_bytes = 0
        self._counted = counted

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ``asyncio.Transport``."""
        self.written_bytes += len(data)
        self._counted.write(data)

    def is_closing(self) -> bool:
        """See ``asyncio.Transport``."""
        return self._counted.is_closing()

    def get_write_buffer_size(self) -> int:
        """See ``asyncio.Transport``."""
        return self._counted.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See ``asyncio.Transport``."""
        return self._counted.get_extra_info(name, default)

    def can_write_eof(self) -> bool:
        """See ``asyncio.Transport``."""
        return self._counted.can_write_eof()

    def write_eof(self) -> None:
        """See ``asyncio.Transport``."""
        self._counted.write_eof()

    def close(self) -> None:
        """See ``asyncio.Transport``."""
        self._counted.close()

    def abort(self) -> None:
        """See ``asyncio.Transport``."""
        self._counted.abort()
