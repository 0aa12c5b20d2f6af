"""``Idempotency-Key``: what is repeated is done once, and answered alike (PROTOCOL section 11).

Lives on the loop's thread; knows no framework and no engine. What is kept is kept in memory, so a
restart forgets it: who must survive that names a ``producer`` and a ``batch``.

Work goes on to its end although its client leaves, so that whoever repeats it hears what came of
it; who repeats it meanwhile waits for the same. What did nothing and may be tried again is not
kept: only answers that say that it was done, or that nobody knows whether it was.

Invariants: ``len(self)`` is at most ``most_keys`` and those that are being done; what a key takes
is charged to its tenant's memory before its work begins, and given back when it is forgotten.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import xxhash
from omendb_core.model.budget import Budget, Share
from omendb_core.model.errors import BadRequest, Exists, Quota

#: What a key takes besides its own text and the answer: by how memory grows with 100,000 of them.
KEY_BYTES: Final = 1024
MAX_KEY_CHARACTERS: Final = 255
#: The outcome is not known: done again, it might be done twice.
_UNKNOWN_FROM: Final = 500
_NOT_DONE: Final = frozenset((501, 503))
#: Places of keys that were forgotten and are kept until their time, beside as many as are there.
_FORGOTTEN: Final = 64


class Answer(NamedTuple):
    """What a request was answered."""

    status: int
    body: bytes

    @property
    def is_kept(self) -> bool:
        """Whether doing it again could do it twice."""
        if self.status >= _UNKNOWN_FROM:
            return self.status not in _NOT_DONE
        return self.status < 300


class Owner(NamedTuple):
    """Whose keys they are: two principals may use the same one, and not hear of each other.

    A key goes with its collection's ``epoch``: in another one nothing was done by it.
    """

    tenant: str
    principal: str
    epoch: str


def fingerprint(*parts: bytes) -> bytes:
    """What tells two requests apart: their route, query, type and body."""
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def check_key(key: str) -> str:
    """A value of the header. BadRequest."""
    if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise BadRequest(f"Idempotency-Key: 1 to {MAX_KEY_CHARACTERS} printable ASCII characters")
    return key


class _Entry:
    """One key. ``answer`` None: it is being done, by ``task``."""

    __slots__ = ("answer", "expires_us", "owner_and_key", "print", "share", "task")

    def __init__(self, owner_and_key: tuple[Owner, str], print_: bytes, share: Share) -> None:
        self.owner_and_key = owner_and_key
        self.print = print_
        self.share = share
        self.expires_us = 0
        self.answer: Answer | None = None
        self.task: asyncio.Task[Answer] | None = None


_NONE: Final[OrderedDict[tuple[Owner, str], _Entry]] = OrderedDict()


class Keys:
    """Those of all tenants. ``most_keys``: beyond it the tenant with the most loses its oldest."""

    def __init__(self, keep_seconds: float, most_keys: int, clock_us: Callable[[], int]) -> None:
        self._keep_us = round(keep_seconds * 1e6)
        self._most_keys = most_keys
        self._clock_us = clock_us
        self._of: dict[str, OrderedDict[tuple[Owner, str], _Entry]] = {}
        #: Those that were done, as they expire; some were forgotten before.
        self._expiring: deque[_Entry] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    async def once(
        self,
        owner: Owner,
        key: str,
        print_: bytes,
        memory: Budget,
        work: Callable[[], Awaitable[Answer]],
    ) -> tuple[Answer, bool]:
        """Do ``work``, or say what it was answered before; and whether it was before.

        Exists if the key was used for another request, Quota if there is no memory to keep it.
        """
        self.forget_expired()
        entry = self._of.get(owner.tenant, _NONE).get((owner, key))
        if entry is None:
            return await asyncio.shield(self._begin(owner, key, print_, memory, work)), False
        if entry.print != print_:
            raise Exists("Idempotency-Key: it was used for another request")
        if entry.answer is not None:
            return entry.answer, True
        assert entry.task is not None, "it is being done"
        return await asyncio.shield(entry.task), True

    async def finish(self) -> None:
        """Return when nothing is being done any more."""
        while tasks := [
            entry.task for own in self._of.values() for entry in own.values() if entry.task
        ]:
            await asyncio.wait(tasks)

    def _begin(
        self,
        owner: Owner,
        key: str,
        print_: bytes,
        memory: Budget,
        work: Callable[[], Awaitable[Answer]],
    ) -> asyncio.Task[Answer]:
        entry = _Entry((owner, key), print_, self._paid(owner, memory, KEY_BYTES + len(key)))
        task = entry.task = asyncio.create_task(self._do(entry, work))
        self._of.setdefault(owner.tenant, OrderedDict())[owner, key] = entry
        self._count += 1
        self._forget_beyond()
        return task

    def _paid(self, owner: Owner, memory: Budget, wanted_bytes: int) -> Share:
        """Memory for one more, if need be that of older ones of its tenant. Quota."""
        share = Share(memory, "this Idempotency-Key takes")
        while True:
            try:
                share.resize(wanted_bytes)
            except Quota:
                if not self._forget_oldest(owner.tenant):
                    raise
            else:
                return share

    async def _do(self, entry: _Entry, work: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = None
        try:
            answer = await work()
        finally:
            entry.task = None
            if answer is not None and answer.is_kept:
                entry.answer = answer
                entry.share.settle(entry.share.taken_bytes + len(answer.body))
                entry.expires_us = self._clock_us() + self._keep_us
                self._expiring.append(entry)
            else:
                self._forget(entry)
        return answer

    # -- forgetting -------------------------------------------------------------------------------

    def _forget(self, entry: _Entry) -> None:
        tenant = entry.owner_and_key[0].tenant
        own = self._of[tenant]
        del own[entry.owner_and_key]
        self._count -= 1
        entry.share.close()
        if not own:
            del self._of[tenant]

    def _forget_oldest(self, tenant: str) -> bool:
        """The oldest of a tenant that is done; False if there is none."""
        for entry in self._of.get(tenant, _NONE).values():
            if entry.answer is not None:
                self._forget(entry)
                entry.answer = None
                return True
        return False

    def _forget_beyond(self) -> None:
        while self._count > self._most_keys:
            most = max(self._of, key=lambda tenant: len(self._of[tenant]))
            if not self._forget_oldest(most):
                return

    def forget_expired(self) -> None:
        """Those whose time is over. Call it regularly: until then they are charged."""
        now_us, expiring = self._clock_us(), self._expiring
        if len(expiring) > 2 * self._count + _FORGOTTEN:
            self._expiring = expiring = deque(one for one in expiring if one.answer is not None)
        while expiring and (expiring[0].answer is None or expiring[0].expires_us <= now_us):
            entry = expiring.popleft()
            if entry.answer is not None:
                self._forget(entry)
