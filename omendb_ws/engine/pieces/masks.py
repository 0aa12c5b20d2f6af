"""The mask of a filter over a wide window, made in pieces before anything is asked with it.

Lives on the engine's thread. A mask that is being made follows the changes in between, so it is
true at the moment in which it is complete.
"""

from __future__ import annotations

from collections.abc import Generator

from omendb_core.filters.mask_cache import AT_ONCE_NS
from omendb_core.filters.parser import Filter

from ..model.shard import Shard


def needs_mask(collection: Shard, filter_: Filter | None) -> bool:
    """Whether the mask of a filter would take too long to make in one go; of what is dropped, none.

    What is asked of that is refused, and its window is gone.
    """
    if filter_ is None or collection.is_dropped:
        return False
    return collection.window.state.masks.takes_long(filter_)


def mask_share(collection: Shard, filter_: Filter | None) -> float:
    """How much of the time that a tick has for masks one takes; 0 for what is made in pieces."""
    if filter_ is None or collection.is_dropped or needs_mask(collection, filter_):
        return 0.0
    return collection.window.state.masks.cost_ns(filter_) / AT_ONCE_NS


def mask_made(collection: Shard, filter_: Filter | None) -> Generator[bool, None, None]:
    """Return when the mask of ``filter_`` is there."""
    if filter_ is None:
        return
    while collection.makes_mask and needs_mask(collection, filter_):
        yield False
    if not needs_mask(collection, filter_):
        return
    collection.makes_mask = True
    try:
        collection.refuse_broken()
        while not collection.window.state.masks.make_piece(filter_, "reads"):
            yield True
            collection.refuse_broken()
    finally:
        collection.makes_mask = False
