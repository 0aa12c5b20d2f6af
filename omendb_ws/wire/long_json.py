"""JSON read in pieces, so that a text of megabytes holds nobody up: a generator.

Brackets, commas and strings are found with numpy, ``piece_characters`` at a time, or fewer where
they stand close. What stands
between two commas of one list or object is parsed in one call, as the text of a list or object of
its own. A member that is longer than a piece is *entered*: it becomes a list or object that is
filled in pieces too. So no call sees much more than two pieces, unless it is one long string.

Pure. Invariant: the value, or that there is none, is what ``parse`` makes of the whole text. By
induction over the text: up to the first fault strings and depths are right, so the piece that holds
it is handed to ``parse`` as it stands, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.model.types import I64

#: Characters scanned, and about as many parsed, without a break: 0.1 ms and up to 0.5 ms. Twice as
#: many take as long each, and hold others up for twice as long.
PIECE_CHARACTERS: Final = 32 << 10
#: Brackets, commas and quotes of a piece; where there are more it is shorter. (64 Ki of brackets
#: took 3.5 ms, as an array of numbers takes 0.4.)
_STRUCTURE: Final = 8 << 10
#: A piece is no shorter for that than this part of another.
_SHORTEST: Final = 16
#: As deep as orjson goes.
MAX_LEVELS: Final = 1024
_BLANK: Final = " \t\r\n"
_ROOT: Final = re.compile(r"[ \t\r\n]*([\[{])")
_OPEN, _CLOSE, _COMMA, _QUOTE, _BACKSLASH = range(1, 6)
_KINDS: Final = np.zeros(256, np.uint8)
for _kind, _characters in ((_OPEN, b"[{"), (_CLOSE, b"]}"), (_COMMA, b","), (_QUOTE, b'"')):
    _KINDS[list(_characters)] = _kind
_KINDS[ord("\\")] = _BACKSLASH
#: What a kind adds to the depth.
_STEPS: Final = np.array([0, 1, -1, 0, 0, 0], np.int64)

Parse = Callable[[str], Any]


class NotJson(ValueError):
    """The text is none. ``msg`` and ``pos`` as orjson's error has them."""

    def __init__(self, msg: str, pos: int) -> None:
        super().__init__(msg)
        self.msg = msg
        self.pos = pos


class TooManyContainers(ValueError):
    """The text has more lists and objects than it may have."""


class Entered(NamedTuple):
    """A list or object that was filled in pieces, and how many members each piece brought."""

    container: list[Any] | dict[str, Any]
    counts: list[int]


class Loaded(NamedTuple):
    """A value; ``entered`` are the containers in it that were filled in pieces, outermost first."""

    value: Any
    entered: list[Entered]

    def counts_of(self, container: Any) -> list[int]:
        """How many members of ``container`` stood in a piece; those of a short one in one."""
        for one in self.entered:
            if one.container is container:
                return one.counts
        return [len(container)]

    def free(self) -> Generator[None, None, None]:
        """Let go of the value in pieces: a million objects at once take 40 ms."""
        for one in reversed(self.entered):
            yield from _emptied(*one)

    def free_members(self, container: Any) -> Generator[None, None, None]:
        """Let go of the members of one ``container``, and of nothing that somebody else holds."""
        yield from _emptied(container, self.counts_of(container))


def _emptied(
    container: list[Any] | dict[str, Any], counts: Sequence[int]
) -> Generator[None, None, None]:
    for count in counts:
        if isinstance(container, list):
            del container[max(0, len(container) - count) :]
        else:
            for _ in range(min(count, len(container))):
                container.popitem()
        yield


def load(
    text: str,
    parse: Parse = orjson.loads,
    piece_characters: int = PIECE_CHARACTERS,
    most_containers: int | None = None,
) -> Generator[None, None, Loaded]:
    """What ``parse`` makes of ``text``. NotJson, or whatever else but ValueError ``parse`` raises.

    TooManyContainers where more than ``most_containers`` lists and objects begin; what is beyond
    them was not parsed. A text that is neither list nor object is parsed in one call.
    """
    root = _ROOT.match(text)
    if root is None:
        return Loaded(_parsed(parse, text, 0, 0), [])
    builder = _Builder(text, parse, root.start(1), piece_characters)
    scanner = _Scanner(most_containers)
    at, most = root.end(), max(1, piece_characters // _SHORTEST)
    loaded = Loaded(builder.root, builder.entered)
    try:
        while not builder.is_whole:
            if at >= len(text):
                raise NotJson("unexpected end of data", len(text))
            piece = text[at : at + most].encode("latin-1", "replace")
            structure = scanner.scan(piece, at)
            builder.take(*structure)
            at += len(piece)
            most = _next_piece(most, len(structure[0]), piece_characters)
            yield
    except (NotJson, TooManyContainers):
        yield from loaded.free()
        raise
    return loaded


def _next_piece(characters: int, structure: int, most: int) -> int:
    """How long a piece is, behind one of so many ``characters`` with so much ``structure``."""
    fit = characters * _STRUCTURE // max(structure, 1)
    return min(max(fit, most // _SHORTEST, 1), 2 * characters, most)


def _parsed(parse: Parse, text: str, start: int, prefix: int) -> Any:
    """``text``, of which all but ``prefix`` characters stand at ``start``, parsed."""
    try:
        return parse(text)
    except RecursionError:
        raise NotJson("depth limit exceeded", start) from None
    except ValueError as error:
        position = start + max(0, getattr(error, "pos", 0) - prefix)
        raise NotJson(getattr(error, "msg", str(error)), position) from None


class _Scanner:
    """Where brackets and commas are outside of strings, and how deep; from piece to piece."""

    def __init__(self, most_containers: int | None) -> None:
        self._containers_left = most_containers
        self._is_in_text = False
        #: Whether the last piece ended in a backslash that counts for the next character.
        self._is_escaped = False
        self._depth = 1

    def scan(self, piece: bytes, start: int) -> tuple[I64, NDArray[np.uint8], I64, int]:
        """Positions, kinds, and the depth behind each; and where the piece ends."""
        kinds = _KINDS[np.frombuffer(piece, np.uint8)]
        places = np.flatnonzero(kinds)
        kinds = kinds[places]
        quotes = kinds == _QUOTE
        self._is_escaped = self._take_out_escaped(places, kinds, quotes, len(piece))
        crossed = np.cumsum(quotes)
        is_outside = (crossed + self._is_in_text) & 1 == 0
        if len(crossed):
            self._is_in_text = bool((int(crossed[-1]) + self._is_in_text) & 1)
        kept = is_outside & (kinds <= _COMMA)
        places, kinds = places[kept], kinds[kept]
        if self._containers_left is not None:
            self._containers_left -= int(np.count_nonzero(kinds == _OPEN))
            if self._containers_left < 1:  # the outermost one was not scanned
                raise TooManyContainers
        depths = self._depth + np.cumsum(_STEPS[kinds])
        if len(depths):
            self._depth = int(depths[-1])
        return places + start, kinds, depths, start + len(piece)

    def _take_out_escaped(
        self, places: I64, kinds: NDArray[np.uint8], quotes: NDArray[np.bool_], length: int
    ) -> bool:
        """Unmark quotes behind an odd run of backslashes; whether such a run ends the piece."""
        backslashes = places[kinds == _BACKSLASH]
        if not len(backslashes):
            if self._is_escaped and len(places) and places[0] == 0:
                quotes[0] = False
            return False if length else self._is_escaped
        is_first = np.diff(backslashes, prepend=-2) != 1
        firsts = np.flatnonzero(is_first)
        runs = np.cumsum(is_first) - 1
        ordinals = np.arange(len(backslashes)) - firsts[runs] + 1
        ordinals += (backslashes[firsts[runs]] == 0) & self._is_escaped
        odd = backslashes[ordinals & 1 == 1]
        quotes &= ~np.isin(places - 1, odd, assume_unique=True)
        if self._is_escaped and places[0] == 0 and kinds[0] == _QUOTE:
            quotes[0] = False
        return bool(len(odd)) and int(odd[-1]) == length - 1


class _Level:
    """A container that is being filled; ``is_behind_member``: at an entered one's end."""

    __slots__ = ("container", "counts", "has_comma", "is_behind_member")

    def __init__(self, container: list[Any] | dict[str, Any]) -> None:
        self.container = container
        self.counts: list[int] = []
        self.has_comma = self.is_behind_member = False


class _Builder:
    """The containers on the way to where the text has been read."""

    def __init__(self, text: str, parse: Parse, root: int, piece_characters: int) -> None:
        self._text = text
        self._parse = parse
        self._most_characters = piece_characters
        self.entered: list[Entered] = []
        self._levels: list[_Level] = []
        self._push(root)
        self.root = self._levels[0].container
        #: Behind what is parsed, and the structure from there on.
        self._start = root + 1
        self._places: I64 = np.empty(0, np.int64)
        self._kinds: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._depths: I64 = np.empty(0, np.int64)

    @property
    def is_whole(self) -> bool:
        """Whether the value has ended."""
        return not self._levels

    def take(self, places: I64, kinds: NDArray[np.uint8], depths: I64, end: int) -> None:
        """The structure of the next piece, which ends before ``end``: parse what is complete."""
        if len(depths) and int(depths.max()) > MAX_LEVELS:
            raise NotJson("depth limit exceeded", int(places[int(np.argmax(depths))]))
        self._places = np.concatenate((self._places, places))
        self._kinds = np.concatenate((self._kinds, kinds))
        self._depths = np.concatenate((self._depths, depths))
        while self._levels:
            if self._close():
                continue
            self._cut()
            if end - self._start < self._most_characters or not self._enter():
                return

    def _drop(self, count: int) -> None:
        """The first of the structure are behind what is parsed."""
        self._start = int(self._places[count - 1]) + 1
        self._places = self._places[count:]
        self._kinds = self._kinds[count:]
        self._depths = self._depths[count:]

    def _push(self, place: int) -> None:
        """The bracket at ``place`` opens a container that is filled in pieces."""
        level = _Level([] if self._text[place] == "[" else {})
        self._levels.append(level)
        self.entered.append(Entered(level.container, level.counts))

    def _close(self) -> bool:
        """Fill the innermost container to its end, if that has come; False otherwise."""
        is_below = self._depths < len(self._levels)
        first = int(np.argmax(is_below)) if len(is_below) else 0
        if not len(is_below) or not is_below[first]:
            return False
        place = int(self._places[first])
        self._fill(place, is_end=True)
        level = self._levels.pop()
        if self._text[place] != ("]" if isinstance(level.container, list) else "}"):
            raise NotJson("unexpected character", place)
        self._drop(first + 1)
        if self._levels:
            self._levels[-1].is_behind_member = True
        elif self._text[self._start :].strip(_BLANK):
            raise NotJson("unexpected content after document", self._start)
        return True

    def _cut(self) -> None:
        """Fill the innermost container to the last comma that has come."""
        commas = np.flatnonzero((self._kinds == _COMMA) & (self._depths == len(self._levels)))
        if len(commas):
            last = int(commas[-1])
            self._fill(int(self._places[last]), is_end=False)
            self._drop(last + 1)
            self._levels[-1].has_comma = True

    def _enter(self) -> bool:
        """Go into the member that has begun; False where that is no list and no object."""
        inner = len(self._levels) + 1
        opens = np.flatnonzero((self._kinds == _OPEN) & (self._depths == inner))
        if not len(opens):
            return False
        place, level = int(self._places[opens[-1]]), self._levels[-1]
        before = self._text[self._start : place]
        if level.is_behind_member:
            raise NotJson("unexpected character", self._start)
        self._push(place)
        member = self._levels[-1].container
        if isinstance(level.container, dict):
            found = _parsed(self._parse, "{" + before + "[]}", self._start, 1)
            if list(found.values()) != [[]]:
                raise NotJson("unexpected character", place)
            level.container[next(iter(found))] = member
        elif before.strip(_BLANK):
            raise NotJson("unexpected character", self._start)
        else:
            level.container.append(member)
        level.counts.append(1)
        self._drop(int(opens[-1]) + 1)
        return True

    def _fill(self, place: int, *, is_end: bool) -> None:
        """Put the members up to ``place`` into the innermost container."""
        level, start = self._levels[-1], self._start
        text = self._text[start:place]
        may_be_empty = is_end and not level.has_comma
        if level.is_behind_member:
            level.is_behind_member = False
            rest = text.lstrip(_BLANK)
            if not rest:
                return
            if rest[0] != ",":
                raise NotJson("unexpected character", start)
            start, text, may_be_empty = place - len(rest) + 1, rest[1:], False
        container = level.container
        is_list = isinstance(container, list)
        form = f"[{text}]" if is_list else f"{{{text}}}"
        found = _parsed(self._parse, form, start, 1)
        if not found and not may_be_empty:
            raise NotJson("unexpected character", place)
        if isinstance(container, list):
            container += found
        else:
            container.update(found)
        level.counts.append(len(found))
