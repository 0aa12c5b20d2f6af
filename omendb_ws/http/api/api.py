"""The FastAPI app: routes are added to it, and requests find theirs.

A route is ``async (Request) -> answer``; ``asking_of`` gives the request that it is about. Fields,
checks and documents come from the wire's table and the sessions, so FastAPI is given no models,
and a request goes from its routing straight to the route. Knows no socket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import Match

from ..._version import VERSION
from .documents import Document
from .gate import Asking, Scope, Send
from .refusals import nothing_here

Answer = Callable[[Scope, Any, Send], Awaitable[None]]
Endpoint = Callable[[Request], Awaitable[Answer]]


class _RowId(Convertor[str]):
    """The rest of a path, whatever is in it."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("row_id", _RowId())
COLLECTION: Final = "/v1/collections/{collection}"


class _Route(APIRoute):
    """A route that is called as it is: without FastAPI's models there is nothing to solve."""

    def __init__(self, path: str, endpoint: Endpoint, **kwargs: Any) -> None:
        super().__init__(path, endpoint, response_model=None, **kwargs)

        async def direct(scope: Scope, receive: Any, send: Send) -> None:
            answer = await endpoint(Request(scope, receive, send))
            await answer(scope, receive, send)

        self.app = direct


class Api:
    """The app, and the routes that it has."""

    def __init__(self) -> None:
        self.app = FastAPI(
            title="OmenDB-WS",
            version=VERSION,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        self.app.router.routes.clear()

    def route(
        self, method: str, path: str, endpoint: Endpoint, document: Document | None = None
    ) -> None:
        """Have requests of ``method`` (and HEAD, where it is GET) answered by ``endpoint``.

        Without a ``document`` it is not in ``/openapi.json``.
        """
        routes, said = self.app.router.routes, {} if document is None else document.as_given()
        is_said = document is not None
        routes.append(_Route(path, endpoint, methods=[method], include_in_schema=is_said, **said))
        if method == "GET":
            routes.append(_Route(path, endpoint, methods=["HEAD"], include_in_schema=False))

    async def routed(self, scope: Scope, receive: Any, send: Send) -> None:
        """Let a request find its route. HTTPException 404, 405."""
        scope["app"] = self.app
        await self.app.router(scope, receive, send)

    def methods_of(self, scope: Scope) -> list[str]:
        """What methods a path takes. Refused 404."""
        found: dict[str, None] = {}
        for route in self.app.router.routes:
            assert isinstance(route, APIRoute)
            if route.matches(scope)[0] is not Match.NONE:
                found |= dict.fromkeys(sorted(route.methods or ()))
        if not found:
            raise nothing_here()
        return list(found)


def asking_of(request: Request) -> Asking:
    """The request that a route is to answer."""
    asking: Asking = request.scope["state"]["asking"]
    return asking


def in_path(request: Request, name: str) -> str:
    """What stands in the path."""
    found: str = request.scope["path_params"][name]
    return found
