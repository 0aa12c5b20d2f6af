"""Changed JSON: most of what comes out is JSON again, of which one part is another.

Changed bytes seldom get further than to the parser.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, Final

from .mutating import LIES, mutated

#: Values where something else is wanted, and such as are at an edge.
ODD: Final[tuple[Any, ...]] = (
    None, True, False, "", "a", "\0", "é", "𝄞", "\ud800", "x" * 300, [], {}, [[]], [{}], {"": 0},
    0.5, -0.0, 1e308, -1e308, 1e-320, 3.4e38, 3.5e38, 2.0, -1.5, "1", "-1", "1e3", "nan",
    10**30, "18446744073709551616", *LIES,
)  # fmt: skip
_BYTES_SHARE: Final = 0.15
#: A node: what holds it, its key there, and itself.
Node = tuple[Any, Any, Any]


def mutated_json(
    data: bytes, others: Sequence[bytes], words: Sequence[bytes], chance: random.Random
) -> bytes:
    """``data`` with some parts of its JSON changed; with changed bytes where it is none."""
    if chance.random() < _BYTES_SHARE:
        return mutated(data, others, words, chance)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return mutated(data, others, words, chance)
    return written(changed(document, [_parsed(one) for one in others], words, chance), chance)


def changed(
    document: Any, others: Sequence[Any], words: Sequence[bytes], chance: random.Random
) -> Any:
    """``document`` with some parts changed; it may be changed itself."""
    top = [document]
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
        holder, key, value = chance.choice(list(_nodes(top)))
        chance.choice(_CHANGES)(holder, key, value, others, words, chance)
        if not top:
            top = [None]
    return top[0]


def written(document: Any, chance: random.Random) -> bytes:
    """JSON of ``document``, as this or that writer has it."""
    separators = chance.choice(((",", ":"), (", ", ": "), (" ,\n", "\t:\r")))
    text = json.dumps(document, separators=separators, ensure_ascii=chance.random() < 0.5)
    return text.encode(errors="replace")


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _nodes(top: Any) -> Iterator[Node]:
    """Every value below ``top``; lists and objects first, not deeper than a thousand."""
    waiting: list[Any] = [top]
    seen = 0
    while waiting and seen < 1000:
        holder = waiting.pop()
        items = list(enumerate(holder)) if isinstance(holder, list) else list(holder.items())
        for key, value in items:
            seen += 1
            yield holder, key, value
            if isinstance(value, list | dict):
                waiting.append(value)


def _odd(holder: Any, key: Any, _: Any, __: Any, words: Sequence[bytes], chance: Any) -> None:
    texts = [word.decode("utf-8", "replace") for word in words]
    is_word = texts and chance.random() < 0.4
    holder[key] = chance.choice(texts) if is_word else deepcopy(chance.choice(ODD))


def _near(holder: Any, key: Any, value: Any, *rest: Any) -> None:
    """A number close by, or a text that is a little different."""
    chance = rest[-1]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return _odd(holder, key, value, *rest)
    if isinstance(value, str):
        at = chance.randrange(len(value) + 1)
        holder[key] = value[:at] + chance.choice(("", "x", "$", "é", "\\")) + value[at + 1 :]
        return None
    holder[key] = chance.choice((value + 1, value - 1, -value, value * 2, value / 3, float(value)))
    return None


def _out(holder: Any, key: Any, *_: Any) -> None:
    del holder[key]


def _double(holder: Any, key: Any, value: Any, *rest: Any) -> None:
    chance = rest[-1]
    copy = deepcopy(value)
    if isinstance(holder, list):
        times = chance.choice((1, 1, 3, 70))
        holder[key:key] = [copy] * times
    else:
        holder[f"{key}{chance.choice(('', '2', ' '))}"] = copy


def _wrap(holder: Any, key: Any, value: Any, *rest: Any) -> None:
    chance, words = rest[-1], rest[-2]
    texts = [word.decode("utf-8", "replace") for word in words] or ["a"]
    depth = chance.choice((1, 1, 2, 9, 40))
    for _ in range(depth):
        value = chance.choice(([value], {chance.choice(texts): value}, [value, deepcopy(value)]))
        if depth > 2:
            value = value[:1] if isinstance(value, list) else value
    holder[key] = value


def _rename(holder: Any, key: Any, value: Any, *rest: Any) -> None:
    chance, words = rest[-1], rest[-2]
    texts = [word.decode("utf-8", "replace") for word in words] or ["a"]
    if isinstance(holder, dict):
        del holder[key]
        holder[chance.choice(texts)] = value
    else:
        chance.shuffle(holder)


def _graft(
    holder: Any, key: Any, value: Any, others: Sequence[Any], words: Sequence[bytes], chance: Any
) -> None:
    """A part of another document in the place of this one, under its key if it has one."""
    found = [one for one in others if isinstance(one, list | dict) and one]
    if not found:
        return _odd(holder, key, value, others, words, chance)
    _, name, part = chance.choice(list(_nodes(chance.choice(found))))
    copy = deepcopy(part)
    holder[name if isinstance(holder, dict) and isinstance(name, str) else key] = copy
    return None


_CHANGES: Final[tuple[Callable[..., None], ...]] = (
    _odd, _odd, _near, _near, _out, _double, _wrap, _rename, _graft, _graft,
)  # fmt: skip
