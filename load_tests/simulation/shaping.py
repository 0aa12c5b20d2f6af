"""What shapes an answer, as the oracle does it: order and selection (PROTOCOL section 5).

Written from the protocol's text, sharing nothing with the engine. Times of acceptance are the
server's alone, so an order is of scores and columns here. Functions are numpy's: a rank may differ
from the server's in its last bits, which tells only between rows that are ranked as closely.

Ids, of examples and of what is left out, are those of rows that are there before the load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Final

import numpy as np
from omendb_core.model.types import F32, F64, I64, Bool1

from .row_filter import passes

Shape = Mapping[str, Any]
#: Scores (n,) of the row at a place with all others of some places.
Likeness = Callable[[int, I64], F32]

_OF_IDS: Final = frozenset({"exclude", "positive", "negative"})
_SEVERAL: Final = {
    "$add": np.add, "$mul": np.multiply, "$min": np.minimum, "$max": np.maximum,
    "$sub": np.subtract, "$div": np.divide, "$pow": np.power,
}  # fmt: skip
_ONE: Final = {
    "$neg": np.negative, "$abs": np.abs, "$sqrt": np.sqrt, "$exp": np.exp, "$log": np.log,
}  # fmt: skip


def shape_of(shapes: Sequence[Shape], each: int, query: int) -> Shape:
    """What shapes the answer to the query of that number, where ``each`` in a row have the same."""
    return shapes[query // each % len(shapes)] if shapes else {}


def asked_with(shape: Shape, queries: F32) -> F32 | None:
    """The vectors that a message holds: none if it holds examples."""
    return None if "positive" in shape else queries


def with_ids(shape: Shape, stored: int, first_id: int) -> Shape:
    """The same with ids that count from the newest (-1) of ``stored`` rows as they are."""
    found = dict(shape)
    for name in _OF_IDS & shape.keys():
        found[name] = [one + stored + first_id if one < 0 else one for one in shape[name]]
    return found


def left_out(shape: Shape) -> list[int]:
    """Ids of rows that an answer does not hold."""
    return [one for name in sorted(_OF_IDS) for one in shape.get(name, ())]


def target(positive: F32, negative: F32) -> F32:
    """What examples, as they are kept, come to: (dim,), not normalised yet."""
    if len(positive) == 1 and not len(negative):
        return positive[0]
    liked = reduce(np.add, positive.astype(np.float64)) / len(positive)
    if not len(negative):
        return liked.astype(np.float32)
    disliked = reduce(np.add, negative.astype(np.float64)) / len(negative)
    found: F32 = (liked + (liked - disliked)).astype(np.float32)
    return found


def unknown_order(shape: Shape, columns: Mapping[str, Any]) -> str:
    """Why the oracle cannot tell how rows are ordered; nothing if it can."""
    if "decay" in shape and shape["decay"].get("column") not in columns:
        return "decay.column: one of the columns; when rows were accepted only the server knows"
    return ""


def fault(shape: Shape, columns: Mapping[str, Any], stored: int) -> str:
    """Why there are no such queries here; nothing if there are.

    ``stored``: rows before the load, whose ids are known.
    """
    unknown = shape.keys() - {"decay", "rank", "group", "spread", "mmr", *_OF_IDS}
    if unknown:
        return f"{min(unknown)}: unknown"
    for name in sorted(_OF_IDS & shape.keys()):
        ids = shape[name]
        if not isinstance(ids, list) or not all(
            type(one) is int and -stored <= one <= stored for one in ids
        ):
            return f"{name}: ids of the {stored:,} rows before the load, or -1 for the newest, …"
    if "column" in shape.get("decay", {}) and shape["decay"]["column"] not in columns:
        return "decay.column: one of the columns"
    if "group" in shape and shape["group"].get("by") not in columns:
        return "group.by: one of the columns"
    return _fault(shape["rank"], columns) if "rank" in shape else ""


def _fault(node: Any, columns: Mapping[str, Any]) -> str:
    if isinstance(node, str):
        return "" if node == "$score" or node in columns else f"rank: {node} is no column"
    if not isinstance(node, dict):
        return ""
    ((operator, operands),) = node.items()
    if operator == "$default":
        return _fault(operands[0], columns)
    if operator == "$if":
        operands = operands[1:]
    elif operator not in _SEVERAL and operator not in _ONE:
        return f"rank: {operator} is none that the oracle knows"
    inner = operands if isinstance(operands, list) else [operands]
    return next(filter(None, (_fault(one, columns) for one in inner)), "")


def answer(
    shape: Shape,
    scores: F32,
    seqs: I64,
    columns: Mapping[str, Sequence[Any]],
    likeness: Likeness,
    k: int,
) -> list[int]:
    """Places of the rows of an answer, of those that score ``scores``; ``columns`` are theirs."""
    order = _order(shape, scores, seqs, columns)
    has_room = _room(shape, columns)
    if "mmr" in shape:
        return _marginal(shape["mmr"], order, has_room, scores, likeness, k)
    most = np.float32(shape["spread"]["max_similarity"]) if "spread" in shape else None
    taken: list[int] = []
    for place in order.tolist():
        if len(taken) == k:
            break
        if most is not None and taken and (likeness(place, np.array(taken)) >= most).any():
            continue
        if has_room(place):
            taken.append(place)
    return taken


def _order(shape: Shape, scores: F32, seqs: I64, columns: Mapping[str, Sequence[Any]]) -> I64:
    if "decay" in shape:
        times = _numbers(columns[shape["decay"]["column"]])
        with np.errstate(all="ignore"):
            ranks = np.log2(scores.astype(np.float64)) + times / shape["decay"]["half_life"]
        is_null = ~(np.isfinite(ranks) & (scores > 0))
        ranks[is_null] = -np.inf
        return np.lexsort((seqs, np.where(is_null, scores, 0), ranks))[::-1]
    if "rank" in shape:
        with np.errstate(all="ignore"):
            ranks = np.broadcast_to(_value(shape["rank"], scores, columns), scores.shape)
        order = np.lexsort((seqs, scores, ranks))[::-1]
        return order[np.isfinite(ranks[order])]
    return np.lexsort((seqs, scores))[::-1]


def _value(node: Any, scores: F32, columns: Mapping[str, Sequence[Any]]) -> Any:
    if isinstance(node, str):
        return scores.astype(np.float64) if node == "$score" else _numbers(columns[node])
    if not isinstance(node, dict):
        return float(node)
    ((operator, operands),) = node.items()
    if operator == "$default":
        found = _numbers(columns[operands[0]])
        return np.where(np.isnan(found), operands[1], found)
    if operator == "$if":
        document, then, otherwise = operands
        branches = [_value(one, scores, columns) for one in (then, otherwise)]
        return np.where(_passing(document, len(scores), columns), *branches)
    if operator in _ONE:
        return _ONE[operator](_value(operands, scores, columns))
    values = [_value(one, scores, columns) for one in operands]
    is_null = reduce(np.logical_or, map(np.isnan, values))  # 1 to the power of null is 1 in numpy
    return np.where(is_null, np.nan, reduce(_SEVERAL[operator], values))


def _passing(document: Shape, count: int, columns: Mapping[str, Sequence[Any]]) -> Bool1:
    rows = ({name: one[row] for name, one in columns.items()} for row in range(count))
    return np.fromiter((passes(document, row) for row in rows), np.bool_, count)


def _numbers(values: Sequence[Any]) -> F64:
    return np.array([np.nan if one is None else one for one in values], np.float64)


def _room(shape: Shape, columns: Mapping[str, Sequence[Any]]) -> Callable[[int], bool]:
    """Whether a row's group has room; if so it is taken."""
    if "group" not in shape:
        return lambda place: True
    values, size = columns[shape["group"]["by"]], shape["group"].get("size", 1)
    counts: dict[Any, int] = {}

    def has_room(place: int) -> bool:
        count = counts.get(values[place], 0)
        counts[values[place]] = min(count + 1, size)
        return count < size

    return has_room


def _marginal(
    mmr: Shape,
    order: I64,
    has_room: Callable[[int], bool],
    scores: F32,
    likeness: Likeness,
    k: int,
) -> list[int]:
    left: list[int] = []
    for place in order.tolist():
        if len(left) == mmr.get("candidates", 10 * k):
            break
        if has_room(place):
            left.append(place)
    weight, near = float(mmr["lambda"]), dict.fromkeys(left, -np.inf)
    taken: list[int] = []
    while left and len(taken) < k:
        values = [
            weight * float(scores[place]) - (1 - weight) * near[place] if taken
            else weight * float(scores[place])
            for place in left
        ]  # fmt: skip
        best = left.pop(int(np.argmax(values)))
        taken.append(best)
        if left:
            found = likeness(best, np.array(left)).tolist()
            near = {place: max(near[place], one) for place, one in zip(left, found, strict=True)}
    return taken
