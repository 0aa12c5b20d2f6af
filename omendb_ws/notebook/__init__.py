"""Notebooks: a live query as a widget, whose table changes as the stream does.

widget.py
    the widget over a synchronous live query (the extra ``notebook``: anywidget).
live.js
    what the page shows of it: a module as it is, no build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..client import tables
from ..sync import Client

if TYPE_CHECKING:
    from .widget import LiveWidget

__all__ = ["live"]


def live(
    db: Client, collection: str, vector: Any = None, k: int = 10, **options: Any
) -> LiveWidget:
    """Return a widget that shows the ``k`` nearest rows, now and whenever that changes.

    ``db`` is a client of ``omendb_ws.sync.connect``; ``options`` are those of its ``live``
    (``positive``, ``filter``, ``decay``, …), with ``include`` the metadata and ``every_ms`` 200
    unless they say otherwise. ``answer`` of the widget is the ``LiveAnswer`` that it shows,
    ``move`` asks for something else, ``close`` ends it. Raises Unsupported without the extra
    ``notebook``, and what ``live`` raises.
    """
    tables.library("anywidget", "notebook", "notebook.live")
    from .widget import LiveWidget

    whole = {"include": ["metadata"], "every_ms": 200, **options}
    return LiveWidget(db.live(collection, vector, k, **whole).__enter__(), collection)
