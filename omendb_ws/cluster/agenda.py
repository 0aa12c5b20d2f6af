"""What a node is to do about the collections of its cluster: follow, take over, let go. Pure.

Each node decides for itself, from what it sees of all; the order of ``placement`` spares them an
election. Whoever decides wrongly harms nothing: the log alone says who appends. So what matters
here is that somebody does, soon, and that nothing is moved twice.

* A collection without an owner is taken over at once by the first node, in the order of placement,
  of those that are ready; the next one tries a moment later, should that one not.
* A node that should hold a collection follows it, and is *ready* once it has caught up. Where no
  node is ready, that is for those that are alive, not for those that may come back.
* One that should own a collection, and has been ready for a while, takes it over from whoever
  does: that one finds itself deposed, and goes on as a follower.
* One that should not hold it lets it go once all those that should are ready.
* Of a collection whose stream is not what was written, nodes keep what they have (*broken*).
  Nobody who has less takes it over; the one that has most *heals* it, once all had the time to say
  what they have. Where another node owns it all the same, it is read again. One that was in the
  memory of NATS only, and that nobody has, *begins anew*: that it is empty its new epoch says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from .members import Collection, View
from .placement import placed

#: How long the next node in order leaves a collection to the one before it, in seconds.
TURN_SECONDS: Final = 0.75
#: How long a node must have been ready, and the right owner, before it takes over from a live one.
SETTLED_SECONDS: Final = 5.0
#: How many windows a node catches up with at once.
MOST_COMING: Final = 4
#: How long nodes have to say what they have of a collection before it is healed, in seconds.
HEAL_SECONDS: Final = 5.0
#: How long a node keeps what it cannot go on with, where another node can.
READ_AGAIN_SECONDS: Final = 10.0
#: How long a node waits after something did not come through, in seconds.
AGAIN_SECONDS: Final = 1.0


class Held(Enum):
    """What this node has of a collection."""

    COMING = "coming"
    FOLLOWING = "following"
    OWNING = "owning"
    #: It is taken over, handed over, made or let go of.
    BUSY = "busy"
    #: Its log is not what was written, and somebody has to look.
    BROKEN = "broken"


class Act(Enum):
    """What is to be done about a collection."""

    FOLLOW = "follow"
    TAKE_OVER = "take over"
    LET_GO = "let go"
    HEAL = "heal"
    READ_AGAIN = "read again"
    BEGIN_ANEW = "begin anew"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, about the collection of ``key``."""

    act: Act
    key: str


class Agenda:
    """Of the node ``me``. What it remembers is since when something has been so, by ``now``.

    ``heals``: whether collections are healed without being asked for.
    """

    def __init__(self, me: str, *, heals: bool = True) -> None:
        self._me = me
        self._heals = heals
        self._broken_since: dict[str, float] = {}
        self._vacant_since: dict[str, float] = {}
        self._due_since: dict[str, float] = {}
        self._not_before: dict[str, float] = {}

    def failed(self, key: str, now: float) -> None:
        """Something about a collection did not come through: try again after a while."""
        self._not_before[key] = now + AGAIN_SECONDS

    def steps(self, view: View, mine: Mapping[str, Held], now: float) -> list[Step]:
        """What is to be done now, ``mine`` being what this node has, by key."""
        if not view.is_fresh or self._me not in view.members:
            return []
        for remembered in (
            self._vacant_since, self._due_since, self._not_before, self._broken_since
        ):  # fmt: skip
            for key in remembered.keys() - view.collections.keys():
                del remembered[key]
        found = [Step(Act.LET_GO, key) for key in mine if self._is_dropped(view, mine, key)]
        coming = sum(one is Held.COMING for one in mine.values())
        moving = sum(one is Held.BUSY for one in mine.values())
        for key, collection in sorted(view.collections.items()):
            if now < self._not_before.get(key, now):
                continue
            act = self._about(view, collection, mine.get(key), now)
            if act is Act.FOLLOW:
                coming += 1
                if coming > MOST_COMING:
                    continue
            if act is Act.TAKE_OVER and collection.owner is not None:
                moving += 1
                if moving > 1:
                    continue
            if act is not None:
                found.append(Step(act, key))
        return found

    @staticmethod
    def wanted(view: View, one: Collection, ready: frozenset[str]) -> list[str]:
        """The nodes that should hold it, who should own it in front, if ``ready`` do so far."""
        return placed(one.key, one.replicas, view.places if ready else view.alive, one.first)

    def _is_dropped(self, view: View, mine: Mapping[str, Held], key: str) -> bool:
        is_kept = mine[key] in (Held.FOLLOWING, Held.BROKEN)
        return key not in view.collections and is_kept

    def _about(self, view: View, one: Collection, held: Held | None, now: float) -> Act | None:
        ready = one.ready | {self._me} if held is Held.FOLLOWING else one.ready
        wanted = self.wanted(view, one, ready)
        is_mine = one.owner == self._me
        is_due = held is Held.FOLLOWING and wanted[:1] == [self._me] and not is_mine
        vacant_since = self._since(self._vacant_since, one.key, one.owner is None, now)
        due_since = self._since(self._due_since, one.key, is_due, now)
        if held is None:
            return Act.FOLLOW if self._me in wanted else None
        if held is Held.BROKEN:
            return self._about_broken(one, now)
        self._broken_since.pop(one.key, None)
        if held is not Held.FOLLOWING:
            return None
        if self._version(one) < one.newest_broken:
            return None
        if is_mine:  # its entry is written, and what follows did not come through
            return Act.TAKE_OVER
        if one.owner is None:
            turn = placed(one.key, len(ready), ready, one.first).index(self._me)
            return Act.TAKE_OVER if now - vacant_since >= turn * TURN_SECONDS else None
        if is_due and now - due_since >= SETTLED_SECONDS:
            return Act.TAKE_OVER
        if self._me not in wanted and set(wanted) <= ready:
            return Act.LET_GO
        return None

    def _version(self, one: Collection) -> int:
        window = one.windows.get(self._me)
        return -1 if window is None else window.version

    def _about_broken(self, one: Collection, now: float) -> Act | None:
        """Heal it, or read it again, or leave it to others."""
        broken_for = now - self._broken_since.setdefault(one.key, now)
        newest = one.newest_broken
        if not one.is_stuck:
            is_late = broken_for >= READ_AGAIN_SECONDS
            return Act.READ_AGAIN if is_late and one.owner not in (None, self._me) else None
        having = [name for name, window in one.windows.items() if window.version == newest]
        is_first = placed(one.key, 1, having, one.first) == [self._me]
        is_to_be = (self._heals or one.is_to_be_healed) and is_first
        if not is_to_be or broken_for < HEAL_SECONDS:
            return None
        if newest > 0:
            return Act.HEAL
        return Act.BEGIN_ANEW if one.is_in_memory else None

    def _since(self, known: dict[str, float], key: str, is_so: bool, now: float) -> float:
        if is_so:
            return known.setdefault(key, now)
        known.pop(key, None)
        return now
