"""What a request may reach: the one way from its collection's name or handle to the collection.

Grants are looked at here, by the table of ops, before the engine knows of a request (PROTOCOL
section 9): whether the op is allowed on that name, which rows are there for whoever asks, and what
rows that are written get. A collection that an op did not come by in this way cannot be had.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from omendb_core.admission.guard import FREE, Guard
from omendb_core.filters.parser import Filter, both, charged, optional, parse
from omendb_core.model.budget import Budget
from omendb_core.model.errors import BadFilter, Forbidden
from omendb_core.model.types import ColumnType

from ..access.grants import WHOLE, Scope, Stamp
from ..access.stamps import misfit
from ..catalog.entry import Entry
from ..wire.opcodes import OPS
from .session import Session

log = logging.getLogger(__name__)

#: The right that each op needs on its collection; None: any.
_RIGHTS: Final = {name: None if op.right == "any" else op.right for name, op in OPS.items()}


class Fit(NamedTuple):
    """What filters come to with the columns of a collection: of ``Reach``, what takes parsing."""

    visible: Filter | None
    guard: Guard = FREE


class Reach(NamedTuple):
    """``visible``: rows that do not pass are not there; ``guard``, ``stamp``: what is written."""

    collection: Entry
    visible: Filter | None = None
    guard: Guard = FREE
    stamp: Stamp = MappingProxyType({})

    @property
    def read(self) -> tuple[Entry, Filter | None]:
        """The collection, and which of its rows are there."""
        return self.collection, self.visible

    def joined(self, document: Any) -> Filter | None:
        """A request's filter, and the forced one. BadFilter."""
        return both(self.visible, optional(document, self.collection.definition.columns))

    def kept(self, document: Any, budget: Budget) -> Filter | None:
        """As ``joined``, of a filter that stays: its bytes are of ``budget``. Quota."""
        return charged(self.joined(document), budget)


def reach(session: Session, op: str, target: str | int | Entry) -> Reach:
    """What ``op`` reaches of a collection, by its name or handle. NotFound, Forbidden.

    Whether a name is allowed comes first, so that nobody learns what is there by asking.
    """
    right = _RIGHTS[op]
    if isinstance(target, str):
        scope = session.who.scope(right, target)
        return _reach(session, scope, session.find(target), op)
    collection = target if isinstance(target, Entry) else session.find(target)
    return _reach(session, session.who.scope(right, collection.name), collection, op)


def shown(session: Session, collection: Entry) -> Filter | None:
    """Which rows ``list`` counts, of a collection that any grant matches."""
    try:
        return _parsed(session.who.scope(None, collection.name).filter, collection)
    except Forbidden:
        return parse({"$not": {}}, collection.definition.columns)


def may_read(session: Session, collection: Entry) -> Filter | None:
    """What of a collection may be read besides what else an op does. Forbidden."""
    scope = session.who.scope("read", collection.name)
    return _parsed(scope.filter, collection)


def _reach(session: Session, scope: Scope, collection: Entry, op: str) -> Reach:
    if scope is WHOLE:
        return Reach(collection)
    # Columns are those of an epoch. A connection forgets what it knows when its grants change.
    key = OPS[op].right, OPS[op].grants == "written", collection.epoch
    found: Fit | None = session.who.fits.get(key)
    if found is None:
        found = _fitted(scope, collection, writes=key[1])
        session.who.keep_fit(key, found)
    return Reach(collection, found.visible, found.guard, scope.stamp)


def _fitted(scope: Scope, collection: Entry, *, writes: bool) -> Fit:
    """What a scope comes to with a collection's columns. Forbidden."""
    visible = _parsed(scope.filter, collection)
    if not writes:
        return Fit(visible)
    wrong = misfit(scope.stamp, collection.definition.columns)
    if wrong is not None:
        raise _closed(collection, f"stamp {wrong!r}")
    return Fit(visible, Guard(visible, _parsed(scope.written, collection)))


def _parsed(document: Mapping[str, Any] | None, collection: Entry) -> Filter | None:
    """A forced filter; one that this collection's columns do not bear lets nothing through."""
    columns: Mapping[str, ColumnType] = collection.definition.columns
    if document is None:
        return None
    try:
        return parse(document, columns)
    except BadFilter as error:
        raise _closed(collection, str(error)) from None


def _closed(collection: Entry, what: str) -> Forbidden:
    log.warning(
        "a grant does not fit collection %s (tenant %s), so it is forbidden: %s",
        collection.name,
        collection.tenant,
        what,
        extra={"collection": collection.name, "tenant": collection.tenant},
    )
    return Forbidden(f"this token's grant does not fit the columns of {collection.name}")
