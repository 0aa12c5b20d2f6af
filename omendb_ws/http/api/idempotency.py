"""``Idempotency-Key``: what is repeated is done once, and answered alike (PROTOCOL section 11).

Lives on the loop's thread; knows no framework and no engine. What is kept is kept in memory, so a
restart forgets it: who must survive that names a ``producer`` and a ``batch``.

Work goes on to its end although its client leaves, so that whoever repeats it hears what came of
it; who repeats it meanwhile waits for the same. What did nothing and may be tried again is not
kept: only answers that say that it was done, or that nobody knows whether it was.

Invariants: ``len(self)`` is at most ``most_keys`` and those that are being done; what a key takes
is charged to its tenant's memory before its work begins, and given back when it is forgotten. No
step costs more the more keys or tenants there are.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import xxhash
from omendb_core.model.budget import Budget, Share
from omendb_core.model.errors import BadRequest, Exists, Quota

from .by_count import ByCount

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


class Keys:
    """Those of all tenants. ``most_keys``: beyond it the tenant with the most loses its oldest."""

    def __init__(self, keep_seconds: float, most_keys: int, clock_us: Callable[[], int]) -> None:
        self._keep_us = round(keep_seconds * 1e6)
        self._most_keys = most_keys
        self._clock_us = clock_us
        self._entries: dict[tuple[Owner, str], _Entry] = {}
        #: Those that were done, the oldest first, by tenant; and how many each tenant has.
        self._done: dict[str, OrderedDict[_Entry, None]] = {}
        self._done_count = ByCount()
        #: The same of all tenants, as they expire; some were forgotten before.
        self._expiring: deque[_Entry] = deque()
        self._under_way: set[asyncio.Task[Answer]] = set()

    def __len__(self) -> int:
        return len(self._entries)

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
        entry = self._entries.get((owner, key))
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
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def give_up(self) -> None:
        """End what is still being done: whoever waits hears that nobody knows what came of it."""
        await asyncio.sleep(0)  # one that has not begun yet could not say so
        for task in self._under_way:
            task.cancel()
        await self.finish()

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
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        self._entries[owner, key] = entry
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
                tenant = entry.owner_and_key[0].tenant
                self._done.setdefault(tenant, OrderedDict())[entry] = None
                self._done_count.more(tenant)
            else:
                self._forget(entry)
        return answer

    # -- forgetting -------------------------------------------------------------------------------

    def _forget(self, entry: _Entry) -> None:
        del self._entries[entry.owner_and_key]
        entry.share.close()
        if entry.answer is not None:
            entry.answer = None
            tenant = entry.owner_and_key[0].tenant
            done = self._done[tenant]
            del done[entry]
            self._done_count.less(tenant)
            if not done:
                del self._done[tenant]

    def _forget_oldest(self, tenant: str | None) -> bool:
        """The oldest of a tenant that is done; False if there is none."""
        done = self._done.get(tenant) if tenant is not None else None
        if done is None:
            return False
        self._forget(next(iter(done)))
        return True

    def _forget_beyond(self) -> None:
        while len(self) > self._most_keys and self._forget_oldest(self._done_count.most()):
            pass

    def forget_expired(self) -> None:
        """Those whose time is over. Call it regularly: until then they are charged."""
        now_us, expiring = self._clock_us(), self._expiring
        if len(expiring) > 2 * len(self) + _FORGOTTEN:
            self._expiring = expiring = deque(one for one in expiring if one.answer is not None)
        while expiring and (expiring[0].answer is None or expiring[0].expires_us <= now_us):
            entry = expiring.popleft()
            if entry.answer is not None:
                self._forget(entry)
