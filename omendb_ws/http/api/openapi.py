"""``/``, ``/docs``, and ``/openapi.json``: OpenAPI 3.1, put together by FastAPI of what routes say.

The page of ``/docs`` is Swagger UI, from the package fastapi-offline: nothing is fetched from
elsewhere. All are for anybody who may reach the server, as the console is.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from typing import Final

import orjson
from fastapi import Request
from fastapi.openapi.utils import get_openapi

from ..._version import VERSION
from .answers import FileAnswer, JsonAnswer
from .api import Answer, Api, asking_of
from .bodies import JSON
from .documents import Document, shared
from .json_schema import Json, object_of, shared_schemas
from .parameters import read_query
from .refusals import STATUS

_ABOUT: Final = (
    "Live vector search: a sliding window over a stream of vectors, searched exactly. Each route"
    " is an op of the protocol (PROTOCOL.md), with the same fields, rights, limits and errors."
)
_PAGE: Final = (
    b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    b'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    b"<title>OmenDB-WS: HTTP API</title>\n"
    b'<link rel="icon" href="data:,">\n<link rel="stylesheet" href="docs/swagger-ui.css">\n'
    b'</head>\n<body>\n<div id="swagger-ui"></div>\n'
    b'<script src="docs/swagger-ui-bundle.js"></script>\n<script src="docs/start.js"></script>\n'
    b"</body>\n</html>\n"
)
_START: Final = (
    b'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true,'
    b" validatorUrl: null});\n"
)
#: Swagger UI sets styles from scripts, and shows pictures that are within it.
_CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self';"
    " img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
#: For who comes to the port without knowing what is there.
_INDEX: Final = {
    "name": "OmenDB-WS",
    "version": VERSION,
    "docs": "/docs",
    "openapi": "/openapi.json",
}
_JAVASCRIPT: Final = "text/javascript; charset=utf-8"
_PAGES: Final = {
    "/docs": "text/html; charset=utf-8",
    "/docs/start.js": _JAVASCRIPT,
    "/docs/swagger-ui-bundle.js": _JAVASCRIPT,
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
}


def add_routes(api: Api, *, needs_token: bool) -> None:
    """Add them, behind all others: they are in the document."""
    api.route("GET", "/", index, _index_document())
    document = orjson.dumps(openapi(api, needs_token=needs_token))

    async def openapi_json(request: Request) -> Answer:
        asking = asking_of(request)
        read_query(asking.query, ())
        return JsonAnswer(asking, document)

    api.route("GET", "/openapi.json", openapi_json)
    for path in _PAGES:
        api.route("GET", path, docs)


async def index(request: Request) -> Answer:
    """What this is, and where it is described."""
    asking = asking_of(request)
    read_query(asking.query, ())
    return JsonAnswer(asking, orjson.dumps(_INDEX))


def _index_document() -> Document:
    texts = object_of({name: {"type": "string"} for name in _INDEX}, _INDEX, is_open=True)
    return Document(
        "index",
        "Where this is described",
        description="For anybody.",
        path=(),
        answers={JSON: texts},
        is_public=True,
        tag="about",
    )


async def docs(request: Request) -> Answer:
    """The page, and what it loads."""
    asking = asking_of(request)
    headers = {"content-security-policy": _CONTENT_POLICY, "referrer-policy": "no-referrer"}
    return FileAnswer(asking, *_file(asking.path), _PAGES[asking.path], headers)


def openapi(api: Api, *, needs_token: bool) -> Json:
    """The document. ``needs_token``: whether this server asks for one."""
    found: Json = get_openapi(
        title="OmenDB-WS",
        version=VERSION,
        openapi_version="3.1.0",
        description=_ABOUT,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "./"}],
        routes=api.app.routes,
    )
    for operations in found["paths"].values():
        for operation in operations.values():
            _put_right(operation)
    found["components"] = {
        "schemas": {**shared_schemas(), **shared(), "refusal": _refusal()},
        "responses": {"error": _error()},
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        },
    }
    found["security"] = [{"bearer": []}, {"key": []}] if needs_token else []
    return found


def _put_right(operation: Json) -> None:
    """FastAPI adds an empty schema of JSON to whatever a route answers, and 422 of its own."""
    operation["responses"].pop("422", None)
    content = operation["responses"]["200"].get("content", {})
    if content.get("application/json", {}).get("schema") == {}:
        del content["application/json"]


def _refusal() -> Json:
    error = {"$ref": "#/components/schemas/error"}
    return object_of({"error": error}, ("error",), is_open=False)


def _error() -> Json:
    codes = ", ".join(f"{code} {status}" for code, status in STATUS.items())
    return {
        "description": f"Refused; nothing was changed, unless 500. Status by code: {codes}; any"
        " other 400.",
        "headers": {
            "Retry-After": {
                "description": "Seconds after which to ask again, of 429 and 503.",
                "schema": {"type": "integer"},
            }
        },
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/refusal"}}},
    }


@cache
def _file(path: str) -> tuple[bytes, bytes]:
    """A file as it is, and gzipped."""
    if path == "/docs":
        data = _PAGE
    elif path == "/docs/start.js":
        data = _START
    else:
        data = files("fastapi_offline").joinpath("static", path.removeprefix("/docs/")).read_bytes()
    return data, gzip.compress(data, 6, mtime=0)
