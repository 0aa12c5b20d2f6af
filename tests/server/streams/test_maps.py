"""``map`` subscriptions: a picture of the window that moves as little as it can (PROTOCOL 6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.model.types import F32, F64

from omendb_ws.engine.streams import drawing
from omendb_ws.engine.streams.drawing import stride_for
from omendb_ws.net.server import Server
from omendb_ws.sessions.subscriptions import maps, pictures
from omendb_ws.sessions.subscriptions.maps import MapSubscription
from tests.server.raw import Raw, client, engine_held, queued, running, settings, with_keys

DIM = 8
WIDE = np.array([10, 6, 1, 1, 1, 0.5, 0.5, 0.1])


def cloud(seed: int, count: int, spread: Any = WIDE) -> F32:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal((count, DIM)) * spread).astype(np.float32)


class Picture:
    """What a reader of the pushes shows: rows by seq, replaced whole by a new basis."""

    def __init__(self) -> None:
        self.basis = 0
        self.rows: dict[int, dict[str, Any]] = {}
        self.times_replaced = 0

    def take(self, event: dict[str, Any]) -> None:
        if event["basis"] != self.basis:
            assert event["basis"] > self.basis
            self.basis = event["basis"]
            self.rows = {}
            self.times_replaced += 1
        for row in event["rows"]:
            assert row["seq"] not in self.rows, "a row was shown twice"
            self.rows[row["seq"]] = row
        self.rows = {seq: row for seq, row in self.rows.items() if seq >= event["first_seq"]}

    def places(self, seqs: list[int]) -> F64:
        return np.array([[self.rows[seq]["x"], self.rows[seq]["y"]] for seq in seqs])


async def begun(raw: Raw, vectors: F32, **fields: Any) -> int:
    """A collection of ``dot`` with these rows (seq = id), and a map of it."""
    made = await raw.create(dim=DIM, metric="dot", **{"capacity": 10_000} | fields)
    await add(raw, made["handle"], vectors, 1)
    return int(made["handle"])


async def add(raw: Raw, handle: int, vectors: F32, first_id: int) -> None:
    ids = np.arange(first_id, first_id + len(vectors), dtype=np.uint64)
    await raw.add_binary(handle, RowBatch(vectors, ids))


async def shown(raw: Raw, picture: Picture, count: int) -> None:
    """Take pushes until ``count`` rows are shown."""
    while len(picture.rows) < count:
        picture.take(await raw.named("map"))


async def test_the_first_push_shows_the_window_in_its_principal_plane() -> None:
    vectors = cloud(1, 300)
    async with running() as server, client(server) as raw:
        await begun(raw, vectors)
        reply = await raw.ok("subscribe", kind="map", collection="items", every=100)
        assert reply.keys() == {"sub", "epoch", "version"}
        event = await raw.named("map")
        assert event["sub"] == reply["sub"]
        assert (event["version"], event["basis"], event["first_seq"]) == (1, 1, 1)
        assert [row["id"] for row in event["rows"]] == list(range(1, 301))
        places = np.array([[row["x"], row["y"]] for row in event["rows"]])
        centred = vectors - vectors.mean(axis=0, dtype=np.float64)
        axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
        np.testing.assert_allclose(
            np.linalg.norm(places[:, None] - places, axis=2),
            np.linalg.norm((centred @ axes.T)[:, None] - centred @ axes.T, axis=2),
            atol=1e-3,
        )


async def test_new_rows_come_once_and_the_others_stay_where_they_are() -> None:
    async with running() as server, client(server) as raw:
        handle = await begun(raw, cloud(1, 400))
        await raw.ok("subscribe", kind="map", collection="items", every=100)
        picture = Picture()
        await shown(raw, picture, 400)
        for turn in range(4):
            await add(raw, handle, cloud(turn + 2, 50), 401 + 50 * turn)
            await shown(raw, picture, 450 + 50 * turn)
        assert picture.times_replaced == 1
        assert sorted(picture.rows) == list(range(1, 601))


async def test_a_window_that_was_empty_is_shown_when_rows_come() -> None:
    async with running() as server, client(server) as raw:
        handle = await begun(raw, cloud(1, 1), capacity=100)
        await raw.ok("delete", collection="items", ids=[1])
        await raw.ok("subscribe", kind="map", collection="items", every=100)
        await add(raw, handle, cloud(2, 5), 10)
        picture = Picture()
        await shown(raw, picture, 5)
        assert [row["id"] for row in picture.rows.values()] == [10, 11, 12, 13, 14]


async def test_a_large_window_is_shown_by_a_sample_that_new_rows_join() -> None:
    async with running() as server, client(server) as raw:
        handle = await begun(raw, cloud(1, 3000), capacity=3000)
        await raw.ok("subscribe", kind="map", collection="items", every=100, sample=200)
        picture = Picture()
        await shown(raw, picture, 187)
        assert sorted(picture.rows) == list(range(16, 3001, 16))
        await add(raw, handle, cloud(2, 1600), 5000)
        while max(picture.rows) < 4592:
            picture.take(await raw.named("map"))
        assert sorted(picture.rows) == list(range(1616, 4601, 16))


async def test_the_sample_thins_out_under_a_new_basis_when_the_window_grows() -> None:
    async with running() as server, client(server) as raw:
        handle = await begun(raw, cloud(1, 100))
        await raw.ok("subscribe", kind="map", collection="items", every=100, sample=100)
        picture = Picture()
        await shown(raw, picture, 100)
        await add(raw, handle, cloud(2, 300), 101)
        while not picture.rows or max(picture.rows) < 400:
            picture.take(await raw.named("map"))
        assert picture.basis > 1
        assert sorted(picture.rows) == list(range(4, 401, 4))


async def test_data_that_turns_gets_a_new_basis_in_which_old_rows_move_little() -> None:
    async with running() as server, client(server) as raw:
        handle = await begun(raw, cloud(1, 400))
        await raw.ok("subscribe", kind="map", collection="items", every=100)
        picture = Picture()
        await shown(raw, picture, 400)
        before = picture.places(list(range(1, 401)))
        other = np.array([0.1, 9, 12, 1, 1, 0.5, 0.5, 0.1])
        await add(raw, handle, cloud(2, 800, other), 1000)
        while picture.basis == 1 or len(picture.rows) < 1200:
            picture.take(await raw.named("map"))
        after = picture.places(list(range(1, 401)))
        # What spreads the rows most is in both planes: along it they stay, unmirrored and unturned.
        likeness = np.corrcoef(before.T, after.T)[:2, 2:]
        assert likeness.diagonal().max() > 0.9


async def test_deleted_and_replaced_rows_are_not_shown() -> None:
    async with running() as server, client(server) as raw:
        handle = await begun(raw, cloud(1, 20))
        await add(raw, handle, cloud(2, 1), 3)
        await raw.ok("delete", collection="items", ids=[5, 6])
        await raw.ok("subscribe", kind="map", collection="items", every=100)
        picture = Picture()
        await shown(raw, picture, 18)
        assert sorted(picture.rows) == [1, 2, 4, *range(7, 22)]
        assert picture.rows[21]["id"] == 3


async def test_string_ids_are_shown_as_they_are() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(dim=2, metric="l2", ids="str")
        rows = [{"id": f'"{n}"', "vector": [n, -n]} for n in range(3)]
        await raw.ok("add", collection="items", rows=rows)
        await raw.ok("subscribe", kind="map", collection="items", every=100)
        event = await raw.named("map")
        assert [row["id"] for row in event["rows"]] == ['"0"', '"1"', '"2"']


async def test_a_long_picture_comes_in_messages_of_bounded_length() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(dim=2, metric="l2", ids="str", capacity=10_000)
        for start in range(0, 6000, 2000):
            rows = [{"id": f"{n:0>250}", "vector": [n, 1]} for n in range(start, start + 2000)]
            await raw.ok("add", collection="items", rows=rows)
        await raw.ok("subscribe", kind="map", collection="items", every=100, sample=10_000)
        picture, lengths = Picture(), []
        while len(picture.rows) < 6000:
            event = await raw.named("map")
            lengths.append(sum(len(str(row)) for row in event["rows"]))
            picture.take(event)
        assert len(lengths) > 1
        assert picture.times_replaced == 1


async def test_a_reader_that_does_not_read_has_one_picture_under_way() -> None:
    async with running() as server, client(server) as raw:
        handle = await begun(raw, cloud(1, 50))
        await raw.ok("subscribe", kind="map", collection="items", every=100)
        await raw.named("map")
        (session,) = server._sessions.values()
        (subscription,) = session.subscriptions.values()
        assert isinstance(subscription, MapSubscription)
        subscription._unsent += 1
        await add(raw, handle, cloud(2, 10), 100)
        merged = server.metrics.stats_merged
        while server.metrics.stats_merged < merged + 3:
            await raw.ok("ping")
        subscription._unsent -= 1
        event = await raw.named("map")
        assert [row["id"] for row in event["rows"]] == list(range(100, 110))


async def test_a_map_ends_with_its_collection_and_with_unsubscribe() -> None:
    async with running() as server, client(server) as raw:
        await begun(raw, cloud(1, 50))
        reserved = server.context.catalog.reserved_bytes
        subs = [
            (await raw.ok("subscribe", kind="map", collection="items", every=100))["sub"]
            for _ in range(2)
        ]
        with_two = server.context.catalog.reserved_bytes
        assert with_two > reserved
        assert await raw.ok("unsubscribe", sub=subs[0]) == {}
        assert reserved < server.context.catalog.reserved_bytes < with_two
        await raw.ok("drop", collection="items")
        assert await raw.named("ended") == {"event": "ended", "sub": subs[1], "reason": "dropped"}
        while server.context.catalog.reserved_bytes:  # a plane may be looked for still
            await raw.ok("ping")


async def test_dropping_while_a_map_is_drawn_harms_nobody() -> None:
    async with running() as server, client(server) as raw:
        await begun(raw, cloud(1, 50))
        async with engine_held(server):
            await raw.send("subscribe", kind="map", collection="items", every=100)
            await raw.send("drop", collection="items")
        await raw.named("ended")
        assert await raw.ok("ping") == {}
        assert server.metrics.faults == 0


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"collection": "none"}, "not_found"),
        ({"collection": "items", "sample": 99}, "bad_request"),
        ({"collection": "items", "sample": 20_001}, "bad_request"),
        ({"collection": "items", "every": 99}, "bad_request"),
        ({"collection": "items", "vector": [1, 0]}, "bad_request"),
    ],
)
async def test_a_map_that_cannot_be_is_refused(fields: dict[str, Any], code: str) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        assert await raw.code("subscribe", kind="map", **fields) == code


async def test_a_map_takes_the_right_to_read(tmp_path: Path) -> None:
    server = Server(with_keys(tmp_path))
    async with running(server), client(server, token="token-root") as root:
        await root.create()
        async with client(server, token="token-writer") as raw:
            assert await raw.code("subscribe", kind="map", collection="items") == "forbidden"
        async with client(server, token="token-reader") as raw:
            await raw.ok("subscribe", kind="map", collection="items")


async def test_maps_are_part_of_the_memory_that_is_reserved() -> None:
    server = Server(settings(max_memory_bytes=4 << 20))
    async with running(server), client(server) as raw:
        await raw.create(dim=4096, capacity=10)
        before = server.context.catalog.reserved_bytes
        codes = [
            (await raw.ask("subscribe", kind="map", collection="items"))
            .get("error", {})
            .get("code")
            for _ in range(12)
        ]
        assert codes[0] is None
        assert codes[-1] == "quota"
        for sub in range(1, 13):
            await raw.ask("unsubscribe", sub=sub)
        assert server.context.catalog.reserved_bytes == before
        assert await raw.ok("subscribe", kind="map", collection="items")


async def test_a_map_that_cannot_be_made_leaves_no_picture_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def boom(*_: Any) -> Any:
        raise MemoryError("on purpose")

    async with running() as server, client(server) as raw:
        await raw.create()
        (shard,) = server.context.catalog.shards()
        before = server.context.catalog.reserved_bytes
        with monkeypatch.context() as patch:
            patch.setattr(maps, "rows_of_part", boom)
            patch.setattr(maps, "bytes_for", lambda definition: 1000)
            assert await raw.code("subscribe", kind="map", collection="items") == "internal"
        assert not server.context.looks.of(shard)
        assert server.context.catalog.reserved_bytes == before
        await raw.ok("subscribe", kind="map", collection="items")


async def test_a_wide_sample_is_paid_for_once_however_many_maps_ask_for_it() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(dim=4096, capacity=2_000)
        (shard,) = server.context.catalog.shards()
        before = server.context.catalog.reserved_bytes
        await raw.ok("subscribe", kind="map", collection="items", sample=1000)
        one = server.context.catalog.reserved_bytes - before
        assert one > 6 * 4 * 4096 * 1000
        for sample in (1000, 1000, 999):
            await raw.ok("subscribe", kind="map", collection="items", sample=sample)
        assert len(server.context.looks.of(shard)) == 2
        more = server.context.catalog.reserved_bytes - before - one
        assert more < one / 20
        for sub in range(1, 5):
            await raw.ok("unsubscribe", sub=sub)
        assert not server.context.looks.of(shard)
        assert server.context.catalog.reserved_bytes == before


def everything(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """The arguments of each call of a function, from now on."""
    calls: list[Any] = []
    real = getattr(module, name)

    def noted(*args: Any) -> Any:
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(module, name, noted)
    return calls


async def test_maps_of_one_sample_share_plane_parts_and_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planes = everything(monkeypatch, pictures, "next_plane")
    parts = everything(monkeypatch, drawing, "draw")
    async with running() as server, client(server) as raw:
        await begun(raw, cloud(1, 300))
        async with engine_held(server):
            for _ in range(20):
                await raw.send("subscribe", kind="map", collection="items", every=60_000)
            await queued(server, 20)
        shown: dict[int, dict[str, Any]] = {}
        while len(shown) < 20:
            event = await raw.named("map")
            shown[event.pop("sub")] = event
        assert len(planes) == 1
        assert len(parts) < 20
        first = shown.pop(1)
        assert len(first["rows"]) == 300
        assert all(other == first for other in shown.values())


async def test_a_map_that_comes_later_is_shown_the_same_picture() -> None:
    async with running() as server, client(server) as raw:
        handle = await begun(raw, cloud(1, 200))
        await raw.ok("subscribe", kind="map", collection="items", every=100)
        one = Picture()
        await shown(raw, one, 200)
        await add(raw, handle, cloud(2, 20), 201)
        await shown(raw, one, 220)
        sub = (await raw.ok("subscribe", kind="map", collection="items", every=100))["sub"]
        event = await raw.event(lambda event: event.get("sub") == sub)
        assert event["plane"]
        other = Picture()
        other.take(event)
        seqs = list(range(1, 221))
        assert np.array_equal(one.places(seqs), other.places(seqs))


async def test_maps_are_drawn_in_pieces_and_others_are_answered_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A piece a tick, of the sample and of the rows: the rest of each tick is the others'."""
    monkeypatch.setattr(drawing, "SLICE_US", 0)
    monkeypatch.setattr(drawing, "PIECE_ELEMENTS", 20 * DIM)
    monkeypatch.setattr(maps, "PIECE_ELEMENTS", 20 * DIM)
    async with running() as server, client(server) as raw:
        await begun(raw, cloud(1, 2000))
        pieces = server.context.engine.tick.drawings
        await raw.ok("subscribe", kind="map", collection="items", every=60_000)
        picture = Picture()
        while len(picture.rows) < 2000:
            assert (await raw.ok("count", collection="items"))["count"] == 2000
            while raw.events:
                event = raw.events.pop(0)
                assert len(event["rows"]) <= 20
                picture.take(event)
        assert pieces.pieces >= 200
        assert picture.times_replaced == 1


async def test_samples_are_looked_at_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    active = 0
    most = 0
    real = pictures._plane_of

    def counted(before: Any, pieces: list[Any]) -> Any:
        nonlocal active, most
        active += 1
        most = max(most, active)
        try:
            return real(before, pieces)
        finally:
            active -= 1

    monkeypatch.setattr(pictures, "_plane_of", counted)
    copies = everything(monkeypatch, drawing, "_Copying")
    async with running() as server, client(server) as raw:
        await begun(raw, cloud(1, 300))
        looks = server.context.looks
        held = []
        monkeypatch.setattr(looks, "_submit", held_looks(server, held, looks))
        for sample in range(100, 120):
            await raw.ok("subscribe", kind="map", collection="items", sample=sample, every=60_000)
        subs = set()
        while len(subs) < 20:
            subs.add((await raw.named("map"))["sub"])
        assert len(copies) == 20
        assert most == 1
        assert held == [0] * 20


def held_looks(server: Server, held: list[int], looks: Any) -> Any:
    """``submit`` that notes how many samples are under way when one more is asked for."""
    submit = server.context.engine.submit
    under_way = 0
    looked = looks.looked

    def done(picture: Any) -> None:
        nonlocal under_way
        under_way -= 1
        looked(picture)

    looks.looked = done

    def noted(work: Any) -> None:
        nonlocal under_way
        if isinstance(work, drawing.Look):
            held.append(under_way)
            under_way += 1
        submit(work)

    return noted


async def test_a_sample_that_was_asked_for_by_who_left_holds_up_no_other() -> None:
    async with running() as server, client(server) as raw:
        await begun(raw, cloud(1, 300))
        for sample in range(100, 130):
            async with client(server) as other:
                await other.ok("subscribe", kind="map", collection="items", sample=sample)
        await raw.ok("subscribe", kind="map", collection="items", sample=200)
        await raw.named("map")
        await raw.ok("drop", collection="items")
        await raw.create("else", dim=2)
        await raw.add(1, 2, 3, name="else")
        await raw.ok("subscribe", kind="map", collection="else")
        while (await raw.named("map"))["sub"] != 2:
            pass


@pytest.mark.parametrize(
    ("stride", "span", "sample", "expected"),
    [
        (1, 0, 100, 1), (1, 100, 100, 1), (1, 101, 100, 2), (1, 1600, 100, 16), (1, 1601, 100, 32),
        (16, 1600, 100, 16), (16, 400, 100, 16), (16, 399, 100, 4), (64, 10, 100, 1),
    ],
)  # fmt: skip
def test_the_stride_leaves_as_many_rows_as_were_asked_for(
    stride: int, span: int, sample: int, expected: int
) -> None:
    assert stride_for(stride, span, sample) == expected
