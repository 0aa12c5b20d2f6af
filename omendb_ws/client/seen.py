"""What versions of collections a client has been shown, so that time does not run backwards for it.

After a reconnect another server may answer, which has not come as far. So reads say the newest
version that was seen, until an answer on that link is of it or a later one. Pure.

Invariant: a version is asked for only in the epoch that it is of.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..wire import messages


class Version(NamedTuple):
    """Of a collection, in its epoch."""

    epoch: str
    number: int


class Shown(Protocol):
    """A link; ``reached``: the collections whose newest version it has shown."""

    reached: set[str]


class Seen:
    """By one client, over all its links."""

    def __init__(self) -> None:
        self._newest: dict[str, Version] = {}
        #: The epochs that versions are of where an answer does not say it.
        self._epochs: dict[str, str] = {}

    def knows(self, collection: str) -> bool:
        """Whether the epoch is known."""
        return collection in self._epochs

    def is_in(self, collection: str, epoch: str | None) -> bool:
        """Whether the collection is in ``epoch``, or in an unknown one."""
        return self._epochs.get(collection, epoch) == epoch

    def opened(self, collection: str, epoch: str) -> None:
        """The server has said in which epoch it is."""
        self._epochs[collection] = epoch
        newest = self._newest.get(collection)
        if newest is not None and newest.epoch != epoch:
            del self._newest[collection]

    def wanted(self, link: Shown, collection: str) -> Version | None:
        """What a read of ``collection`` must ask for on ``link``; None if it shows that anyway."""
        return None if collection in link.reached else self._newest.get(collection)

    def note(self, link: Shown, collection: str, epoch: str, number: int) -> None:
        """``link`` has shown a version."""
        newest = self._newest.get(collection)
        if newest is None or newest.epoch != epoch or newest.number <= number:
            self._newest[collection] = Version(epoch, number)
            self._epochs[collection] = epoch
            link.reached.add(collection)

    def answered(self, link: Shown, collection: str | None, answer: object) -> None:
        """``link`` has brought an answer about ``collection``, which may state a version."""
        if collection is None:
            return
        number, epoch = getattr(answer, "version", None), self._epochs.get(collection)
        if isinstance(answer, messages.Reply):
            number, epoch = answer.ok.get("version"), answer.ok.get("epoch", epoch)
        if isinstance(epoch, str) and isinstance(number, int):
            self.note(link, collection, epoch, number)

    def forget(self, collection: str) -> None:
        """It was dropped."""
        self._newest.pop(collection, None)
        self._epochs.pop(collection, None)
