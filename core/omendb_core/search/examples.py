"""From examples to the vector that is asked with, and the rows that are left out (PROTOCOL 5)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..filters.masks import evaluate
from ..filters.parser import Filter
from ..model.errors import DimMismatch, NotFound, OmenError
from ..model.types import F32, F64, I64, Definition, IdKind, Ids
from ..scoring import score
from ..state import WindowState
from .query import Example, Examples, prepare_queries, wrong_dim


def target(state: WindowState, examples: Examples) -> F32:
    """The query vector float32 (1, dim), prepared: P, or P + (P - N), of means in float64.

    One stored example alone is used as it is stored, bit for bit. Rows that do not pass
    ``examples.visible`` are not there. Raises NotFound, DimMismatch, NonFinite or ZeroNorm, with
    the example's place in its list as ``row``; the message names it.
    """
    ids = ids_of(examples)
    slots = visible_slots(state, as_ids(state.definition.ids, ids), examples.visible)
    there = {id: slot for id, slot in zip(ids, slots.tolist(), strict=True) if slot >= 0}
    vectors = state.ring.vectors
    return target_of(
        state.definition, examples, lambda id: vectors[there[id]] if id in there else None
    )


def target_of(
    definition: Definition, examples: Examples, stored: Callable[[int | str], F32 | None]
) -> F32:
    """The same, of rows whose vectors float32 (dim,) are ``stored``; None: there is no such row."""
    positive = _stored(definition, examples.positive, stored, "positive")
    negative = _stored(definition, examples.negative, stored, "negative")
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
        return prepare_queries(definition, rounded)
    except OmenError as error:
        error.message = f"positive: the target of these examples: {error.message}"
        raise


def ids_of(examples: Examples) -> list[int | str]:
    """Ids among the examples: they are left out of the answer."""
    every = (*examples.positive, *examples.negative)
    return [one for one in every if not isinstance(one, np.ndarray)]


def as_ids(kind: IdKind, ids: list[int | str]) -> Ids:
    """Ids as a window finds rows by them."""
    if kind == "str":
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
    definition: Definition,
    examples: tuple[Example, ...],
    stored: Callable[[int | str], F32 | None],
    name: str,
) -> F32:
    """Examples float32 (n, dim) as rows are stored."""
    found = np.empty((len(examples), definition.dim), np.float32)
    for row, one in enumerate(examples):
        try:
            if not isinstance(one, np.ndarray):
                vector = stored(one)
                if vector is None:
                    raise NotFound(f"no row has the id {one!s}")
                found[row] = vector
            elif len(one) != definition.dim:
                raise DimMismatch(wrong_dim(len(one), definition))
            else:
                found[row] = score.prepare(one[None], definition.metric)[0]
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
