"""Descriptions and statistics of collections, and their rows as who sees some of them counts them.

Lives on the engine's thread. The masks for that are made in pieces where they take long, all of
them before anything is said: of one collection after the other, so others have their turn between.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any

from omendb_core.filters.parser import Filter
from omendb_core.model.errors import Unavailable

from ..model import replies
from ..model.shard import Shard
from ..model.sharded import Sharded
from ..model.ticket import Reply
from ..pieces.long_reads import Steps
from ..pieces.masks import mask_made, mask_share, needs_mask
from .commands import Ask, List


def describes_long(work: List | Ask) -> bool:
    """Whether rows are to be counted in pieces."""
    counted = _counted(work)
    shares = sum(mask_share(shard, visible) for shard, visible in counted)
    return shares > 1 or any(needs_mask(shard, visible) for shard, visible in counted)


def describing_share(work: List | Ask) -> float:
    """How much of the time that a tick has for masks it takes; 0 for what is done in pieces."""
    if describes_long(work):
        return 0.0
    return sum(mask_share(shard, visible) for shard, visible in _counted(work))


def described(work: List | Ask, now_us: int) -> Reply:
    """What is so now."""
    if isinstance(work, List):
        pairs = zip(work.collections, work.visible, strict=True)
        there = [(one, one.describe(visible)) for one, visible in pairs if _is_there(one)]
        return _listed(work, there)
    if work.shard is not None:
        work.shard.refuse_dropped()
    return replies.ok(work.ticket, work.say(now_us))


def described_in_pieces(work: List | Ask, clock_us: Callable[[], int]) -> Steps:
    """The same; each collection is described at a moment of its own."""
    if not isinstance(work, List):
        if work.shard is not None:
            for part in work.shard.parts:
                yield from mask_made(part, work.visible)
        return described(work, clock_us())
    there: list[tuple[Shard | Sharded, dict[str, Any]]] = []
    for shard, visible in zip(work.collections, work.visible, strict=True):
        for part in shard.parts:
            yield from _while_there(part, mask_made(part, visible))
        if _is_there(shard):
            there.append((shard, shard.describe(visible)))
            yield True
    return _listed(work, there)


def _while_there(shard: Shard, making: Generator[bool, None, None]) -> Generator[bool, None, None]:
    """``making``, for as long as the collection is there; one in need of repair is as it is."""
    with closing(making), suppress(Unavailable):
        while _is_there(shard):
            try:
                has_worked = next(making)
            except StopIteration:
                return
            yield has_worked


def _listed(work: List, there: list[tuple[Shard | Sharded, dict[str, Any]]]) -> Reply:
    unavailable = work.unavailable + [
        {"collection": one.name, "reason": one.broken, "recovering": False}
        for one, _ in there
        if one.broken is not None
    ]
    said: dict[str, Any] = {"collections": [body for _, body in there]}
    if unavailable:
        said["unavailable"] = unavailable
    return replies.ok(work.ticket, said)


def _is_there(shard: Shard | Sharded) -> bool:
    return shard.is_made and not shard.is_dropped


def _counted(work: List | Ask) -> list[tuple[Shard, Filter | None]]:
    """What is counted, of collections that are there."""
    if isinstance(work, List):
        pairs = zip(work.collections, work.visible, strict=True)
        there = [(one, visible) for one, visible in pairs if visible is not None and _is_there(one)]
        return [(part, visible) for one, visible in there for part in one.parts]
    if work.visible is None or work.shard is None or work.shard.is_dropped:
        return []
    return [(part, work.visible) for part in work.shard.parts]
