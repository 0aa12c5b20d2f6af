"""Which live row has an id: nothing for ``auto``, ``u64_ids`` for ``u64`` and, by hash, ``str``.

Knows the ring's seqs, slots and live bits; nothing of vectors, metadata or changes. At most one
live row has an id; whoever adds a row kills the one it replaces first.

Invariants (``check``): every live row is found by its id; str ids are held for live rows only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, Protocol

import numpy as np

from .. import native
from ..model.errors import BadId
from ..model.packed import packed
from ..model.types import I64, U64, IdKind, Ids
from . import u64_ids
from .memory import Untouched
from .payloads import KeptPayloads, Payloads
from .ring import Ring
from .u64_ids import TableIds, TwoTableIds, numbers


class RowIds(Protocol):
    """The ids of one window's rows. Built with its ring, and asked while the ring stands still."""

    def find(self, ids: Ids) -> I64:
        """Slots int64 (n,) of the live rows with ``ids``; -1 where there is none. Raises BadId."""

    def assign(self, slots: I64, first_seq: int, ids: Ids | None) -> None:
        """Name the rows just appended: ``slots`` int64 (n,) of seqs ``first_seq …``.

        ``ids`` are distinct (None for ``auto``); the rows they replace, and those overwritten, were
        killed and released before.
        """

    def resume(self) -> None:
        """The ring, which has no rows, stands at another seq now: a log starts there."""

    def restore(self, slots: I64, ids: Ids) -> None:
        """Name live rows that a log brings late; nobody else has their ids, nor had since."""

    def of(self, slots: I64) -> Ids:
        """Ids of the rows in ``slots``, live ones: a copy, uint64 (n,) or n strings."""

    def release(self, slots: I64) -> None:
        """The rows in ``slots`` died; called before their slots are assigned again."""

    @property
    def untouched(self) -> Untouched:
        """What of it is not there yet, and rows may need anywhere."""

    @property
    def nbytes(self) -> int:
        """Bytes reserved, texts of ids not counted."""

    @property
    def payload_bytes(self) -> int:
        """UTF-8 bytes of the string ids of live rows; 0 for other kinds."""

    @property
    def text_bytes(self) -> int:
        """Bytes that the texts of string ids take, beside what is reserved."""

    def growth(self, payload_bytes: int, count: int) -> int:
        """Bytes more, at most, with so many ids of ``payload_bytes``."""

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""


def make_ids(kind: IdKind, ring: Ring) -> RowIds:
    """Build the ids of ``kind`` for the rows of ``ring``."""
    match kind:
        case "auto":
            return AutoIds(ring)
        case "u64":
            return _table_kind()(ring)
        case "str":
            return StrIds(ring)


def bytes_for(kind: IdKind, capacity: int) -> int:
    """Bytes that the ids of a window reserve, texts of ids not counted."""
    match kind:
        case "auto":
            return 0
        case "u64" | "str":
            return _table_kind().bytes_for(capacity)


def first_duplicate(ids: Ids) -> int | None:
    """Index of the first of ``ids`` that was there before; None if they are distinct."""
    return _first_duplicate_text(ids) if isinstance(ids, list) else u64_ids.first_duplicate(ids)


def _first_duplicate_text(ids: list[str]) -> int | None:
    if len(set(ids)) == len(ids):
        return None
    seen: set[str] = set()
    for row, text in enumerate(ids):
        if text in seen:
            return row
        seen.add(text)
    return None


class AutoIds:
    """The id of a row is its seq."""

    nbytes: Final = 0
    payload_bytes: Final = 0
    text_bytes: Final = 0

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self.untouched = Untouched(np.empty(0, np.uint8))

    def find(self, ids: Ids) -> I64:
        """See RowIds."""
        seqs = numbers(ids)
        ring = self._ring
        slots = np.full(len(seqs), -1, np.int64)
        inside = np.flatnonzero(
            (seqs >= np.uint64(ring.first_seq)) & (seqs <= np.uint64(ring.last_seq))
        )
        places = ring.slots(seqs[inside])
        slots[inside] = np.where(ring.is_live(places), places, -1)
        return slots

    def assign(self, slots: I64, first_seq: int, ids: Ids | None) -> None:
        """Nothing to do: the ring knows the seqs."""

    def resume(self) -> None:
        """Nothing to do: the ring knows the seqs."""

    def restore(self, slots: I64, ids: Ids) -> None:
        """Nothing to do: the ring knows the seqs."""

    def of(self, slots: I64) -> U64:
        """See RowIds."""
        return self._ring.seqs(slots)

    def release(self, slots: I64) -> None:
        """Nothing to do: the ring knows who is live."""

    def growth(self, payload_bytes: int, count: int) -> int:
        """Nothing: an id is its row's seq."""
        return 0

    def check(self) -> None:
        """Nothing that could be wrong."""


class KnownTexts:
    """Texts that are looked for among string ids time and again: what is known of them.

    ``keys`` uint64 (n,), and ``seqs`` uint64 of the rows that they were last found in, 0 for none;
    both in the order of the set. What a row's id is never changes.
    """

    #: What a text takes here.
    TEXT_BYTES: Final = 8 + 8

    def __init__(self, texts: frozenset[str]) -> None:
        self.texts = texts
        self.keys = keys_of(texts)
        self.seqs: U64 = np.zeros(len(texts), np.uint64)


class StrIds:
    """String ids: a table of ``u64_ids`` by the hash of each text, and the texts in blocks.

    A dict takes 208 bytes a row at its loosest, in pieces that the process keeps when they are
    freed; this takes 40 and the text. Whatever the hash finds is compared with the text, so answers
    do not depend on it. A text whose hash a live row of another text has is a *twin*: its key is
    another number, and it is known by name. That is as good as never.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._table = _table_kind()(ring)
        self._texts = Payloads(ring.capacity)
        self._twins: dict[str, int] = {}

    @property
    def untouched(self) -> Untouched:
        """See RowIds."""
        return self._table.untouched

    @property
    def table(self) -> TableIds | TwoTableIds:
        """The table of keys."""
        return self._table

    @property
    def nbytes(self) -> int:
        """See RowIds."""
        return bytes_for("str", self._ring.capacity)

    @property
    def payload_bytes(self) -> int:
        """See RowIds."""
        return self._texts.payload_bytes

    @property
    def text_bytes(self) -> int:
        """See RowIds."""
        return self._texts.nbytes

    def growth(self, payload_bytes: int, count: int) -> int:
        """See RowIds."""
        return self._texts.growth(payload_bytes, count)

    def find(self, ids: Ids) -> I64:
        """See RowIds."""
        texts = strings(ids)
        slots = self._table.find(self._keys(texts))
        found = np.flatnonzero(slots >= 0)
        if not len(found):
            return slots
        if len(found) < len(texts):
            texts = [texts[place] for place in found.tolist()]
        held, wanted = self._texts.of(slots[found]), [text.encode() for text in texts]
        if held != wanted:
            differs = [one != other for one, other in zip(held, wanted, strict=True)]
            slots[found[differs]] = -1
        return slots

    def find_again(self, known: KnownTexts) -> I64:
        """As ``find``, of texts in the order in which their set is gone through; those that were
        found in their rows before are not compared again."""
        if self._twins:
            return self.find(list(known.texts))
        slots = self._table.find(known.keys)
        found = np.flatnonzero(slots >= 0)
        seqs = self._ring.seqs(slots[found])
        is_fresh = known.seqs[found] != seqs
        fresh = found[is_fresh]
        if len(fresh):
            texts = list(known.texts)
            wanted = [texts[place].encode() for place in fresh.tolist()]
            held = self._texts.of(slots[fresh])
            differs = np.array([one != other for one, other in zip(held, wanted, strict=True)])
            known.seqs[fresh] = np.where(differs, 0, seqs[is_fresh])
            slots[fresh[differs]] = -1
        return slots

    def assign(self, slots: I64, first_seq: int, ids: Ids | None) -> None:
        """See RowIds."""
        texts = strings(ids)
        self._table.assign(slots, first_seq, self._own_keys(slots, texts))
        self._texts.write(slots, packed([text.encode() for text in texts]))

    def resume(self) -> None:
        """See RowIds."""
        self._table.resume()

    def restore(self, slots: I64, ids: Ids) -> None:
        """See RowIds."""
        texts = strings(ids)
        self._table.restore(slots, self._own_keys(slots, texts))
        self._texts.write(slots, packed([text.encode() for text in texts]))

    def of(self, slots: I64) -> list[str]:
        """See RowIds."""
        return [(text or b"").decode() for text in self._texts.of(slots)]

    def kept(self, slots: I64) -> KeptPayloads:
        """The texts of live rows in ``slots`` as UTF-8, whatever becomes of the rows."""
        return self._texts.kept(slots)

    def release(self, slots: I64) -> None:
        """See RowIds."""
        self.texts_left(slots)
        self._table.release(slots)

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        ring = self._ring
        self._table.check()
        self._texts.check()
        every = np.arange(ring.capacity)
        held = every[self._texts.sizes(every) > 0]
        live = np.sort(ring.live_slots(ring.first_seq, ring.last_seq))
        assert np.array_equal(held, live), "ids are held for other rows than the live ones"
        texts = self.of(live)
        assert np.array_equal(self._table.of(live), self._keys(texts)), "a text has another key"
        assert self._twins.keys() <= set(texts), "a twin is remembered that is gone"

    def _keys(self, texts: list[str]) -> U64:
        """The keys under which texts stand if they are there."""
        keys = keys_of(texts)
        if self._twins:
            for place, text in enumerate(texts):
                if text in self._twins:
                    keys[place] = self._twins[text]
        return keys

    def _own_keys(self, slots: I64, texts: list[str]) -> U64:
        """Keys for rows in ``slots``, which nobody has; those of a twin are remembered."""
        keys = self._keys(texts)
        found = self._table.find(keys)
        taken = found >= 0
        if taken.any():  # by rows that stood here before, perhaps
            taken &= ~np.isin(found, slots)
        if not taken.any() and _are_distinct(keys):
            return keys
        self._twins.update(_told_apart(texts, keys, lambda _, key: self._is_taken(key, slots)))
        return keys

    def _is_taken(self, key: int, slots: I64) -> bool:
        found = int(self._table.find(np.array([key], np.uint64))[0])
        return found >= 0 and found not in slots

    # -- an add in one call (``append.py``): keys, then rows come and go in the table, then texts --

    def keys_of_add(self, texts: list[str]) -> tuple[U64, dict[str, int]]:
        """The keys under which rows of an add are entered, also where a row with the same text
        leaves for one; and which of them are twins."""
        keys = self._keys(texts)
        found = self._table.find(keys)
        if (found < 0).all() and _are_distinct(keys):
            return keys, {}
        places = np.flatnonzero(found >= 0)
        wanted = [texts[place].encode() for place in places.tolist()]
        if self._texts.of(found[places]) == wanted and _are_distinct(keys):
            return keys, {text: self._twins[text] for text in self._twins.keys() & texts}
        twins = _told_apart(texts, keys, self._is_anothers)
        return keys, twins | {text: self._twins[text] for text in self._twins.keys() & texts}

    def _is_anothers(self, text: str, key: int) -> bool:
        found = self._table.find(np.array([key], np.uint64))
        return bool(found[0] >= 0) and self._texts.of(found) != [text.encode()]

    def texts_left(self, slots: I64) -> None:
        """The rows in ``slots`` are out of the table."""
        if len(slots):
            if self._twins:
                for text in self.of(slots):
                    self._twins.pop(text, None)
            self._texts.clear(slots)

    def texts_came(self, slots: I64, texts: list[str], twins: dict[str, int]) -> None:
        """Rows with ``texts`` are in the table, and in ``slots``."""
        self._twins.update(twins)
        self._texts.write(slots, packed([text.encode() for text in texts]))


def _are_distinct(keys: U64) -> bool:
    return len(keys) == 1 or u64_ids.first_duplicate(keys) is None


def _told_apart(
    texts: list[str], keys: U64, is_taken: Callable[[str, int], bool]
) -> dict[str, int]:
    """Set other ``keys`` for texts whose own is taken; those texts, with their keys."""
    seen: set[int] = set()
    twins: dict[str, int] = {}
    for place, text in enumerate(texts):
        key = int(keys[place])
        while key in seen or is_taken(text, key):
            key = (key + 1) % 2**64
        seen.add(key)
        if key != int(keys[place]):
            twins[text] = key
            keys[place] = key
    return twins


#: A number for a text; salted by the interpreter.
_hashed: Final = hash


def keys_of(texts: Collection[str]) -> U64:
    """A number for each of some texts."""
    return np.fromiter(map(_hashed, texts), np.int64, len(texts)).view(np.uint64)


def _table_kind() -> type[TableIds] | type[TwoTableIds]:
    return TableIds if native.is_used else TwoTableIds


def strings(ids: Ids | None) -> list[str]:
    """``ids`` of rows if they are strings. Raises BadId."""
    if ids is None:
        raise BadId("ids of this collection are given with the rows")
    if not isinstance(ids, list):
        raise BadId("ids of this collection are strings, not numbers")
    return ids
