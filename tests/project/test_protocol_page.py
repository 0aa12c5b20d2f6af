"""PROTOCOL.md's tables are the code's tables, in both directions."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from omendb_core.model.budget import Budget
from omendb_core.model.errors import BY_CODE
from omendb_core.model.types import COLUMN_TYPES, ID_KINDS, METRICS
from omendb_core.ranking.rank_parser import MAX_LEVELS, MAX_OPERATORS, Operands, expression_of
from omendb_core.ranking.rank_parser import OPERATORS as RANK_OPERATORS
from websockets.asyncio.client import connect

from omendb_ws.access.principal import OPEN
from omendb_ws.http.api import events, events_text, streams
from omendb_ws.http.api.idempotency import MAX_KEY_CHARACTERS
from omendb_ws.http.routes import _ROUTES, WEBSOCKET_PATH
from omendb_ws.net.connection import STALL_SECONDS
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from omendb_ws.telemetry.histogram import RECENT_SECONDS
from omendb_ws.tenants.account import Account
from omendb_ws.tenants.limits import FIELDS as TENANT_FIELDS
from omendb_ws.tenants.limits import Limits as TenantLimits
from omendb_ws.web import FILES
from omendb_ws.wire import opcodes
from tests.project.pages import names, number, page, section, table

PAGE = page("PROTOCOL.md")
CONNECTION = section(PAGE, "## 1. Connection")
REQUESTS = section(PAGE, "## 2. Requests and replies")
COLLECTIONS = section(PAGE, "## 3. Collections")
SEARCH = section(PAGE, "## 5. Search")
SUBSCRIPTIONS = section(PAGE, "## 6. Subscriptions")
BINARY = section(PAGE, "## 7. Binary messages")
LIMITS = section(PAGE, "## 9. Limits and errors")
HTTP_API = section(PAGE, "## 11. The HTTP API")
#: The fields of these ops stand in sections of their own.
ELSEWHERE = {"create", "search", "subscribe", "move", "unsubscribe"}


def fields_of(cell: str) -> tuple[set[str], set[str]]:
    """(required, optional) out of ``collection rows [producer batch]``."""
    text = " ".join(names(cell))
    optional = " ".join(re.findall(r"\[([^\]]*)\]", text)).split()
    return set(re.sub(r"\[[^\]]*\]", "", text).split()), set(optional)


def op_rows() -> dict[str, list[str]]:
    return {op: row for row in table(REQUESTS, "op") for op in names(row[0])}


def test_every_op_stands_in_the_table_and_no_other() -> None:
    assert set(op_rows()) == set(opcodes.OPS)


@pytest.mark.parametrize("op", sorted(set(opcodes.OPS) - ELSEWHERE))
def test_an_ops_fields_are_those_of_the_code(op: str) -> None:
    fields = opcodes.OPS[op].fields
    required = {field.name for field in fields if field.required}
    optional = {field.name for field in fields if not field.required}
    assert fields_of(op_rows()[op][1]) == (required, optional)


@pytest.mark.parametrize(
    "op",
    [
        "add",
        "delete",
        "update",
        "get",
        "count",
        "search",
        "auth",
        "usage",
        "cluster",
        "move_owner",
        "evacuate",
        "heal",
    ],
)
def test_an_ops_reply_has_the_fields_of_the_code(op: str) -> None:
    said = set(re.findall(r'"(\w+)"', op_rows()[op][2])) - {"id", "seq"}
    assert said == set(opcodes.OPS[op].reply)


def test_creates_fields_choices_and_needs_are_those_of_the_code() -> None:
    rows = {names(row[0])[0]: row for row in table(COLLECTIONS, "field")}
    fields = {field.name: field for field in opcodes.OPS["create"].fields}
    assert set(rows) == set(fields)
    for name, (_, values, default) in rows.items():
        assert (default == "required") == fields[name].required, name
        if fields[name].type in ("choice", "columns"):
            told = set(names(values)) - {"if_exists"}
            assert set(fields[name].choices) <= told, name
    assert names(rows["metric"][1]) == list(METRICS)
    assert names(rows["columns"][1]) == list(COLUMN_TYPES)
    assert [kind for kind in names(rows["ids"][1]) if kind in ID_KINDS] == list(ID_KINDS)


def test_the_description_has_the_fields_of_the_code() -> None:
    found = re.search(r"^Description: `\{(.*?)\}`", COLLECTIONS, re.M)
    assert found
    assert tuple(re.findall(r'"(\w+)"', found[1])) == opcodes.DESCRIPTION


def test_every_field_of_search_is_explained() -> None:
    text = section(PAGE, "## 5. Search")
    for field in opcodes.OPS["search"].fields:
        assert re.search(rf'[`"]{field.name}[`"]', text), field.name


def test_the_operators_of_rank_take_as_many_operands_as_in_the_code() -> None:
    told = {name: row[1] for row in table(SEARCH, "operator") for name in names(row[0])}
    said = {
        Operands(2, 16): "a list of 2 … 16",
        Operands(2, 2): "a list of 2",
        Operands(1, 1, bare=True): "one, without a list",
    }
    expected = {name: said[operands] for name, operands in RANK_OPERATORS.items()}
    others = {"$if": "`[filter, then, else]`", "$default": "`[column, number]`"}
    assert told == {**expected, **others}
    assert f"At most {MAX_OPERATORS} operators and {MAX_LEVELS} levels of them" in SEARCH


def test_the_expression_that_is_shown_is_one() -> None:
    found = re.search(r"^`rank`: an expression;.*? For example `(.*?)`\.", SEARCH, re.M)
    assert found
    assert expression_of(json.loads(found[1]), {"clicks": "i64"}, live=True).columns == {"clicks"}


def test_subscriptions_have_the_fields_of_the_code() -> None:
    rows = {names(row[0])[0]: fields_of(row[1]) for row in table(SUBSCRIPTIONS, "kind")}
    coded = {
        kind: (
            {field.name for field in fields if field.required},
            {field.name for field in fields if not field.required},
        )
        for kind, fields in opcodes.SUBSCRIPTION_KINDS.items()
    }
    assert rows == coded


def test_the_header_is_laid_out_as_in_the_code() -> None:
    sizes = {"u8": 1, "u32": 4}
    rows = table(BINARY, "offset")
    assert len(rows) == len(opcodes.HEADER_FIELDS)
    at = 0
    for (offset, kind, text), field in zip(rows, opcodes.HEADER_FIELDS, strict=True):
        assert int(offset) == at
        assert field in names(text) or (field == "id" and "`id`" in text)
        at += sizes[kind]
    assert at == opcodes.HEADER_BYTES
    assert f"= 0x{opcodes.MAGIC:X}" in rows[0][2]
    assert f"= {opcodes.PROTOCOL_BYTE}" in rows[1][2]


def kind_rows() -> dict[int, list[str]]:
    return {int(row[0]): row for row in table(BINARY, "kind", "name")}


def test_every_kind_has_its_number_name_and_direction() -> None:
    told = {number: tuple(row[1].split()) for number, row in kind_rows().items()}
    coded = {
        number: (kind.name, "→" if kind.direction == "request" else "←")
        for number, kind in opcodes.KINDS.items()
    }
    assert told == coded


@pytest.mark.parametrize("number", sorted(opcodes.KINDS))
def test_a_kinds_sections_stand_in_the_order_of_the_code(number: int) -> None:
    kind, text = opcodes.KINDS[number], kind_rows()[number][2]
    at = 0
    for part in kind.sections:
        # ROWS says "likewise", LIVE says "enter `ids`": the name of the array is what counts.
        name = part.name.removeprefix("leave_")
        found = text.find(f"`{name}`", at) if name != "vectors" else text.find("vectors", at)
        assert found >= 0, f"{kind.name}: {part.name} is not told, or out of order"
        at = found + 1


@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_a_kinds_flags_are_told(number: int) -> None:
    told = {int(flag) for flag in re.findall(r"flag (\d+)", kind_rows()[number][2])}
    assert told == set(opcodes.KINDS[number].flags)


def test_every_reason_of_leaving_has_its_number() -> None:
    found = re.search(r"`reasons` u8\[k\]: ([\w ]+)", kind_rows()[5][2])
    assert found
    words = found[1].split()
    assert list(zip(words[::2], words[1::2], strict=True)) == [
        (str(number), reason) for number, reason in enumerate(opcodes.LEAVE_REASONS)
    ]


def test_every_limit_is_told_with_its_default_and_no_other() -> None:
    told = {names(row[0])[0]: row[1] for row in table(LIMITS, "limit")}
    assert told.pop("max_memory_bytes") == "70% of the machine's"
    coded = {limit.name: limit.default for limit in opcodes.LIMITS.values()}
    del coded["max_memory_bytes"]
    assert {name: number(text) for name, text in told.items()} == coded


def test_hello_says_every_limit_of_the_table() -> None:
    told = {names(row[0])[0] for row in table(LIMITS, "limit")}
    assert set(opcodes.Limits().as_hello()) == told
    assert {field.name for field in dataclasses.fields(opcodes.Limits)} == told


def test_every_error_code_is_told_with_its_retry_and_no_other() -> None:
    told: dict[str, bool] = {}
    for cell, _, retry in table(LIMITS, "code"):
        codes = names(cell)
        retries = [text.strip() == "true" for text in retry.split(",")]
        told.update(zip(codes, retries * (len(codes) if len(retries) == 1 else 1), strict=True))
    assert told == {code: cls.retry for code, cls in BY_CODE.items()}


def test_every_close_code_is_told_and_no_other() -> None:
    found = re.search(r"Close codes: (.*?)(?=^\d\. |\Z)", CONNECTION, re.M | re.S)
    assert found
    told = {int(code) for code in re.findall(r"`(\d{4})`", found[1])}
    assert told == set(opcodes.CLOSE_CODES)


def test_every_right_is_told_with_what_it_allows() -> None:
    found = re.search(r"Rights of a token: (.*?), within its tenant", LIMITS, re.S)
    assert found
    told = {
        name: set(re.findall(r"\w+", ops))
        for name, ops in re.findall(r"`(\w+)` \((.*?)\)", found[1])
    }
    assert set(told) == set(opcodes.RIGHTS)
    for op in ("search", "get", "count", "subscribe", "add", "delete", "update", "create", "drop"):
        assert op in told[opcodes.OPS[op].right], op


def test_every_route_is_told_and_every_path_told_is_there_or_named_as_missing() -> None:
    text = section(PAGE, "## 10. HTTP on the same port (GET)")
    told = {name for name in names(text) if name.startswith("/")}
    missing = {name for name in names(PAGE.split("## 1.")[0]) if name.startswith("/")}
    there = set(_ROUTES) | {
        path for path in FILES if not path.startswith(("/client/", "/console/"))
    }
    assert there <= told
    assert told - there == missing - there
    assert f"`ws://HOST:8765{WEBSOCKET_PATH}`" in CONNECTION


async def test_what_is_said_to_be_missing_is_exactly_what_is_unsupported(tmp_path: Path) -> None:
    create = {"op": "create", "collection": "c", "dim": 2, "capacity": 8}
    subscribe = {"op": "subscribe", "collection": "c", "vector": [1, 0], "min_score": 0}
    asked: dict[str, dict[str, Any]] = {
        "memory": {**create, "durability": "memory"},
        "everysec": {**create, "collection": "e", "durability": "everysec"},
        "always": {**create, "collection": "a", "durability": "always"},
        "live": {**subscribe, "kind": "live"},
        "match": {**subscribe, "kind": "match"},
        "feed": {"op": "subscribe", "collection": "c", "kind": "feed"},
        "count": {"op": "subscribe", "collection": "c", "kind": "count"},
        "stats": {"op": "subscribe", "collection": "c", "kind": "stats"},
        "map": {"op": "subscribe", "collection": "c", "kind": "map"},
        "move": {"op": "move", "sub": 1, "vector": [1, 0]},
    }
    unsupported = set()
    async with (
        Server(Settings(port=0, data_dir=str(tmp_path))) as server,
        connect(server.url) as socket,
    ):
        for number, (name, request) in enumerate(asked.items()):
            await socket.send(json.dumps({"id": number, **request}))
            while (reply := json.loads(await socket.recv())).get("id") != number:
                pass
            if reply.get("error", {}).get("code") == "unsupported":
                unsupported.add(name)
    missing = {name for name in names(PAGE.split("## 1.")[0]) if name in asked}
    assert missing == unsupported


def test_the_limits_of_a_tenant_and_what_usage_says_are_those_of_the_code() -> None:
    rows = {names(row[0])[0]: row for row in table(LIMITS, "of a tenant")}
    assert list(rows) == list(TENANT_FIELDS)
    for name, (_, _, beyond) in rows.items():
        code = "rate_limited" if name.endswith("_per_second") else "quota"
        assert (code in beyond) == (name != "weight"), name
    found = re.search(r'"use":\{(.*?)\}', LIMITS)
    assert found
    usage = Account("a", TenantLimits(), Budget("", 1), 0).usage(0, 0, OPEN)
    assert re.findall(r'"(\w+)"', found[1]) == list(usage["use"])
    assert list(usage["limits"]) == list(TENANT_FIELDS)
    assert f"the last {RECENT_SECONDS:.0f} s" in LIMITS
    assert f"{Settings.model_fields['max_tenants'].default:,} tenants at once" in LIMITS


OK_BYTES = b'{"sub":1,"epoch":"0a","version":12%s}'


def test_event_streams_begin_and_are_numbered_as_the_table_says() -> None:
    rows = {kind: row for row in table(HTTP_API, "stream") for kind in names(row[0])}
    assert set(rows) == set(streams.KINDS)
    for kind, (_, first, id_) in rows.items():
        is_resumed = kind in ("match", "feed", "novel")
        ok = OK_BYTES % (b',"to_seq":7' if is_resumed else b"")
        begun = events_text.begin(kind, ok, 1).first.decode()
        assert ("event: snapshot" in begun) == ("snapshot" in names(first)), kind
        assert (f"event: {kind}\n" in begun) == ("an empty push" in first), kind
        number = {"epoch:version": "id: 0a:12", "epoch:to_seq": "id: 0a:7"}
        assert [said for name, said in number.items() if name in names(id_)] == re.findall(
            "id: .*", begun
        ), kind
    assert f"A comment (`:`) comes every {events.COMMENT_SECONDS:.0f} s" in HTTP_API
    assert f"takes no byte for {STALL_SECONDS:.0f} s" in HTTP_API
    assert f"whose id is `epoch:{str(events_text.Place('', None))[1:]}`" in HTTP_API


def test_what_is_said_of_idempotency_keys_and_of_default_is_in_the_settings() -> None:
    assert f"1 … {MAX_KEY_CHARACTERS} printable ASCII" in HTTP_API
    for name in ("idempotency_seconds", "idempotency_keys", "http_default_capacity"):
        assert f"`{name}` ({Settings.model_fields[name].default:,.0f})" in HTTP_API
