"""Changed bytes, out of a random number generator: the same seed gives the same bytes everywhere.

What runs where no coverage-guided fuzzer does, and, beside that one's own changes, where it does.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

#: data, what else may be taken parts of, words of the format, the generator.
Mutate: TypeAlias = Callable[[bytes, Sequence[bytes], Sequence[bytes], random.Random], bytes]

#: Numbers at which lengths, counts and offsets go wrong.
LIES: Final = (
    0, 1, -1, 2, 7, 8, 63, 64, 127, 128, 255, 256, 65535, 65536, 2**24, 2**31 - 1, -(2**31),
    2**32 - 1, 2**40, 2**53 - 1, 2**53, 2**62, 2**63 - 1, -(2**63), 2**64 - 1,
)  # fmt: skip
_DIGITS: Final = re.compile(rb"-?[0-9]+")
_STACKED: Final = (1, 1, 1, 2, 2, 4, 8)


def mutated(
    data: bytes, others: Sequence[bytes], words: Sequence[bytes], chance: random.Random
) -> bytes:
    """``data`` with one to eight changes."""
    out = bytearray(data)
    for _ in range(chance.choice(_STACKED)):
        if not out:
            out += chance.choice(others) if others else chance.randbytes(8)
        chance.choice(_CHANGES)(out, others, words, chance)
    return bytes(out)


def _range(out: bytearray, chance: random.Random) -> tuple[int, int]:
    """Where a part of ``out`` begins and ends: mostly a short one."""
    start = chance.randrange(len(out) + 1)
    most = chance.choice((1, 4, 8, 32, len(out)))
    return start, min(len(out), start + chance.randint(0, most))


def _flip(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    if out:
        out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)


def _set(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    if out:
        chosen = (0, 1, 0x20, 0x22, 0x7F, 0x80, 0xFF, chance.randrange(256))
        out[chance.randrange(len(out))] = chance.choice(chosen)


def _lie(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    """A number in the place of one, as wide as lengths are."""
    width = chance.choice((1, 2, 4, 4, 8))
    at = chance.randrange(max(1, len(out))) // width * width
    lie = chance.choice(LIES) + chance.choice((0, 0, 1, -1))
    out[at : at + width] = (lie % (1 << 8 * width)).to_bytes(
        width, chance.choice(("little", "big"))
    )


def _nudge(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    """A little more or less than was there."""
    at = chance.randrange(max(1, len(out))) & ~3
    number = int.from_bytes(out[at : at + 4], "little") + chance.choice((-8, -4, -1, 1, 4, 8))
    out[at : at + 4] = (number % (1 << 32)).to_bytes(4, "little")


def _digits(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    """Another number where digits are."""
    found = list(_DIGITS.finditer(bytes(out)))
    if found:
        place = chance.choice(found)
        odd = ("1e400", "-0", "0.1", "1.0", "-1e-400", "12345678901234567890123", "01")
        other = chance.choice((*map(str, LIES), *odd))
        out[place.start() : place.end()] = other.encode()


def _delete(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    start, end = _range(out, chance)
    del out[start:end]


def _cut(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    del out[chance.randrange(len(out) + 1) :]


def _insert(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(out) + 1)
    out[at:at] = chance.randbytes(chance.randint(1, 16))


def _zero(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    start, end = _range(out, chance)
    out[start:end] = bytes(end - start)


def _double(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    start, end = _range(out, chance)
    at = chance.randrange(len(out) + 1)
    out[at:at] = out[start:end] * chance.choice((1, 1, 2, 40))


def _swap(out: bytearray, _: Sequence[bytes], __: Sequence[bytes], chance: random.Random) -> None:
    """Two neighbouring parts."""
    start, middle, end = sorted(chance.randrange(len(out) + 1) for _ in range(3))
    out[start:end] = out[middle:end] + out[start:middle]


def _word(
    out: bytearray, _: Sequence[bytes], words: Sequence[bytes], chance: random.Random
) -> None:
    if words:
        start, end = _range(out, chance)
        out[start : start if chance.random() < 0.5 else end] = chance.choice(words)


def _splice(
    out: bytearray, others: Sequence[bytes], _: Sequence[bytes], chance: random.Random
) -> None:
    """A part of another in the place of one of this."""
    if others:
        other = bytearray(chance.choice(others))
        first, last = _range(other, chance)
        start, end = _range(out, chance)
        out[start:end] = other[first:last]


_CHANGES: Final = (
    _flip, _set, _lie, _nudge, _digits, _delete, _cut, _insert, _zero, _double, _swap, _word,
    _word, _splice,
)  # fmt: skip
