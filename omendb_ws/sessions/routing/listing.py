"""``list`` over a whole cluster: what each of several nodes lists, as one answer.

Every node is asked for what it holds, this one too; what is not there of a node that does not
answer is said to be unavailable by this one.
"""

from __future__ import annotations

from typing import Any

import orjson

from ...wire.encoded import Message, text
from .link import Link


class Listing:
    """The answer to one ``list``; ``waits``: whose part is not there yet."""

    def __init__(self, links: list[Link]) -> None:
        self.waits = set(links)
        self.fault: bytes | None = None
        self._collections: dict[str, dict[str, Any]] = {}
        self._unavailable: dict[str, dict[str, Any]] = {}

    def take(self, link: Link, reply: bytes) -> None:
        """A node's part."""
        self.waits.discard(link)
        ok = orjson.loads(reply).get("ok")
        if ok is None:
            self.fault = reply
            return
        for one in ok["collections"]:
            known = self._collections.get(one["collection"])
            if known is None or known["version"] < one["version"]:
                self._collections[one["collection"]] = one
        for one in ok.get("unavailable", ()):
            self._unavailable.setdefault(one["collection"], one)

    def miss(self, link: Link) -> None:
        """A node is gone."""
        self.waits.discard(link)

    def message(self, request_id: int) -> Message:
        """All of it."""
        if self.fault is not None and not self._collections:
            return text(self.fault)
        there, gone = self._collections, self._unavailable
        body = {"collections": [there[name] for name in sorted(there)]}
        if missing := sorted(gone.keys() - there.keys()):
            body["unavailable"] = [gone[name] for name in missing]
        return text(orjson.dumps({"id": request_id, "ok": body}))
