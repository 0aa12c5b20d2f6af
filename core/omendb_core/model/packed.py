"""The payloads of a batch on its way: one ``bytes``, and the length of each row.

A shape, as ``types`` are. A list of ``bytes`` takes 33 bytes a row and what the allocator rounds
to, and one that a JSON encoder made may hold on to the kilobytes that it was written into.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import Any, Final, overload

import numpy as np

from .types import U32, Bool1

#: The length of a payload that is not there.
NO_PAYLOAD: Final = 2**32 - 1


class PackedPayloads(Sequence[bytes | None]):
    """The payloads of a batch: ``data``, one behind the other, and ``lengths`` uint32 (n,).

    A row without one has the length NO_PAYLOAD.
    """

    __slots__ = ("data", "lengths")

    def __init__(self, data: bytes, lengths: U32) -> None:
        self.data = data
        self.lengths = lengths

    def some(self, which: Bool1) -> PackedPayloads:
        """Those of the rows that ``which`` bool (n,) marks."""
        return packed(compress(self, which.tolist()))

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[bytes | None]:
        data, end = self.data, 0
        for length in self.lengths.tolist():
            if length == NO_PAYLOAD:
                yield None
            else:
                start, end = end, end + length
                yield data[start:end]

    @overload
    def __getitem__(self, place: int) -> bytes | None: ...
    @overload
    def __getitem__(self, place: slice) -> list[bytes | None]: ...
    def __getitem__(self, place: int | slice) -> Any:
        return list(self)[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"packed({list(self)!r})"


def packed(payloads: Iterable[bytes | None]) -> PackedPayloads:
    """``payloads``, each taken before the next is asked for, as one."""
    if isinstance(payloads, PackedPayloads):
        return payloads
    if isinstance(payloads, list) and len(payloads) > 1:  # of one ``join`` would keep the object
        sizes = [NO_PAYLOAD if payload is None else len(payload) for payload in payloads]
        return PackedPayloads(b"".join(filter(None, payloads)), np.array(sizes, np.uint32))
    data, lengths = bytearray(), array("I")
    for payload in payloads:
        if payload is None:
            lengths.append(NO_PAYLOAD)
        else:
            lengths.append(len(payload))
            data += payload
    return PackedPayloads(bytes(data), np.frombuffer(lengths, np.uint32))
