"""From examples to the vector that is asked with, and the rows that are left out (PROTOCOL 5)."""

from __future__ import annotations

import numpy as np

from ..filters.masks import evaluate
from ..filters.parser import Filter
from ..model.errors import DimMismatch, NotFound, OmenError
from ..model.types import F32, F64, I64, Ids
from ..scoring import score
from ..state import WindowState
from .query import Example, Examples, prepare_queries, wrong_dim


def target(state: WindowState, examples: Examples) -> F32:
    """The query vector float32 (1, dim), prepared: P, or P + (P - N), of means in float64.

    One stored example alone is used as it is stored, bit for bit. Rows that do not pass
    ``examples.visible`` are not there. Raises NotFound, DimMismatch, NonFinite or ZeroNorm, with
    the example's place in its list as ``row``; the message names it.
    """
    positive = _stored(state, examples.positive, examples.visible, "positive")
    negative = _stored(state, examples.negative, examples.visible, "negative")
    if (
        len(positive) == 1
        and not len(negative)
        and not isinstance(examples.positive[0], np.ndarray)
    ):
        return positive
    mean = _mean(positive)
    if len(negative):
        mean = mean + (mean - _mean(negative))
    with np.errstate(over="ignore"):
        rounded = mean.astype(np.float32)[None]
    try:
        return prepare_queries(state.definition, rounded)
    except OmenError as error:
        error.message = f"positive: the target of these examples: {error.message}"
        raise


def ids_of(examples: Examples) -> list[int | str]:
    """Ids among the examples: they are left out of the answer."""
    every = (*examples.positive, *examples.negative)
    return [one for one in every if not isinstance(one, np.ndarray)]


def as_ids(state: WindowState, ids: list[int | str]) -> Ids:
    """Ids as the window finds rows by them."""
    if state.definition.ids == "str":
        return [str(one) for one in ids]
    return np.array(ids, np.uint64)


def visible_slots(state: WindowState, ids: Ids, visible: Filter | None) -> I64:
    """Slots of ``ids`` int64 (n,); -1 where there is no row that passes ``visible``."""
    slots = state.ids.find(ids)
    if visible is not None:
        found = np.flatnonzero(slots >= 0)
        hidden = found[~evaluate(visible, state.columns, slots[found])]
        slots[hidden] = -1
    return slots


def _stored(
    state: WindowState, examples: tuple[Example, ...], visible: Filter | None, name: str
) -> F32:
    """Examples float32 (n, dim) as rows are stored."""
    found = np.empty((len(examples), state.definition.dim), np.float32)
    ids = [one for one in examples if not isinstance(one, np.ndarray)]
    slots = visible_slots(state, as_ids(state, ids), visible)
    at = iter(slots.tolist())
    for row, one in enumerate(examples):
        try:
            if isinstance(one, np.ndarray):
                if len(one) != state.definition.dim:
                    raise DimMismatch(wrong_dim(len(one), state.definition))
                found[row] = score.prepare(one[None], state.definition.metric)[0]
            elif (slot := next(at)) < 0:
                raise NotFound(f"no row has the id {one!s}")
            else:
                found[row] = state.ring.vectors[slot]
        except OmenError as error:
            error.message, error.row = f"{name}: {error.message}", row
            raise
    return found


def _mean(vectors: F32) -> F64:
    """The mean in float64 (dim,), summed in order."""
    total = np.zeros(vectors.shape[1])
    for vector in vectors:
        total += vector
    mean: F64 = total / len(vectors)
    return mean
