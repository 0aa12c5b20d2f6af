"""A live query as an anywidget: a thread takes its answers, the page draws the latest.

The thread is the only one that reads the query; it ends with ``close``, with the collection, or
with the client. What the page gets are texts, which it never takes for HTML.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..client import LiveAnswer, html
from ..errors import OmenError
from ..sync import LiveQuery


class LiveWidget(anywidget.AnyWidget):
    """The answer of a live query, as it is now. Made by ``omendb_ws.notebook.live``."""

    _esm = Path(__file__).parent / "live.js"
    shown = traitlets.Dict().tag(sync=True)

    def __init__(self, query: LiveQuery, collection: str) -> None:
        super().__init__()
        #: The latest answer, None before the first one.
        self.answer: LiveAnswer | None = None
        self._query = query
        self._collection = collection
        self._thread = threading.Thread(target=self._follow, name="omendb-widget", daemon=True)
        self._thread.start()

    def move(self, vector: Any = None, **changes: Any) -> None:
        """Ask for something else, as ``LiveQuery.move`` does."""
        self._query.move(vector, **changes)

    def close(self) -> None:
        """End the query; the widget goes from the page."""
        self._query.close()
        self._thread.join()
        super().close()

    def _follow(self) -> None:
        why = "ended"
        try:
            for answer in self._query:
                self.answer = answer
                self.shown = document(answer, self._collection)
        except OmenError as error:
            why = f"ended: {error}"
        self.shown = {**self.shown, "state": why}


def document(answer: LiveAnswer, collection: str) -> dict[str, Any]:
    """An answer as the page draws it: names, rows of texts, and which of them have just come."""
    metadata = answer.metadata or [{}] * len(answer)
    keys = list(dict.fromkeys(key for one in metadata for key in one))
    entered = {row.seq for row in answer.entered}
    return {
        "collection": collection,
        "state": "live",
        "version": str(answer.version),
        "names": ["id", "score", *keys],
        "rows": [
            [str(row.id), html.shown(row.score), *(html.shown(of_row.get(key)) for key in keys)]
            for row, of_row in zip(answer, metadata, strict=True)
        ],
        "entered": [row.seq in entered for row in answer],
    }
