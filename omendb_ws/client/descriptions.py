"""What the client's calls say of collections, and how it is read from replies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields as fields_of
from typing import Literal

from omendb_core.model.errors import DimMismatch, NotFound, OmenError
from omendb_core.model.types import ColumnType, IdKind, Metric

from ..wire.messages import Durability, JsonObject
from . import html


@dataclass(frozen=True, slots=True)
class Replica:
    """What a node of a cluster has of a collection, and how far it is, as was said a moment ago."""

    node: str
    version: int
    state: Literal["owner", "follower", "coming"]


@dataclass(frozen=True, slots=True)
class Description:
    """What a collection is, and how it stood at ``version`` (PROTOCOL section 3).

    ``describe`` says ``owner`` and ``replicas`` in a cluster; elsewhere there are none. Of several
    ``shards`` the ``versions`` are those of each, and ``version`` is their sum.
    """

    collection: str
    dim: int
    metric: Metric
    capacity: int
    ids: IdKind
    columns: Mapping[str, ColumnType]
    ttl: float | None
    durability: Durability
    epoch: str
    version: int
    first_seq: int
    last_seq: int
    rows: int
    bytes: int | None
    owner: str | None = None
    replicas: tuple[Replica, ...] = ()
    shards: int = 1
    versions: tuple[int, ...] = ()

    def _repr_html_(self) -> str:
        said = [
            (one.name, getattr(self, one.name)) for one in fields_of(self)
            if getattr(self, one.name) not in (None, ())
        ]  # fmt: skip
        return html.table(["field", "value"], said, self.collection)


class Descriptions(list[Description]):
    """Collections, as a list that notebooks show as a table."""

    def _repr_html_(self) -> str:
        shown = ("collection", "rows", "capacity", "dim", "metric", "ids", "version", "bytes")
        rows = [[getattr(one, name) for name in shown] for one in self]
        return html.table(shown, rows, f"{len(self)} collection{'' if len(self) == 1 else 's'}")


@dataclass(frozen=True, slots=True)
class UnavailableCollection:
    """A collection that cannot be used now: ``reason`` says why, as the errors about it do.

    ``recovering``: it may come back without anybody's help.
    """

    collection: str
    reason: str
    recovering: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """A collection as one connection opened it: the handle of its binary messages."""

    handle: int
    description: Description


def read_description(ok: JsonObject) -> Description:
    """Return the description in a reply; unknown fields are ignored."""
    replicas = tuple(
        Replica(one["node"], one["version"], one["state"]) for one in ok.get("replicas", ())
    )
    said = {name: ok[name] for name in _DESCRIPTION_FIELDS}
    cut = {"shards": ok.get("shards", 1), "versions": tuple(ok.get("versions", ()))}
    return Description(**said, owner=ok.get("owner"), replicas=replicas, **cut)


_DESCRIPTION_FIELDS = tuple(
    field.name
    for field in fields_of(Description)
    if field.name not in ("owner", "replicas", "shards", "versions")
)


def read_unavailable(one: JsonObject) -> UnavailableCollection:
    """Return an entry of ``unavailable``; unknown fields are ignored."""
    return UnavailableCollection(one["collection"], one["reason"], one["recovering"])


def may_be_stale(error: OmenError) -> bool:
    """Whether the collection may have been made anew under its name, with another dimension."""
    return isinstance(error, NotFound | DimMismatch)


def read_opened(ok: JsonObject) -> Opened:
    """Return the handle and description in the reply to ``open`` or ``create``."""
    return Opened(ok["handle"], read_description(ok))
