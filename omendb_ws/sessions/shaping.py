"""What shapes an answer, out of a request: examples, exclusions, order and selection.

Ids and columns are those of the collection, which is known here; ``omendb_core.ranking`` reads the
rest. Everything raises OmenError naming the field.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from omendb_core.filters.parser import Filter
from omendb_core.model.errors import OmenError
from omendb_core.model.types import Definition, IdKind, Ids
from omendb_core.ranking.shape import PLAIN, Decay, Shape
from omendb_core.ranking.shape_parser import FIELDS, shape_of
from omendb_core.search.query import Example, Examples

from ..wire.messages import Near, Shaped
from ..wire.reply_bounds import Keys
from ..wire.rows import parse_ids

_NO_KEYS: Final = Keys()


def shape(request: Shaped, definition: Definition, k: int, max_k: int, *, live: bool) -> Shape:
    """The order and selection that a request asks for."""
    given = {name: value for name in FIELDS if (value := getattr(request, name, None)) is not None}
    return shape_of(given, definition, k, max_k, live=live) if given else PLAIN


def examples(request: Near, definition: Definition, visible: Filter | None) -> Examples | None:
    """What it is to be like and unlike; rows that do not pass ``visible`` are not there."""
    if request.positive is None:
        return None
    return Examples(
        _examples(request.positive, definition.ids, "positive"),
        _examples(request.negative or [], definition.ids, "negative"),
        visible,
    )


def excluded(request: Near, definition: Definition) -> Ids | None:
    """Ids of the rows that are left out."""
    if request.exclude is None:
        return None
    return parse_ids(request.exclude, definition.ids, "exclude")


def keys(shape: Shape) -> Keys:
    """What each row of an answer holds besides its score."""
    if shape.order is None:
        return _NO_KEYS
    return Keys(rank=True, weight=isinstance(shape.order, Decay))


def _examples(given: list[Any], kind: IdKind, name: str) -> tuple[Example, ...]:
    """Examples as they came, ids as the collection has them."""
    return tuple(
        one if isinstance(one, np.ndarray) else _id(one, kind, name, row)
        for row, one in enumerate(given)
    )


def _id(given: Any, kind: IdKind, name: str, row: int) -> int | str:
    try:
        found = parse_ids([given], kind, name)
    except OmenError as error:
        error.row = row
        raise
    return found[0] if isinstance(found, list) else int(found[0])
