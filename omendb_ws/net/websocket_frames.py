"""WebSocket frames as they lie in the stream (RFC 6455 section 5.2): cutting those that come,
heading those that go.

Most of what a client sends is whole messages, masked, each in one frame. ``Cutter`` takes these
itself, in about a microsecond; websockets' parser takes seven. Everything else (control frames,
fragments, messages that are too long, faults) it hands on byte for byte, in order, so that what the
RFC asks beyond whole messages stays that parser's business. Knows no socket.

Invariant: what is handed on ends at the end of a frame, or goes on with the rest of that frame.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Final, TypeAlias

from ..wire.encoded import Numbered
from ..wire.unread import FRAME_START, START_BYTES

#: A payload and the four bytes of its mask, to the payload.
Unmask: TypeAlias = Callable[[bytes, bytes], bytes]

_TEXT: Final = 0x1
_BINARY: Final = 0x2
_CONTINUATION: Final = 0x0
_CONTROLS: Final = (0x8, 0x9, 0xA)
_FINAL: Final = 0x80
WHOLE_TEXT: Final = _FINAL | _TEXT
WHOLE_BINARY: Final = _FINAL | _BINARY
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
#: What stands before a control frame of a client: it has at most 125 bytes.
CONTROL_HEAD_BYTES: Final = 2 + _MASK_BYTES
#: Lengths from here on stand in two bytes, or in eight.
_LENGTH_IN_TWO: Final = 126
_LENGTH_IN_EIGHT: Final = 127
#: First bytes after which more of the header is of interest; any other ends the connection.
_FRAMES: Final = frozenset(
    {_TEXT, _BINARY, _CONTINUATION, _FINAL | _CONTINUATION, WHOLE_TEXT, WHOLE_BINARY}
    | {_FINAL | one for one in _CONTROLS}
)
_UNTIL_THE_END: Final = 1 << 64
#: Of a binary message that is skipped: its mask, how it begins, its id (PROTOCOL section 3).
_MASK_AND_HEAD: Final = Struct("<III")
_HEAD_BYTES: Final = _MASK_AND_HEAD.size - _MASK_BYTES
_FRAME_START: Final = int.from_bytes(FRAME_START, "little")
#: What a piece takes besides its bytes: the object and its place in a list.
_PIECE_BYTES: Final = 56


#: A message, a long one in pieces, and whether it is text; or with None bytes for websockets'
#: parser. No class of its own: making one took a fifth of the time of ``take``.
Cut: TypeAlias = tuple[bytes | list[bytes], bool | None]
#: A message of so much is unmasked as it comes and handed over in pieces: to put 4 MB together, cut
#: them out, unmask and decode them took 6 ms at once, most of it for new memory.
_LONG_BYTES: Final = 1 << 20
_DECODER: Final = getincrementaldecoder("utf-8")


class _Long:
    """A long message that has begun: its payload, unmasked, and what stood before it."""

    __slots__ = ("_mask", "_masks", "_unmask", "head", "is_text", "missing_bytes", "pieces")

    def __init__(self, head: bytes, length: int, is_text: bool, unmask: Unmask) -> None:
        mask = head[-_MASK_BYTES:]
        self._masks = mask * 2
        self._mask = 0
        self._unmask = unmask
        self.head = head
        self.is_text = is_text
        self.missing_bytes = length
        self.pieces: list[bytes] = []

    def take(self, data: bytes) -> bytes:
        """Have what of ``data`` belongs to it; the rest."""
        part, rest = data, b""
        if len(data) > self.missing_bytes:
            part, rest = data[: self.missing_bytes], data[self.missing_bytes :]
        if part:
            mask = self._masks[self._mask : self._mask + _MASK_BYTES]
            self.pieces.append(self._unmask(part, mask))
            self._mask = (self._mask + len(part)) % _MASK_BYTES
            self.missing_bytes -= len(part)
        return rest

    def as_it_came(self) -> bytes:
        """Its bytes, masked again."""
        return self.head + self._unmask(b"".join(self.pieces), self._masks[:_MASK_BYTES])


def decoded(pieces: list[bytes]) -> str:
    """The text of a message in pieces. UnicodeDecodeError, as of the whole."""
    decoder = _DECODER()
    try:
        texts = [decoder.decode(piece) for piece in pieces]
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return b"".join(pieces).decode()
    return "".join(texts)


class Cutter:
    """The stream of one client, cut. ``max_message_bytes``: longer messages are handed on."""

    __slots__ = (
        "_at", "_chunks", "_data", "_held_bytes", "_long", "_long_bytes", "_passing_bytes",
        "_unmask", "_wanted_bytes", "max_message_bytes",
    )  # fmt: skip

    def __init__(self, max_message_bytes: int, unmask: Unmask) -> None:
        self.max_message_bytes = max_message_bytes
        self._unmask = unmask
        self._data = b""
        self._at = 0
        #: What came behind ``_data`` while it and they were less than ``_wanted_bytes``.
        self._chunks: list[bytes] = []
        self._held_bytes = self._wanted_bytes = 0
        self._long: _Long | None = None
        self._long_bytes = 0
        #: How much of a frame that began to be handed on is still to come.
        self._passing_bytes = 0

    @property
    def held_bytes(self) -> int:
        """How much came and was not taken."""
        return len(self._data) - self._at + self._held_bytes + self._long_bytes

    @property
    def frame_bytes(self) -> int:
        """The size of the whole message that has begun to come; 0 if that is not known."""
        return self._wanted_bytes

    @property
    def memory_bytes(self) -> int:
        """How much memory that takes: a piece of one byte takes sixty."""
        pieces = len(self._chunks) if self._long is None else len(self._long.pieces)
        return len(self._data) + self._held_bytes + self._long_bytes + _PIECE_BYTES * pieces

    def feed(self, data: bytes) -> None:
        """Take what came."""
        if self._long is not None and self._long.missing_bytes:
            rest = self._long.take(data)
            self._long_bytes += len(data) - len(rest)
            if not rest:
                return
            data = rest
        if self._at == len(self._data):
            self._data, self._at = data, 0
            return
        # A long message comes in many pieces: they are put together once, when all are there.
        self._chunks.append(data)
        self._held_bytes += len(data)
        if self.held_bytes >= self._wanted_bytes:
            self._data = b"".join([self._data[self._at :], *self._chunks])
            self._at = self._held_bytes = self._wanted_bytes = 0
            self._chunks.clear()

    def rest(self) -> bytes:
        """Everything that was not taken, as it came; it counts as taken."""
        long, self._long, self._long_bytes = self._long, None, 0
        began = b"" if long is None else long.as_it_came()
        rest = b"".join([began, self._data[self._at :], *self._chunks])
        self._data = b""
        self._at = self._held_bytes = self._wanted_bytes = 0
        self._chunks.clear()
        return rest

    def let_go(self) -> None:
        """Do not keep what was taken, for a while in which nothing more will be."""
        if 2 * self._at >= len(self._data):
            self._data = self._data[self._at :]
            self._at = 0

    def take(self, is_fragmented: bool) -> Cut | None:
        """The next message, or bytes to hand on; None until more comes.

        ``is_fragmented``: a message in several frames has begun, so that no other may.
        """
        data, at = self._data, self._at
        size = len(data)
        if self._chunks:
            return None
        if self._long is not None:
            return self._take_long()
        if self._passing_bytes and at < size:
            return self._pass(self._passing_bytes)
        if size - at < 2:
            return self._more(0)
        first, second = data[at], data[at + 1]
        if first not in _FRAMES or second < _MASKED:
            return self._pass(_UNTIL_THE_END)
        length = second - _MASKED
        start = at + 2 + _MASK_BYTES
        if length == _LENGTH_IN_TWO:
            start += 2
            if start - _MASK_BYTES > size:
                return self._more(0)
            length = data[at + 2] << 8 | data[at + 3]
        elif length == _LENGTH_IN_EIGHT:
            start += 8
            if start - _MASK_BYTES > size:
                return self._more(0)
            length = int.from_bytes(data[at + 2 : start - _MASK_BYTES], "big")
        end = start + length
        is_whole = first in (WHOLE_BINARY, WHOLE_TEXT)
        if not is_whole or is_fragmented or length > self.max_message_bytes:
            return self._pass(end - at)
        if end > size:
            if length >= _LONG_BYTES and start <= size:  # its mask is there
                self._begin_long(start, end, first == WHOLE_TEXT)
                return None
            return self._more(end - at)
        self._at = end
        message = self._unmask(data[start:end], data[start - _MASK_BYTES : start])
        return message, first == WHOLE_TEXT

    def skip(self, most: int, id_of_text: Callable[[bytes], int | None]) -> list[int]:
        """Take messages unread, as many as there are of those that have an id: their ids.

        ``id_of_text`` tells a text's by its first ``START_BYTES``; None: it is not to be skipped.
        Not while a message in several frames has begun.
        """
        ids: list[int] = []
        data, at = self._data, self._at
        is_other = self._chunks or self._passing_bytes or self._long is not None
        size = 0 if is_other else len(data)
        longest = min(self.max_message_bytes, (1 << 16) - 1)
        while len(ids) < most and size - at >= _MASK_BYTES + 2 + _HEAD_BYTES:
            length, start = data[at + 1] - _MASKED, at + 2
            if length == _LENGTH_IN_TWO:
                length, start = data[at + 2] << 8 | data[at + 3], at + 4
            elif length == _LENGTH_IN_EIGHT:
                break
            end = start + _MASK_BYTES + length
            if not _HEAD_BYTES <= length <= longest or end > size:
                break
            if data[at] == WHOLE_BINARY:
                count = min((size - at) // (end - at), most - len(ids))
                found = _ids_of(data, at, start, end, count)
                if not found:
                    break
                end = at + len(found) * (end - at)
                ids += found
            elif data[at] == WHOLE_TEXT:
                begins = start + _MASK_BYTES
                text_start = data[begins : min(end, begins + START_BYTES)]
                request_id = id_of_text(self._unmask(text_start, data[start:begins]))
                if request_id is None:
                    break
                ids.append(request_id)
            else:
                break
            self._at = at = end
        if at == size:
            self.let_go()
        return ids

    def _begin_long(self, start: int, end: int, is_text: bool) -> None:
        """What is there of a message is the first piece of it."""
        at, data = self._at, self._data
        self._long = _Long(data[at:start], end - start, is_text, self._unmask)
        self._long.take(data[start:])
        self._long_bytes = len(data) - at
        self._wanted_bytes = end - at
        self._data, self._at = b"", 0

    def _take_long(self) -> Cut | None:
        assert self._long is not None
        if self._long.missing_bytes:
            return None
        long, self._long, self._long_bytes = self._long, None, 0
        self._wanted_bytes = 0
        return long.pieces, long.is_text

    def _more(self, wanted_bytes: int) -> Cut | None:
        """Wait for more, with no long piece for a short rest: thousands may be silent now."""
        self._wanted_bytes = wanted_bytes
        self.let_go()
        return None

    def _pass(self, frame_bytes: int) -> Cut | None:
        """As much of a frame as is there."""
        at = self._at
        piece = self._data[at : at + frame_bytes]
        self._at = at + len(piece)
        self._passing_bytes = frame_bytes - len(piece)
        return (piece, None) if piece else None


def _ids_of(data: bytes, at: int, start: int, end: int, count: int) -> list[int]:
    """The ids of binary messages one behind the other, ``count`` at most, that are as long as the
    one from ``at`` to ``end``, of which the mask begins at ``start``.
    """
    ids: list[int] = []
    first, every = data[at:start], _masked(start - at, end - at)
    with memoryview(data) as view:
        for head, mask, begins, request_id in every.iter_unpack(view[at : at + count * (end - at)]):
            if head != first or (begins ^ mask) & 0xFFFF != _FRAME_START:
                break
            ids.append(request_id ^ mask)
    return ids


@lru_cache(maxsize=256)
def _masked(head_bytes: int, frame_bytes: int) -> Struct:
    """What is looked at of a frame of that length that is skipped."""
    rest_bytes = frame_bytes - head_bytes - _MASK_AND_HEAD.size
    return Struct(f"<{head_bytes}s{_MASK_AND_HEAD.format[1:]}{rest_bytes}x")


def framed_texts(texts: Numbered) -> bytes:
    """Texts that go to a client, as frames."""
    start = head(texts.each_bytes, True) + texts.begins
    return start + (texts.ends + start).join(texts.numbers) + texts.ends


def head(length: int, is_text: bool) -> bytes:
    """What stands before a message of ``length`` bytes that goes to a client."""
    first = WHOLE_TEXT if is_text else WHOLE_BINARY
    if length < _LENGTH_IN_TWO:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, _LENGTH_IN_TWO, length >> 8, length & 0xFF))
    return bytes((first, _LENGTH_IN_EIGHT)) + length.to_bytes(8, "big")
