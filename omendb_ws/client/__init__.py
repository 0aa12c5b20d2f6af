"""The Python clients. ``aio.py`` is the asyncio one (with ``watching.py``), which
``connecting.py`` puts together; ``sync.py`` (with ``sync_watching.py`` and
``sync_subscriptions.py``) is the same without ``await``, on the loop of ``background.py``.

given.py, arguments.py, arrays.py, ids.py, columns.py, plain.py
    what callers may pass, looked at and made plain, or refused by name: pure.
given_frames.py, tables.py, html.py
    data frames as rows, rows as data frames, and what notebooks show of them: pure.
requests.py, rows.py, answers.py, frames.py, adding.py, view.py
    arguments to messages, messages to results, the judgement of the add pipeline, the answer of a
    live query: pure.
transport.py, link.py, connection.py, adder.py, subscriptions.py, live.py, subscribing.py
    one connection, many connections in a row, the pipeline's driver, subscriptions, live queries,
    many of which subscribe at once: asyncio, but any Transport will do.
websocket.py, local.py
    the Transport over a WebSocket, and over the channels (``channel.py``) of a server in process.
"""

from ..errors import ConnectionLost
from .added import Added, ShardAdded
from .aio import Client
from .answers import Answer, FeedRows, Gap, Left, LiveAnswer, Row, Rows
from .backoff import Backoff
from .connecting import Connecting, connect
from .copying import Snapshot
from .counts import Counts, CountWatch
from .descriptions import Description, UnavailableCollection
from .live import LiveQuery
from .map import MapWatch, Picture, Plane
from .stats import ClusterWatch, StatsWatch
from .subscriptions import Feed, MatchFeed, NovelFeed

__all__ = [
    "Added",
    "Answer",
    "Backoff",
    "Client",
    "ClusterWatch",
    "Connecting",
    "ConnectionLost",
    "CountWatch",
    "Counts",
    "Description",
    "Feed",
    "FeedRows",
    "Gap",
    "Left",
    "LiveAnswer",
    "LiveQuery",
    "MapWatch",
    "MatchFeed",
    "NovelFeed",
    "Picture",
    "Plane",
    "Row",
    "Rows",
    "ShardAdded",
    "Snapshot",
    "StatsWatch",
    "UnavailableCollection",
    "connect",
]
