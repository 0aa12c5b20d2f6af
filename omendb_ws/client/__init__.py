"""The Python clients. ``aio.py`` is the asyncio one, which ``connecting.py`` puts together.

requests.py, rows.py, answers.py, frames.py, adding.py
    arguments to messages, messages to results, and the judgement of the add pipeline: pure.
transport.py, link.py, connection.py, adder.py, subscriptions.py
    one connection, many connections in a row, the pipeline's driver, subscriptions: asyncio, but
    any Transport will do.
websocket.py
    the Transport over a WebSocket.
"""

from ..errors import ConnectionLost
from .aio import Client
from .answers import Added, Answer, Description, FeedRows, Gap, Row, Rows
from .backoff import Backoff
from .connecting import Connecting, connect
from .subscriptions import Feed, StatsWatch

__all__ = [
    "Added",
    "Answer",
    "Backoff",
    "Client",
    "Connecting",
    "ConnectionLost",
    "Description",
    "Feed",
    "FeedRows",
    "Gap",
    "Row",
    "Rows",
    "StatsWatch",
    "connect",
]
