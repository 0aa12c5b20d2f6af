"""Metadata beside the ring: the typed columns that filters read.

Knows declared columns and slots; nothing of ids, liveness or filters. Nulls are values of the
arrays themselves (``types.Column``), so that a column is one array. Texts of ``str`` columns are
kept once, as UTF-8 (a str can take four times the memory), under codes that are used again when
the last row with a text leaves: memory follows the live rows, not the history.

Invariants (``check``): a dictionary holds exactly the texts that rows hold, each counted; a slot
that was never written holds no text.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import getsizeof
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..model.types import (
    I64,
    NULL_BOOLEAN,
    NULL_CODE,
    NULL_INTEGER,
    U32,
    Bool1,
    Column,
    ColumnType,
    StrColumn,
)
from .write_log import WriteLog

#: Which slots: all (a view), a range (a view), or int64 (n,) (a copy).
Slots: TypeAlias = I64 | slice | None

_DTYPES: Final[dict[ColumnType, type[np.generic]]] = {
    "f64": np.float64,
    "i64": np.int64,
    "bool": np.uint8,
    "str": np.uint32,
}
_NULLS: Final[dict[ColumnType, float | int]] = {
    "f64": float("nan"),
    "i64": NULL_INTEGER,
    "bool": NULL_BOOLEAN,
    "str": NULL_CODE,
}
#: Slots of writes that are remembered: of windows of less than a thousand rows all, else one in 16.
#: Where more were written, to look at each takes longer than to look at all rows in order.
_LEAST_LOGGED: Final = 64
_LOGGED: Final = 16
#: What a text costs at most besides its bytes: the bytes object (48), the dict's entry and index at
#: the loosest (120), the code as an integer (32), its places in lists (16). Counted as payload,
#: because how many texts there are depends on the data; ``taken_bytes`` is what they take.
TEXT_OVERHEAD_BYTES: Final = 216
#: What CPython takes for a ``bytes`` besides its bytes, and rounds to; for an integer.
_BYTES_OBJECT_BYTES: Final = 33
_ROUNDED_TO: Final = 16
_INTEGER_BYTES: Final = 32


def _logged(capacity: int) -> int:
    return max(_LEAST_LOGGED, capacity // _LOGGED)


class Columns:
    """The declared columns of ``capacity`` slots, committed by the OS as they are first written.

    ``used``: slots written so far lie below it; an unwritten slot means nothing. ``writes``: which
    were written lately, where there are columns.
    """

    def __init__(self, definition_columns: Mapping[str, ColumnType], capacity: int) -> None:
        self.types: Mapping[str, ColumnType] = dict(definition_columns)
        self.capacity = capacity
        self.used = 0
        self.writes = WriteLog(_logged(capacity))
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.zeros(capacity, _DTYPES[type_]) for name, type_ in self.types.items()
        }
        self._dictionaries = {
            name: _Dictionary(capacity) for name, type_ in self.types.items() if type_ == "str"
        }

    @property
    def nbytes(self) -> int:
        """Bytes reserved, dictionaries not counted."""
        return self.bytes_for(self.types, self.capacity)

    @staticmethod
    def bytes_for(columns: Mapping[str, ColumnType], capacity: int) -> int:
        """Bytes that these columns reserve for ``capacity`` slots: values, counts of texts."""
        if not columns:
            return 0
        return 8 * _logged(capacity) + capacity * sum(
            np.dtype(_DTYPES[type_]).itemsize + 4 * (type_ == "str") for type_ in columns.values()
        )

    @property
    def payload_bytes(self) -> int:
        """Bytes of the dictionaries: UTF-8 of the texts, and TEXT_OVERHEAD_BYTES for each."""
        if not self._dictionaries:
            return 0
        return sum(dictionary.payload_bytes for dictionary in self._dictionaries.values())

    @property
    def taken_bytes(self) -> int:
        """Bytes that the dictionaries take now."""
        if not self._dictionaries:
            return 0
        return sum(dictionary.taken_bytes for dictionary in self._dictionaries.values())

    def write(self, slots: I64, columns: Mapping[str, Column]) -> None:
        """Set the rows in ``slots`` int64 (n,), distinct; an absent column is null.

        ``columns`` passed ``check_columns`` or came out of ``from_metadata``. What a slot held
        before was cleared (or the slot was never written).
        """
        if not len(slots):
            return
        used = int(slots.max()) + 1
        if used > self.used:
            for name in self._dictionaries:  # codes are counted: those of slots left out are none
                self._arrays[name][self.used : used] = NULL_CODE
            self.used = used
        if self.types:
            self.writes.note(slots)
        for name, type_ in self.types.items():
            column = columns.get(name)
            if column is None:
                self._arrays[name][slots] = _NULLS[type_]
            elif isinstance(column, StrColumn):
                self._arrays[name][slots] = self._dictionaries[name].take(column)
            else:
                self._arrays[name][slots] = column

    def clear(self, slots: I64) -> None:
        """Make the rows in ``slots``, written and distinct, null in every column."""
        for name, type_ in self.types.items():
            array = self._arrays[name]
            if type_ == "str":
                self._dictionaries[name].give_back(array[slots])
            array[slots] = _NULLS[type_]

    def values(self, name: str, slots: Slots = None) -> NDArray[Any]:
        """The array of a column as ``types.Column`` says, codes of its own dictionary for ``str``.

        A view for all slots or a range of them, a copy (n,) for an int64 array of them.
        """
        array = self._arrays[name]
        return array if slots is None else array[slots]

    def is_null(self, name: str, slots: Slots = None) -> Bool1:
        """Whether each row's value is null; a new bool array."""
        values = self.values(name, slots)
        type_ = self.types[name]
        null: Bool1 = np.isnan(values) if type_ == "f64" else values == _NULLS[type_]
        return null

    def code_of(self, name: str, text: str) -> int | None:
        """The code of ``text`` in a ``str`` column now; None if no row holds it."""
        return self._dictionaries[name].codes.get(_encoded(text))

    def texts(self, name: str, codes: list[int]) -> list[bytes]:
        """The texts under these codes of a ``str`` column, which rows hold, as UTF-8."""
        texts = self._dictionaries[name].texts
        return [texts[code] or b"" for code in codes]

    def code_limit(self, name: str) -> int:
        """One more than the greatest code that a ``str`` column has ever used; ≤ capacity."""
        return len(self._dictionaries[name].texts)

    def objects(self, slots: I64) -> list[dict[str, Any]]:
        """The non-null values of each row, by name, in the order of the definition."""
        rows: list[dict[str, Any]] = [{} for _ in range(len(slots))]
        for name, type_ in self.types.items():
            values = self._arrays[name][slots]
            present = np.flatnonzero(~self.is_null(name, slots))
            values = values[present]
            if type_ == "bool":
                values = values.astype(np.bool_)
            plain: list[Any] = values.tolist()
            if type_ == "str":
                plain = self._dictionaries[name].decode(plain)
            for row, value in zip(present.tolist(), plain, strict=True):
                rows[row][name] = value
        return rows

    def batch(self, slots: I64) -> dict[str, Column]:
        """The columns of rows in ``slots`` int64 (n,) as a change holds them (copies)."""
        made: dict[str, Column] = {}
        for name, type_ in self.types.items():
            values = self._arrays[name][slots]
            if type_ != "str":
                made[name] = values
                continue
            used, places = np.unique(values, return_inverse=True)
            used = used[used != NULL_CODE]  # the greatest, so the others keep their places
            codes: U32 = places.astype(np.uint32)
            codes[codes == len(used)] = NULL_CODE
            texts = self._dictionaries[name].decode(used.tolist())
            made[name] = StrColumn(codes, tuple(texts))
        return made

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        for name, dictionary in self._dictionaries.items():
            assert not self._arrays[name][self.used :].any(), "an unwritten slot holds a code"
            dictionary.check(self._arrays[name][: self.used])


class _Dictionary:
    """The texts of one ``str`` column, by code and back, and how many rows hold each."""

    def __init__(self, capacity: int) -> None:
        self.texts: list[bytes | None] = []
        self.codes: dict[bytes, int] = {}
        self._free: list[int] = []
        self._counts: U32 = np.zeros(capacity, np.uint32)
        self._text_bytes = self._object_bytes = 0

    @property
    def payload_bytes(self) -> int:
        return self._text_bytes + TEXT_OVERHEAD_BYTES * len(self.codes)

    @property
    def taken_bytes(self) -> int:
        if not self.texts:
            return 0
        # A dict writes all of its table when it is made.
        room_bytes = sum(map(getsizeof, (self.codes, self.texts, self._free)))
        return room_bytes + self._object_bytes + _INTEGER_BYTES * len(self.codes)

    def take(self, column: StrColumn) -> U32:
        """Codes uint32 (n,) here for those of ``column``, counting its rows."""
        used, rows_of = np.unique(column.codes, return_inverse=True)
        used_here = np.array(
            [
                NULL_CODE if code == NULL_CODE else self._code(column.dictionary[code])
                for code in used.tolist()
            ],
            np.uint32,
        )
        codes: U32 = used_here[rows_of]
        # The batch may name a text under two codes, and ``add.at`` counts each row all the same.
        np.add.at(self._counts, codes[codes != NULL_CODE], np.uint32(1))
        return codes

    def give_back(self, codes: U32) -> None:
        """Uncount rows with ``codes``; forget texts that no row holds any more."""
        used, times = np.unique(codes[codes != NULL_CODE], return_counts=True)
        self._counts[used] -= times.astype(np.uint32)
        for code in used[self._counts[used] == 0].tolist():
            text = self.texts[code]
            assert text is not None, "a code without a text was held"
            self.texts[code] = None
            del self.codes[text]
            self._free.append(code)
            self._text_bytes -= len(text)
            self._object_bytes -= _object_bytes(text)

    def decode(self, codes: list[int]) -> list[str]:
        texts = self.texts
        return [(texts[code] or b"").decode() for code in codes]

    def check(self, codes: U32) -> None:
        held = codes[codes != NULL_CODE]
        counts = np.bincount(held, minlength=len(self._counts))
        assert (counts == self._counts).all(), "a text is miscounted"
        live = {code: text for code, text in enumerate(self.texts) if text is not None}
        assert sorted(live) == np.flatnonzero(counts).tolist(), "texts and counts differ"
        assert self.codes == {text: code for code, text in live.items()}, "codes and texts differ"
        assert len(self._free) == len(self.texts) - len(live), "a free code is lost"
        assert not set(self._free) & set(live), "a code is free and used"
        assert self._text_bytes == sum(map(len, live.values())), "text bytes are miscounted"
        assert self._object_bytes == sum(map(_object_bytes, live.values())), "so are their objects"

    def _code(self, text: str) -> int:
        encoded = text.encode()
        code = self.codes.get(encoded)
        if code is None:
            if self._free:
                code = self._free.pop()
                self.texts[code] = encoded
            else:
                code = len(self.texts)
                self.texts.append(encoded)
            self.codes[encoded] = code
            self._text_bytes += len(encoded)
            self._object_bytes += _object_bytes(encoded)
        return code


def _object_bytes(text: bytes) -> int:
    """Bytes that the object takes."""
    return -(-(len(text) + _BYTES_OBJECT_BYTES) // _ROUNDED_TO) * _ROUNDED_TO


def _encoded(text: str) -> bytes:
    """UTF-8, lone surrogates and all: such a text is in no dictionary, and none equals it."""
    return text.encode("utf-8", "surrogatepass")
