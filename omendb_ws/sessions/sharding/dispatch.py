"""Which requests go to collections of several shards, and what becomes of them.

Runs on the loop's thread, between ``ops.py`` and its handlers. What is not there for such a
collection is ``unsupported``, and says which field; nothing ever comes to one shard for the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from omendb_core.model.errors import NotFound, Unsupported

from ...catalog.entry import Entry
from ...wire import messages as wire
from ...wire.searches import PlainSearch
from ..at_version import at_version
from ..auditing import target_of
from ..reach import reach
from ..session import Session
from ..subscriptions.of_shards import ShardedSubscription
from . import changes, collections, live, reads, row_streams, searching, subscribing


def gathers(session: Session, request: wire.Request | PlainSearch, size: int) -> bool:
    """Whether a request is for a collection of several shards; then it is handled."""
    collection = _collection(session, request)
    if collection is None or isinstance(request, wire.Create | wire.Restore):
        return False
    handler = _HANDLERS.get(type(request))
    if handler is None:
        reach(session, request.op, collection)  # rights come first
        raise Unsupported(
            f"collection: {request.op!r} is not supported of a collection of several shards yet"
        )
    handler(session, request, size)
    return True


def _collection(session: Session, request: wire.Request | PlainSearch) -> Entry | None:
    target = target_of(request)
    if isinstance(request, wire.Move | wire.Unsubscribe):
        return _subscribed(session, request)
    if isinstance(target, str):
        return session.context.catalog.sharded.get((session.tenant, target))
    if target is not None:
        with suppress(NotFound):
            found = session.find(target)
            return None if found.whole is None else found
    return None


def _subscribed(session: Session, request: wire.Move | wire.Unsubscribe) -> Entry | None:
    subscription = session.subscriptions.get(request.sub)
    if subscription is None or subscription.collection is None or subscription.is_leaving:
        return None
    if isinstance(request, wire.Unsubscribe) and not isinstance(subscription, ShardedSubscription):
        return None
    return None if subscription.collection.whole is None else subscription.collection


_HANDLERS: Final[dict[type, Callable[[Session, Any, int], None]]] = {
    wire.Open: collections.open_,
    wire.Describe: collections.describe,
    wire.Drop: collections.drop,
    wire.Subscribe: at_version(subscribing.subscribe),
    wire.Move: live.move_live,
    wire.Unsubscribe: row_streams.unsubscribe,
    wire.Add: changes.add,
    wire.Delete: changes.delete,
    wire.Update: changes.update,
    wire.Stats: reads.stats,
    wire.Get: at_version(reads.get),
    wire.Count: at_version(reads.count),
    wire.Search: at_version(searching.search),
    PlainSearch: searching.search,
}
