"""Rows over HTTP: JSON and arrays in, one or many out, changed and deleted."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from omendb_core.model.errors import TooLarge

from omendb_ws.http.api import bodies
from omendb_ws.http.api.body import Parts
from tests.server.raw import settings

from .served import JSON, fault_of, served_client

OCTETS = {"Content-Type": "application/octet-stream"}
NPY = {"Content-Type": "application/x-npy"}
ROWS = "/v1/collections/items/rows"


async def make(client: httpx.AsyncClient, **fields: Any) -> None:
    made = await client.post(
        "/v1/collections", json={"collection": "items", "dim": 3, "capacity": 1000, **fields}
    )
    assert made.status_code == 200, made.text


def npy(array: np.ndarray[Any, Any], **given: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **given)
    return file.getvalue()


async def test_rows_come_as_json_and_are_found_again() -> None:
    async with served_client() as client:
        await make(client, columns={"price": "f64"})
        rows = [{"id": n, "vector": [n, 1, 0], "metadata": {"price": n / 2}} for n in range(5)]
        added = await client.post(ROWS, json={"rows": rows})
        assert added.json() == {"version": 1, "first_seq": 1, "last_seq": 5}
        got = await client.post(f"{ROWS}/get", json={"ids": [4, 9], "include": ["metadata"]})
        assert got.json()["rows"] == [{"id": 4, "seq": 5, "metadata": {"price": 2.0}}, None]
        found = await client.post(
            "/v1/collections/items/search",
            json={"vector": [1, 0, 0], "k": 2, "filter": {"price": {"$gt": 1}}},
        )
        assert [one["id"] for one in found.json()["results"]] == [4, 3]
        counted = await client.post(
            "/v1/collections/items/count", json={"filter": {"price": {"$lt": 1}}}
        )
        assert counted.json() == {"version": 1, "count": 2}
        deleted = await client.post(f"{ROWS}/delete", json={"ids": [0, 1, 77]})
        assert deleted.json() == {"version": 2, "deleted": 2}


@pytest.mark.parametrize("row_id", ["a/b", "/", "ä?&#%//", "get", "line\nbreak", "a b+c"])
async def test_an_id_in_a_path_is_percent_decoded_with_its_slashes(row_id: str) -> None:
    async with served_client() as client:
        await make(client, ids="str", metric="dot")
        await client.post(ROWS, json={"rows": [{"id": row_id, "vector": [1, 2, 3]}]})
        for written in (quote(row_id, safe=""), quote(row_id, safe="/")):
            path = f"{ROWS}/{written}"
            got = await client.get(path)
            assert got.json()["rows"][0]["id"] == row_id, written
        patched = await client.patch(path, json={"metadata": {"a": 2**60}})
        assert patched.json() == {"version": 2}
        for asked in ("include=metadata,vector", "include=metadata&include=vector"):
            got = await client.get(f"{path}?{asked}")
            assert got.json()["rows"][0]["metadata"] == {"a": 2**60}, asked
            assert got.json()["rows"][0]["vector"] == [1, 2, 3], asked
        assert (await client.delete(path)).json() == {"version": 3, "deleted": 1}
        gone = await client.get(path)
        assert (gone.status_code, fault_of(gone)["code"]) == (404, "not_found")
        assert (await client.delete(path)).json() == {"version": 3, "deleted": 0}


async def test_an_integer_id_in_a_path_is_one() -> None:
    async with served_client() as client:
        await make(client)
        big = 2**64 - 1
        await client.post(ROWS, json={"rows": [{"id": str(big), "vector": [1, 2, 3]}]})
        assert (await client.get(f"{ROWS}/{big}")).json()["rows"][0]["seq"] == 1
        for method in ("GET", "DELETE"):
            wrong = await client.request(method, f"{ROWS}/one")
            assert (wrong.status_code, fault_of(wrong)["code"]) == (400, "bad_id")
            assert fault_of(wrong)["message"].startswith("id: must be an integer")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("{}", "bad_request", "metadata: missing"),
        ("[]", "bad_request", "a request is a JSON object"),
        ('{"metadata": 3}', "bad_metadata", "metadata"),
        ('{"metadata": {}, "id": 7}', "bad_request", "id: unknown field"),
        ('{"metadata": {}, "vector": [1]}', "bad_request", "vector: unknown field"),
        ('{"metadata": {}},{"id": 7, "metadata": {}}', "bad_request", "not JSON"),
        ('{"metadata": {"a": 1e999}}', "bad_metadata", "metadata.a"),
        ('{"metadata": {"a": 123456789012345678901234567890}}', "bad_metadata", ""),
    ],
)
async def test_a_wrong_patch_changes_nothing(body: str, code: str, message: str) -> None:
    async with served_client() as client:
        await make(client)
        row = {"id": 1, "vector": [1, 2, 3], "metadata": {"a": 1}}
        await client.post(ROWS, json={"rows": [row]})
        answer = await client.patch(f"{ROWS}/1", content=body, headers=JSON)
        fault = fault_of(answer)
        assert (answer.status_code, fault["code"]) == (400, code), fault
        assert message in fault["message"]
        got = (await client.get(f"{ROWS}/1?include=metadata")).json()
        assert (got["version"], got["rows"][0]["metadata"]) == (1, {"a": 1})
        absent = await client.patch(f"{ROWS}/2", json={"metadata": {}})
        assert (absent.status_code, fault_of(absent)["code"]) == (404, "not_found")


ARRAY = np.arange(30, dtype=np.float32).reshape(10, 3) + 1


@pytest.mark.parametrize(
    "array",
    [
        ARRAY,
        ARRAY.astype(np.float64),
        ARRAY.astype(np.float16),
        ARRAY.astype(np.longdouble),
        ARRAY.astype(">f4"),
        ARRAY.astype(np.uint8),
        ARRAY.astype(">i8"),
        np.asfortranarray(ARRAY),
        np.asfortranarray(ARRAY.astype("<i2")),
    ],
    ids=lambda array: f"{array.dtype.str}-{'F' if array.flags.fnc else 'C'}",
)
async def test_an_npy_file_of_any_real_type_is_added(array: np.ndarray[Any, Any]) -> None:
    async with served_client() as client:
        await make(client, ids="auto", metric="dot")
        added = await client.post(ROWS, content=npy(array), headers=NPY)
        assert added.json() == {"version": 1, "first_seq": 1, "last_seq": 10}
        got = await client.post(
            f"{ROWS}/get", json={"ids": list(range(1, 11)), "include": ["vector"]}
        )
        assert [one["vector"] for one in got.json()["rows"]] == ARRAY.tolist()


async def test_raw_rows_are_added_under_their_number_once() -> None:
    async with served_client() as client:
        await make(client, ids="auto", metric="dot")
        for was_there in (False, True):
            added = await client.post(
                f"{ROWS}?dim=3&producer=p&batch=1", content=ARRAY.tobytes(), headers=OCTETS
            )
            assert added.json().get("duplicate", False) is was_there
        late = await client.post(
            f"{ROWS}?dim=3&producer=p&batch=9", content=ARRAY.tobytes(), headers=OCTETS
        )
        assert (late.status_code, fault_of(late)["expected"]) == (409, 2)
        as_json = await client.post(
            f"{ROWS}?producer=p&batch=2", json={"rows": [{"vector": [1, 2, 3]}]}
        )
        assert as_json.json()["first_seq"] == 11


async def test_rows_near_one_that_is_there_are_left_out_of_an_array_too() -> None:
    async with served_client() as client:
        await make(client, ids="auto")
        await client.post(ROWS, content=ARRAY[:1].tobytes() * 1, headers=OCTETS, params={"dim": 3})
        added = await client.post(
            ROWS, content=npy(ARRAY[:2]), headers=NPY, params={"unless_near": '{"score": 0.999999}'}
        )
        assert added.json()["skipped"] == [0]


@pytest.mark.parametrize(
    ("content", "headers", "query", "status", "code", "message"),
    [
        (b"\0" * 12, OCTETS, "", 400, "bad_request", "dim: missing"),
        (b"\0" * 12, OCTETS, "dim=0", 400, "bad_request", "dim: at least 1"),
        (b"\0" * 12, OCTETS, "dim=x", 400, "bad_request", "dim: must be an integer"),
        (b"\0" * 12, OCTETS, "dim=3&dim=3", 400, "bad_request", "dim: stands twice"),
        (b"\0" * 12, OCTETS, "dim=3&a=1", 400, "bad_request", "a: unknown parameter"),
        (b"\0" * 12, OCTETS, "dim=3&batch=1", 400, "bad_request", "producer: missing"),
        (b"\0" * 12, OCTETS, "dim=9999", 413, "too_large", "dim: at most 4096 (max_dim)"),
        (b"\0" * 13, OCTETS, "dim=3", 400, "bad_vector", "13 bytes are not whole rows"),
        (b"\0" * 12, OCTETS, "dim=3", 400, "zero_norm", ""),
        (b"", OCTETS, "dim=3", 400, "bad_request", "rows: must not be empty"),
        (b"\0" * 16, OCTETS, "dim=4", 400, "dim_mismatch", ""),
        (b"\xff" * 12, OCTETS, "dim=3", 400, "non_finite", ""),
        (b"\0" * 12 * 101, OCTETS, "dim=3", 413, "too_large", "rows: at most 100 (max_rows)"),
        (b"no numpy", NPY, "", 400, "bad_vector", "not an .npy file"),
        (npy(ARRAY)[:-1], NPY, "", 400, "bad_vector", "bytes; its header says"),
        (npy(ARRAY) + b"\0", NPY, "", 400, "bad_vector", "bytes; its header says"),
        (npy(ARRAY[0]), NPY, "", 400, "bad_vector", "real numbers in two dimensions"),
        (npy(ARRAY.astype(complex)), NPY, "", 400, "bad_vector", "real numbers"),
        (npy(ARRAY > 3), NPY, "", 400, "bad_vector", "real numbers"),
        (npy(ARRAY.astype(str)), NPY, "", 400, "bad_vector", "real numbers"),
        (npy(np.array([[None]]), allow_pickle=True), NPY, "", 400, "bad_vector", "Python objects"),
        (npy(ARRAY[:0]), NPY, "", 400, "bad_request", "rows: must not be empty"),
        (npy(ARRAY.astype(float) * 1e300), NPY, "", 400, "non_finite", ""),
        (npy(ARRAY), NPY, "dim=3", 400, "bad_request", "dim: unknown parameter"),
        (b"{}", {"Content-Type": "text/csv"}, "", 415, "bad_request", "Content-Type: must be"),
    ],
)  # fmt: skip
async def test_an_array_that_is_wrong_adds_nothing(
    content: bytes, headers: dict[str, str], query: str, status: int, code: str, message: str
) -> None:
    async with served_client(max_rows=100) as client:
        await make(client, ids="auto")
        answer = await client.post(f"{ROWS}?{query}", content=content, headers=headers)
        fault = fault_of(answer)
        assert (answer.status_code, fault["code"]) == (status, code), fault
        assert message in fault["message"]
        assert (await client.get("/v1/collections/items")).json()["version"] == 0


async def test_bodies_and_answers_are_packed_where_that_is_asked_for() -> None:
    async with served_client() as client:
        await make(client, ids="auto")
        packed = JSON | {"Content-Encoding": "gzip"}
        rows = {"rows": [{"vector": [n, 1, 2], "metadata": {"n": n}} for n in range(500)]}
        body = gzip.compress(json.dumps(rows).encode())
        half = len(body) // 2
        for content in (body, gzip.compress(b" ") + body, _in_pieces(body[:half], body[half:])):
            added = await client.post(ROWS, content=content, headers=packed)
            assert added.status_code == 200, added.text
        asked = {"ids": list(range(1, 501)), "include": ["metadata"]}
        got = await client.post(f"{ROWS}/get", json=asked)
        plain = await client.post(
            f"{ROWS}/get", json=asked, headers={"Accept-Encoding": "gzip;q=0"}
        )
        assert got.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert got.json() == plain.json()
        assert "Accept-Encoding" in plain.headers["vary"]


async def _in_pieces(*pieces: bytes) -> Any:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"no gzip", 400, "bad_request"),
        (gzip.compress(b"{}")[:-3], 400, "bad_request"),
        (gzip.compress(b'{"rows": []}') + b"more", 400, "bad_request"),
        (gzip.compress(b" " * 5_000_000), 413, "too_large"),
        (b"".join(gzip.compress(b" " * 10_000) for _ in range(500)), 413, "too_large"),
        (gzip.compress(b""), 400, "bad_request"),
    ],
    # Named, as gzip writes the time into its head: two workers would not collect the same tests.
    ids=["no gzip", "cut", "more behind", "a long one", "many members", "nothing"],
)
async def test_gzip_that_is_none_or_too_much_is_refused(
    body: bytes, status: int, code: str
) -> None:
    async with served_client() as client:
        packed = JSON | {"Content-Encoding": "gzip"}
        answer = await client.post(ROWS, content=body, headers=packed)
        assert (answer.status_code, fault_of(answer)["code"]) == (status, code)
        assert (await client.get("/v1/collections")).status_code == 200


async def test_others_have_their_turn_while_empty_members_of_gzip_are_unpacked() -> None:
    turns, are_unpacked = 0, False

    async def others() -> None:
        nonlocal turns
        while not are_unpacked:
            turns += 1
            await asyncio.sleep(0)

    made = Parts()
    beside = asyncio.create_task(others())
    unpacked = bodies._Unpacked(1000, TooLarge("over 1000"))
    await unpacked.feed(gzip.compress(b"") * 2000 + gzip.compress(b"{}"), made)
    unpacked.finish()
    are_unpacked = True
    await beside
    assert made.take() == [b"{}"]
    assert turns > 10


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_a_body_over_its_limit_is_refused_and_the_connection_goes_on(
    is_chunked: bool,
) -> None:
    given = settings(max_text_bytes=100_000, max_message_bytes=200_000)
    async with served_client(given=given) as client:
        await make(client, ids="auto")
        for headers, limit in ((JSON, 100_000), (OCTETS, 200_000)):
            body = b"1" * (limit + 1)
            content = _in_pieces(body[:100], body[100:]) if is_chunked else body
            answer = await client.post(f"{ROWS}?dim=3", content=content, headers=headers)
            if headers is JSON:
                answer = await client.post(ROWS, content=body, headers=headers)
            assert (answer.status_code, fault_of(answer)["code"]) == (413, "too_large")
            assert (await client.get("/v1/collections")).status_code == 200
