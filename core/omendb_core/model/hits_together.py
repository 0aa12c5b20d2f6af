"""Rows of answers put together, and some of them picked out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .types import I64, Hits, Ids


def joined(parts: Sequence[Hits]) -> Hits:
    """Rows one after the other; all parts hold the same of each row."""
    first = parts[0]
    if len(parts) == 1:
        return first
    ids: Any
    if isinstance(first.ids, list):
        ids = [id_ for part in parts for id_ in part.ids]
    else:
        ids = np.concatenate([part.ids for part in parts])
    return Hits(
        ids=ids,
        seqs=np.concatenate([part.seqs for part in parts]),
        scores=_all([part.scores for part in parts]),
        metadata=None
        if first.metadata is None
        else [one for part in parts for one in part.metadata or ()],
        vectors=_all([part.vectors for part in parts]),
        ranks=_all([part.ranks for part in parts]),
        weights=_all([part.weights for part in parts]),
    )


def picked(hits: Hits, places: I64) -> Hits:
    """The rows at ``places`` int64 (m,), in that order."""
    ids: Ids
    if isinstance(hits.ids, list):
        ids = [hits.ids[place] for place in places.tolist()]
    else:
        ids = hits.ids[places]
    metadata = hits.metadata
    return Hits(
        ids=ids,
        seqs=hits.seqs[places],
        scores=_some(hits.scores, places),
        metadata=None if metadata is None else [metadata[place] for place in places.tolist()],
        vectors=_some(hits.vectors, places),
        ranks=_some(hits.ranks, places),
        weights=_some(hits.weights, places),
    )


def _all(arrays: list[Any]) -> Any:
    return None if arrays[0] is None else np.concatenate(arrays)


def _some(array: Any, places: I64) -> Any:
    return None if array is None else array[places]
