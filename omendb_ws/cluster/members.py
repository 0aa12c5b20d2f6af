"""What the cluster's bucket says: which nodes and collections are there, who owns and holds what.

Pure: it is told each entry as it is watched, and the time by this process's own clock.

**Alive.** A node is alive while its beats come. One is *gone* once none came for a second of
*watched* time: the time in which this node could read the bucket at all, and its own beats came
back. While NATS is away, or elects who leads the bucket (it can be read then, and not written), or
this process stood still, that does not pass, so nobody is taken for gone because of it. Whoever is
wrong about that harms nothing: the log alone decides who appends.

An owner is a process, not a name: a node that was started again owns nothing of what it did before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..journal.interface import Stored
from ..journal.jetstream.names import defined_by

log = logging.getLogger(__name__)

#: How long a node's beats must be missing for it to be gone, in seconds.
GONE_SECONDS: Final = 1.0
#: And for its replicas to find another place: restarting takes no longer, as a rule.
ABSENT_SECONDS: Final = 10.0
#: And for what it said to be taken out of the bucket; it may come back, and says it again.
DEAD_SECONDS: Final = 60.0
#: While this node's own beats are missing for so long nobody else's are missed: two beats.
_UNWRITTEN_SECONDS: Final = 0.5
#: A read of the bucket this long after the one before counts for no more: four beats.
_MOST_BETWEEN_READS_SECONDS: Final = 0.5

READY: Final = "ready"
#: Its log is not what was written; the window stands, and is shown to nobody.
BROKEN: Final = "broken"

#: What becomes of a collection whose log is not what was written, and which no node shows any more:
#: it waits until an operator asks for its healing; it is healed soon, or begins anew if it was in
#: memory only; nobody has any of it.
WAITING: Final = "waiting"
DUE: Final = "due"
LOST: Final = "lost"


@dataclass(frozen=True, slots=True)
class Member:
    """A node that is there, or was just now; ``since`` is when it started, in Unix seconds."""

    name: str
    incarnation: str
    address: str
    version: str
    since: float
    is_alive: bool


@dataclass(frozen=True, slots=True)
class Window:
    """What a node holds of a collection: how far it is, and whether it answers for it yet."""

    version: int
    is_ready: bool
    rows: int = 0
    is_broken: bool = False


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection of the cluster; ``first`` is the node that was asked to own it, if any.

    ``owner`` is the node that owns it, is alive and not broken, ``windows`` those of nodes that are
    alive.
    ``is_to_be_healed``: an operator asked for it. ``is_in_memory``: its stream goes with NATS.
    """

    key: str
    tenant: str
    name: str
    replicas: int
    first: str | None
    owner: str | None
    windows: Mapping[str, Window]
    is_to_be_healed: bool = False
    is_in_memory: bool = False

    @property
    def ready(self) -> frozenset[str]:
        """The nodes that answer for it."""
        return frozenset(node for node, window in self.windows.items() if window.is_ready)

    @property
    def newest_broken(self) -> int:
        """The newest version that a node kept of it which cannot go on; -1 if there is none."""
        return max((one.version for one in self.windows.values() if one.is_broken), default=-1)

    @property
    def is_stuck(self) -> bool:
        """Whether a node kept more of it, and cannot go on with that, than any answers for."""
        ready = (one.version for one in self.windows.values() if one.is_ready)
        return max(ready, default=-1) < self.newest_broken

    def healing(self, heals: bool) -> str | None:
        """What becomes of it while it is stuck, else None; ``heals``: without being asked for."""
        if not self.is_stuck:
            return None
        if self.newest_broken == 0 and not self.is_in_memory:
            return LOST
        return DUE if heals or self.is_to_be_healed else WAITING


@dataclass(frozen=True, slots=True)
class View:
    """All of it at one moment; ``members`` by name, ``collections`` by key.

    ``is_fresh``: whether this node reads the bucket now. ``places``: the nodes that are to hold
    collections, those that went away a moment ago with them. ``leftovers``: what was being made or
    dropped by processes that are not alive. ``leaving``: the nodes that are to hold nothing.
    ``dead``: nodes that were not heard of for long.
    """

    members: Mapping[str, Member]
    collections: Mapping[str, Collection]
    places: frozenset[str]
    is_fresh: bool
    leftovers: tuple[Stored, ...] = ()
    leaving: frozenset[str] = frozenset()
    dead: tuple[str, ...] = ()

    @property
    def alive(self) -> frozenset[str]:
        """The nodes that are there now, those that are to leave only if there are no others."""
        there = frozenset(name for name, one in self.members.items() if one.is_alive)
        return there & self.places or there


@dataclass(slots=True)
class _Beats:
    value: dict[str, Any]
    revision: int
    at: float


@dataclass(slots=True)
class _Entries:
    """The entries of the bucket by what they are of."""

    nodes: dict[str, _Beats] = field(default_factory=dict)
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    owners: dict[str, dict[str, Any]] = field(default_factory=dict)
    definitions: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    #: By node, the process that is to leave; None: whichever has that name.
    leaving: dict[str, str | None] = field(default_factory=dict)
    healing: set[str] = field(default_factory=set)


class Members:
    """As the bucket is watched by one thread; ``view`` is asked for on the same.

    ``me``: the node that watches, if it beats itself.
    """

    def __init__(self, me: str | None = None) -> None:
        self._entries = _Entries()
        self._me = me
        #: The entries that were passed over when they were read last.
        self._unreadable: set[str] = set()
        #: When its own beat was read last.
        self._beat_at = 0.0
        self._watched = 0.0
        self._heard_at: float | None = None

    # -- what is watched --------------------------------------------------------------------------

    def heard(self, now: float) -> None:
        """The bucket is read, whether or not there was anything new."""
        is_written = self._me is None or now - self._beat_at < _UNWRITTEN_SECONDS
        if self._heard_at is not None and is_written:
            self._watched += min(max(now - self._heard_at, 0.0), _MOST_BETWEEN_READS_SECONDS)
        self._heard_at = now

    def take(self, entry: str, value: dict[str, Any], revision: int, now: float) -> None:
        """An entry is, or has become, ``value``.

        One that says what nothing can be made of is passed over: what it said before holds. That
        is logged once, not with each beat.
        """
        self.heard(now)
        kind, _, rest = entry.partition(".")
        if not _is_readable(kind, value):
            if entry not in self._unreadable:
                log.error("entry %s of the bucket is not what a node writes; passed over", entry)
            self._unreadable.add(entry)
            return
        self._unreadable.discard(entry)
        entries = self._entries
        if kind == "node":
            known = entries.nodes.get(rest)
            if known is None or known.revision != revision:
                entries.nodes[rest] = _Beats(value, revision, self._watched)
                if rest == self._me:
                    self._beat_at = now
        elif kind == "held":
            entries.held[rest] = value
        elif kind == "own":
            entries.owners[rest] = value
        elif kind == "leave":
            entries.leaving[rest] = value.get("incarnation")
        elif kind == "heal":
            entries.healing.add(rest)
        elif kind == "def" and (names := defined_by(entry)) is not None:
            entries.definitions[names] = value

    def forget(self, entry: str) -> None:
        """There is no such entry any more."""
        self._unreadable.discard(entry)
        kind, _, rest = entry.partition(".")
        entries = self._entries
        if kind == "node":
            entries.nodes.pop(rest, None)
        elif kind == "held":
            entries.held.pop(rest, None)
        elif kind == "own":
            entries.owners.pop(rest, None)
        elif kind == "leave":
            entries.leaving.pop(rest, None)
        elif kind == "heal":
            entries.healing.discard(rest)
        elif kind == "def" and (names := defined_by(entry)) is not None:
            entries.definitions.pop(names, None)

    @property
    def watched_seconds(self) -> float:
        """How long the bucket could be read so far."""
        return self._watched

    # -- what follows -----------------------------------------------------------------------------

    def view(self, now: float) -> View:
        """What all of it comes to now."""
        members = {name: self._member(name, beats) for name, beats in self._entries.nodes.items()}
        alive = {name: one.incarnation for name, one in members.items() if one.is_alive}
        windows = self._windows(alive)
        collections, leftovers = {}, []
        for (tenant, name), value in self._entries.definitions.items():
            if value.get("state") != "made":
                if value.get("by") not in alive.values():
                    leftovers.append(Stored(str(value["key"]), tenant, name))
                continue
            key = str(value["key"])
            held, owner = windows.get(key, {}), self._owner(key, alive)
            if owner in held and held[owner].is_broken:
                owner = None
            collections[key] = Collection(
                key, tenant, name, int(value.get("replicas", 1)), value.get("owner"),
                owner, held, key in self._entries.healing, "memory" in value,
            )  # fmt: skip
        is_fresh = self._heard_at is not None and now - self._heard_at < GONE_SECONDS
        return View(
            members, collections, self._places(), is_fresh, tuple(leftovers), self._leaving(),
            self._dead(),
        )  # fmt: skip

    def _member(self, name: str, beats: _Beats) -> Member:
        value = beats.value
        is_alive = not value.get("left") and self._watched - beats.at < GONE_SECONDS
        return Member(
            name, str(value.get("incarnation", "")), str(value.get("address", "")),
            str(value.get("version", "")), float(value.get("since", 0.0)), is_alive,
        )  # fmt: skip

    def _owner(self, key: str, alive: Mapping[str, str]) -> str | None:
        entry = self._entries.owners.get(key, {})
        node = entry.get("node")
        if not isinstance(node, str) or alive.get(node) != entry.get("incarnation", ""):
            return None
        return node

    def _windows(self, alive: Mapping[str, str]) -> dict[str, dict[str, Window]]:
        """Of each collection those of the nodes that are alive."""
        found: dict[str, dict[str, Window]] = {}
        for node, value in self._entries.held.items():
            if alive.get(node) != value.get("incarnation"):
                continue
            for key, (version, state, *more) in value.get("windows", {}).items():
                rows = int(more[0]) if more else 0
                found.setdefault(key, {})[node] = Window(
                    int(version), state == READY, rows, state == BROKEN
                )
        return found

    def _dead(self) -> tuple[str, ...]:
        nodes = self._entries.nodes.items()
        silent = [name for name, beats in nodes if self._watched - beats.at >= DEAD_SECONDS]
        without_beats = self._entries.held.keys() - self._entries.nodes.keys()
        is_known = self._watched >= DEAD_SECONDS
        return (*sorted(silent), *(sorted(without_beats) if is_known else ()))

    def _places(self) -> frozenset[str]:
        entries = self._entries
        there = {
            name
            for name, beats in entries.nodes.items()
            if not beats.value.get("left") and self._watched - beats.at < ABSENT_SECONDS
        }
        return frozenset(there - self._leaving()) or frozenset(there)

    def _leaving(self) -> frozenset[str]:
        """Those that are to hold nothing: a process is, and not the next one of its name."""
        nodes = self._entries.nodes
        return frozenset(
            name
            for name, process in self._entries.leaving.items()
            if name in nodes and process in (None, nodes[name].value.get("incarnation"))
        )


def _is_readable(kind: str, value: Mapping[str, Any]) -> bool:
    """Whether what ``Members.view`` reads of an entry is there, and of its type."""
    if kind == "node":
        return isinstance(value.get("since", 0.0), int | float)
    if kind == "held":
        windows = value.get("windows", {})
        return isinstance(windows, dict) and all(map(_is_window, windows.values()))
    if kind == "def":
        first = value.get("owner")
        is_named = isinstance(value.get("key"), str) and isinstance(first, str | None)
        return is_named and isinstance(value.get("replicas", 1), int)
    return True


def _is_window(said: Any) -> bool:
    if not isinstance(said, list) or len(said) < 2:
        return False
    version, state, *more = said
    return isinstance(state, str) and all(isinstance(one, int) for one in (version, *more))
