"""PROTOCOL.md's section on the HTTP API says what its routes and statuses are."""

from __future__ import annotations

import re

from fastapi.routing import APIRoute
from omendb_core.model.errors import BY_CODE

from omendb_ws.http.api.listener import api_with_routes
from omendb_ws.http.api.refusals import status_of
from tests.project.pages import page, section, table

PAGE = section(page("PROTOCOL.md"), "## 11. The HTTP API")


def test_every_route_is_told_and_no_other() -> None:
    told = set()
    for row in table(PAGE, "route"):
        methods, _, path = row[0].rpartition(" ")
        told |= {(method, path.strip("`")) for method in re.split(r", ?", methods)}
    there = {
        (method, route.path_format)
        for route in api_with_routes(needs_token=False).app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
        if method != "HEAD" and not route.path.startswith(("/docs", "/openapi"))
    }
    assert told == there


def test_every_code_is_told_by_its_status() -> None:
    text = PAGE.split("Status by code:")[1].split("all others 400")[0]
    told = {
        code: int(status)
        for status, codes in re.findall(r"(\d{3}) ((?:`\w+`(?:, )?)+)", text)
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert told == {code: status_of(code) for code in BY_CODE if status_of(code) != 400}
