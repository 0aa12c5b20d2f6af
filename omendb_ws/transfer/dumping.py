"""The rows of a collection as they stood at one version, from its feed.

A feed is a cursor into the window: it is read from the first row up to the last one of the version
at which it began, whatever is added meanwhile. What leaves the window before it is read is missing,
and counted: the rows alive at that version, less those that came. (A row whose metadata is updated
meanwhile comes with the new one.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import numpy as np

from ..client import Client, Description, Feed, FeedRows, Gap
from ..files.chunks import WrittenRows

#: How often a feed that yields nothing is asked how far it has come.
_LOOK_SECONDS: Final = 0.25


class Ended(Exception):
    """The collection was dropped, or began anew, before all was read."""


class Picture:
    """The rows of ``description``, at its version. Iterate once."""

    def __init__(self, db: Client, description: Description) -> None:
        self._db = db
        self.description = description
        #: Rows that came, those that had left before they could, and why they had.
        self.rows = 0
        self.gaps: list[Gap] = []
        self.share = 0.0

    @property
    def missing(self) -> int:
        """Rows that left the window while it was read."""
        return self.description.rows - self.rows

    async def __aiter__(self) -> AsyncIterator[WrittenRows]:
        """Yield the rows in the order of their seqs. Raises Ended, and the client's errors."""
        there = self.description
        if not there.rows:
            return
        feed = self._db.feed(
            there.collection,
            from_seq=there.first_seq,
            epoch=there.epoch,
            include=["metadata", "vector"],
        )
        async with feed:
            while self.rows < there.rows and (feed.to_seq or 0) < there.last_seq:
                step = await _next(feed)
                if step is not None:
                    rows = self._take(step)
                    if rows is not None:
                        yield rows

    def _take(self, step: FeedRows) -> WrittenRows | None:
        there = self.description
        if step.gap is not None:
            if step.gap.reason == "epoch":
                raise Ended(f"{there.collection} began anew while it was read")
            self.gaps.append(step.gap)
        self.share = min(1.0, (step.to_seq - there.first_seq + 1) / _span(there))
        count = int(np.searchsorted(step.seqs, there.last_seq, side="right"))
        if count == 0:
            return None
        assert step.vectors is not None
        assert step.metadata is not None
        self.rows += count
        return WrittenRows(step.vectors[:count], step.ids[:count], step.metadata[:count])


async def _next(feed: Feed) -> FeedRows | None:
    """The next step; None after a while without one. Raises Ended where there is none any more."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await anext(feed)
    except TimeoutError:
        return None
    except StopAsyncIteration:
        raise Ended("the collection was dropped while it was read") from None


def _span(there: Description) -> int:
    return there.last_seq - there.first_seq + 1
