"""The mask of a filter over a wide window, made in pieces before anything is asked with it.

Lives on the engine's thread. A mask that is being made follows the changes in between, so it is
true at the moment in which it is complete.
"""

from __future__ import annotations

from collections.abc import Generator

from omendb_core.filters.mask_cache import AT_ONCE_NS
from omendb_core.filters.parser import Filter

from ..model.shard import Shard


def needs_mask(shard: Shard, filter_: Filter | None) -> bool:
    """Whether the mask of a filter would take too long to make in one go; of what is dropped, none.

    What is asked of that is refused, and its window is gone.
    """
    if filter_ is None or shard.is_dropped:
        return False
    return shard.window.state.masks.takes_long(filter_)


def mask_share(shard: Shard, filter_: Filter | None) -> float:
    """How much of the time that a tick has for masks one takes; 0 for what is made in pieces."""
    if filter_ is None or shard.is_dropped or needs_mask(shard, filter_):
        return 0.0
    return shard.window.state.masks.cost_ns(filter_) / AT_ONCE_NS


def mask_made(shard: Shard, filter_: Filter | None) -> Generator[bool, None, None]:
    """Return when the mask of ``filter_`` is there."""
    if filter_ is None:
        return
    while shard.makes_mask and needs_mask(shard, filter_):
        yield False
    if not needs_mask(shard, filter_):
        return
    shard.makes_mask = True
    try:
        shard.refuse_broken()
        while not shard.window.state.masks.make_piece(filter_, "reads"):
            yield True
            shard.refuse_broken()
    finally:
        shard.makes_mask = False
