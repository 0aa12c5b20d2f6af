"""``/openapi.json`` and ``/docs``: valid, whole, and true of what the server does.

With ``HTTP_EXAMPLES=300`` as many examples of each route are tried, by those who have no token and
by those who may only read, too. With few, the latter try event streams alone, the former nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from openapi_spec_validator import OpenAPIV31SpecValidator

from omendb_ws.access import logins
from omendb_ws.http.api.listener import api_with_routes
from omendb_ws.http.api.openapi import openapi
from omendb_ws.wire.opcodes import ERRORS, OPS
from tests.patience import eventually
from tests.server.tokens import token, with_secret

from .cutting_proxy import cutting
from .served import client_of, served, served_client

EXAMPLES = int(os.environ.get("HTTP_EXAMPLES", "2"))
WHO = ["anybody", "reader"] if EXAMPLES < 10 else ["anybody", "nobody", "reader"]
STREAMS = "/(live|match|feed|novel|stats)$"
#: 413 is a refusal, too, which it does not know. A row may have the id ``get``: there GET is right.
CONFIGURATION = f"""
[checks]
positive_data_acceptance.enabled = false
allow_header_conformance.enabled = false
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 409, 413, 415, 429, 501, 503]

[[operations]]
include-path-regex = "{STREAMS}"
parameters = {{ "path.collection" = "items" }}
"""


def document(*, needs_token: bool = False) -> dict[str, Any]:
    return openapi(api_with_routes(needs_token=needs_token), needs_token=needs_token)


async def test_the_document_is_valid_and_open_to_who_reaches_the_server(tmp_path: Path) -> None:
    async with served(with_secret(tmp_path)) as server, client_of(server) as client:
        found = (await client.get("/openapi.json")).json()
    assert found == document(needs_token=True)
    OpenAPIV31SpecValidator(found).validate()
    assert found["openapi"] == "3.1.0"
    assert found["security"] == [{"bearer": []}, {"key": []}]
    assert document()["security"] == []


async def test_whoever_comes_to_the_port_is_told_where_it_is_described(tmp_path: Path) -> None:
    async with served(with_secret(tmp_path)) as server, client_of(server) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        said = answer.json()
        for name in ("docs", "openapi"):
            assert (await client.get(said[name])).status_code == 200
        assert (await client.post("/")).status_code == 405


def test_every_route_is_in_the_document_but_the_document_and_its_page() -> None:
    found = document()
    said = {(method.upper(), path) for path, one in found["paths"].items() for method in one}
    there = {
        (method, route.path_format)
        for route in api_with_routes(needs_token=False).app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
        if method != "HEAD" and not route.path.startswith(("/docs", "/openapi"))
    }
    assert said == there
    names = [one["operationId"] for ones in found["paths"].values() for one in ones.values()]
    assert len(set(names)) == len(names)


def test_fields_limits_and_errors_are_those_of_the_table() -> None:
    found = document()
    fields = found["components"]["schemas"]["search_request"]["properties"]
    assert fields.keys() == {one.name for one in OPS["search"].fields} - {"collection"}
    assert found["components"]["schemas"]["error"]["properties"]["code"]["enum"] == list(ERRORS)


async def test_the_page_loads_nothing_from_elsewhere() -> None:
    async with served_client() as client:
        page = await client.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert "docs/swagger-ui-bundle.js" in loaded
        for one in loaded:
            if one != "data:,":
                answer = await client.get(f"/{one}")
                assert answer.status_code == 200, one
                assert answer.headers["content-encoding"] == "gzip"
        assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("who", WHO)
async def test_schemathesis_finds_no_answer_that_is_not_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """An open server; one with tokens, asked without one, and with one that may only read.

    Of event streams the first event is read. Those of ``items`` begin; there is nothing else.
    """
    monkeypatch.setattr(logins, "MOST_SECONDS", 0.0)  # it tries many wrong tokens
    given = None if who == "anybody" else with_secret(tmp_path)
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    arguments = ["--max-examples", str(EXAMPLES), "--seed", "1", "--phases", "coverage,fuzzing"]
    if who == "reader":
        arguments += ["--header", f"Authorization: Bearer {token({'rights': ['read']})}"]
    if who != "anybody" and EXAMPLES < 10:
        arguments += ["--include-path-regex", STREAMS]
    async with served(given) as server, cutting(server.http_url or "") as (address, proxy):
        async with client_of(server, token() if given else None) as client:
            made = {"collection": "items", "dim": 1, "capacity": 10, "metric": "dot"}
            assert (await client.post("/v1/collections", json=made)).status_code == 200
        run = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run",
            f"{address}/openapi.json", "--request-timeout", "60", "--no-color", *arguments,
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await run.communicate()
        assert run.returncode == 0, said.decode()[-6000:]
        assert server.metrics.faults == 0
        assert not proxy.faults
        begun = {"match", "feed", "novel", "stats"} if who != "nobody" else set()
        assert proxy.events.keys() >= begun
        await eventually(lambda: not server.metrics.subscriptions.total())
