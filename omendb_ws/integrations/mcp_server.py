"""An MCP server over a client: tools that search, add, count and watch, for agents.

``Agents`` answers what the SDK's server asks: tools (``mcp_tools.py``), and watches as resources
(``mcp_watches.py``). Subscriptions are those of both ages of MCP: ``resources/subscribe`` of a
session, and ``subscriptions/listen``.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import mcp_types as types
import orjson
from mcp.server import Server, ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.exceptions import MCPError

from omendb_ws import Client
from omendb_ws.errors import NotFound, OmenError

from .mcp_tools import Embed, Json, Tool, tools, watch_properties, with_target
from .mcp_watches import Watches

log = logging.getLogger("omendb_ws.mcp")

_INSTRUCTIONS: Final = (
    "OmenDB-WS holds sliding windows over streams of vectors, and searches them exactly. {takes} "
    "Instead of asking again and again, begin a watch: its resource is the answer of now, and "
    "whoever subscribes to it is told when it changes."
)
_VECTORS_ONLY: Final = (
    "It takes vectors, or ids of rows as examples, and no texts: no embedding is set."
)
_TEXTS: Final = "It takes vectors, ids of rows as examples, and texts, which are embedded."
_JSON: Final = "application/json"
#: How long streams that are open may take to end.
_LEAVE_SECONDS: Final = 2


class Agents:
    """What agents ask, over ``db``; ``embed`` makes vectors of texts. Of one event loop."""

    def __init__(self, db: Client, embed: Embed | None, version: str) -> None:
        self._db = db
        self._embed = embed
        self._bus = InMemorySubscriptionBus()
        #: By the URI, and by what a connection said of itself: the SDK makes a session a request.
        self._subscribed: dict[str, dict[int, ServerSession]] = {}
        self.watches = Watches(db, self._tell)
        watching = [
            Tool("watch", "Begin a standing search; subscribe to the resource that it names, and "
                 "be told when its answer changes.",
                 watch_properties(embed), ("collection",), self._watch),
            Tool("unwatch", "End a watch.", {"uri": {"type": "string"}}, ("uri",), self._unwatch),
        ]  # fmt: skip
        self._tools = {one.name: one for one in [*tools(embed), *watching]}
        self.server: Server[Any] = Server(
            "omendb-ws",
            version=version,
            instructions=_INSTRUCTIONS.format(takes=_VECTORS_ONLY if embed is None else _TEXTS),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_read_resource=self._read_resource,
            on_subscribe_resource=self._subscribe,
            on_unsubscribe_resource=self._unsubscribe,
            on_subscriptions_listen=ListenHandler(self._bus),
        )

    async def run_stdio(self) -> None:
        """Speak over standard input and output until the input ends."""
        async with stdio_server() as (incoming, outgoing):
            options = self.server.create_initialization_options()
            await self.server.run(incoming, outgoing, options)

    def subscribers(self, uri: str) -> int:
        """How many connections are told of a watch one by one, as ``resources/subscribe`` asks."""
        return len(self._subscribed.get(uri, ()))

    # -- tools --------------------------------------------------------------------------------

    async def _list_tools(
        self, _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=one.name,
                    description=one.description,
                    input_schema=one.schema(),
                    annotations=types.ToolAnnotations(read_only_hint=one.is_read_only),
                )
                for one in self._tools.values()
            ]
        )

    async def _call_tool(
        self, _: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = self._tools.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name}")
        # Models say null for what they leave out.
        given = {key: one for key, one in (params.arguments or {}).items() if one is not None}
        try:
            tool.check(given)
            found = await tool.call(self._db, given)
        except (OmenError, TimeoutError) as error:
            return _refused(str(error) or "the server did not answer in time")
        except Exception as error:  # the embedding's, which is the user's
            log.exception("%s: the embedding, or a fault of our own", params.name)
            return _refused(f"{type(error).__name__}: {error}")
        text = orjson.dumps(found).decode()
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=text)], structured_content=found
        )

    async def _watch(self, _: Client, given: Json) -> Json:
        watch = await self.watches.begin(await with_target(given, self._embed))
        return {"uri": watch.uri, **watch.document}

    async def _unwatch(self, _: Client, given: Json) -> Json:
        await self.watches.end(str(given["uri"]))
        self._subscribed.pop(str(given["uri"]), None)
        return {"ended": given["uri"]}

    # -- resources ----------------------------------------------------------------------------

    async def _list_resources(
        self, _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        return types.ListResourcesResult(
            resources=[
                types.Resource(
                    uri=one.uri,
                    name=f"watch over {one.collection}",
                    description="The answer of a standing search, as it is now.",
                    mime_type=_JSON,
                )
                for one in self.watches
            ]
        )

    async def _read_resource(
        self, _: ServerRequestContext[Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        document = self._named(str(params.uri)).document
        text = orjson.dumps(document).decode()
        contents = types.TextResourceContents(uri=str(params.uri), mime_type=_JSON, text=text)
        return types.ReadResourceResult(contents=[contents])

    async def _subscribe(
        self, context: ServerRequestContext[Any], params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        uri = self._named(str(params.uri)).uri
        self._subscribed.setdefault(uri, {})[id(context.session.client_params)] = context.session
        return types.EmptyResult()

    async def _unsubscribe(
        self, context: ServerRequestContext[Any], params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        key = id(context.session.client_params)
        self._subscribed.get(str(params.uri), {}).pop(key, None)
        return types.EmptyResult()

    def _named(self, uri: str) -> Any:
        try:
            return self.watches.named(uri)
        except NotFound as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None

    async def _tell(self, uri: str) -> None:
        """Tell whoever subscribed to ``uri``; a session that is gone is forgotten."""
        await self._bus.publish(ResourceUpdated(uri=uri))
        subscribed = self._subscribed.get(uri, {})
        for key, session in list(subscribed.items()):
            try:
                await session.send_resource_updated(uri)
            except Exception:  # whatever its transport raises once it has ended
                subscribed.pop(key, None)


def _refused(why: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=why)], is_error=True)


@asynccontextmanager
async def agents(db: Client, embed: Embed | None, version: str = "") -> AsyncIterator[Agents]:
    """What agents ask over ``db``, as long as the context lasts."""
    made = Agents(db, embed, version)
    try:
        yield made
    finally:
        await made.watches.close()


async def run_http(agents: Agents, listening: socket.socket) -> None:
    """Speak streamable HTTP at ``/mcp`` on a socket of the loopback, until it is cancelled."""
    import uvicorn

    app = agents.server.streamable_http_app(host="127.0.0.1")
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_LEAVE_SECONDS)
    server = uvicorn.Server(config)
    with listening:
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise
