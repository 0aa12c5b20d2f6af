"""Who may append next: the entry of a collection's owner, and the fence that ends a reign.

The entry says who should try; the log alone decides. So whoever takes it over appends a *fence*,
longer than what the owner before may have in flight: all of that is refused, and void even if it
were not.

An owner that stops notes which version the log holds: NATS drops the end of a file that it finds
altered, and nothing else would tell. One that dies has noted what it had when it took over.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any, Final

from omendb_core.model.errors import OmenError, Unavailable

from ...runtime.faults import as_error
from ..interface import Deposed
from .api import ApiError, JetStream
from .names import owner_entry
from .records import term_messages

log = logging.getLogger(__name__)

#: How many messages an owner has in flight at most.
WINDOW: Final = 16
FENCE: Final = WINDOW + 1


class Ownership:
    """Of one collection. ``incarnation`` is this process's alone."""

    def __init__(self, jetstream: JetStream, node: str, incarnation: str, key: str) -> None:
        self._jetstream = jetstream
        self._node = node
        self._incarnation = incarnation
        self._entry = owner_entry(key)
        #: What the log has held, as an owner of it noted: less than that is a loss.
        self.noted_version = 0

    async def take(self, term_before: int, *, from_others: bool) -> int:
        """Become the owner, under a term above ``term_before`` and all that were; that term.

        Raises Deposed if it is somebody else's and is not to be taken from others; Unavailable.
        """
        while True:
            entry = await self._jetstream.get(self._entry)
            is_mine = entry is None or entry.value.get("incarnation") == self._incarnation
            if entry is not None and not is_mine and not from_others:
                raise Deposed(f"is owned by node {entry.value.get('node')}")
            known = 0 if entry is None else int(entry.value.get("term", 0))
            term = max(known, term_before) + 1
            if entry is not None:
                noted = int(entry.value.get("version", 0))
                self.noted_version = max(self.noted_version, noted)
            try:
                revision = entry.revision if entry else 0
                await self._jetstream.put(self._entry, self._value(term), revision)
                return term
            except ApiError as error:
                if not error.is_wrong_last:
                    raise

    async def note(self, term: int, version: int) -> None:
        """The log holds ``version``, and stops there; unless it is somebody else's by now, or
        NATS does not answer."""
        try:
            entry = await self._jetstream.get(self._entry)
            if entry is not None and entry.value.get("incarnation") == self._incarnation:
                self.noted_version = max(self.noted_version, version)
                await self._jetstream.put(self._entry, self._value(term), entry.revision)
        except (ApiError, OmenError) as error:
            log.info("%s: its version is not noted: %s", self._entry, error)
        except Exception as error:  # whoever stops has more to do
            as_error(error, f"noting the version in {self._entry}")

    def _value(self, term: int) -> dict[str, Any]:
        return {
            "node": self._node,
            "incarnation": self._incarnation,
            "term": term,
            "version": self.noted_version,
        }

    async def forget(self) -> None:
        """There is nothing to own any more."""
        await self._jetstream.remove(self._entry)


async def store_batch(
    jetstream: JetStream, subject: str, messages: list[bytes], last_sequence: int | None
) -> int:
    """Append ``messages`` as one; the sequence of the last. ApiError, Unavailable.

    Only if ``last_sequence`` is the stream's, where that is given.
    """
    client = jetstream.connection.client
    batch = secrets.token_hex(12)
    first = {} if last_sequence is None else {"Nats-Expected-Last-Sequence": str(last_sequence)}
    for number, message in enumerate(messages[:-1], 1):
        headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number), **first}
        first = {}
        try:
            await client.publish(subject, message, headers=headers)
        except Exception as error:
            raise Unavailable(f"the cluster's NATS takes nothing: {error}") from error
    headers = {
        "Nats-Batch-Id": batch,
        "Nats-Batch-Sequence": str(len(messages)),
        "Nats-Batch-Commit": "1",
        **first,
    }
    return await jetstream.commit(subject, messages[-1], headers)


async def fence(jetstream: JetStream, subject: str, term: int) -> int:
    """Append the fence of ``term``; the sequence of its end. Unavailable: perhaps it is there."""
    return await store_batch(jetstream, subject, term_messages(term, FENCE), None)
