"""``list`` names what cannot be used below what can."""

from __future__ import annotations

from tests.cli.here import run, server
from tests.server.fake_store import FakeStore
from tests.server.raw import settings


def test_collections_that_cannot_be_used_stand_below_with_the_reason() -> None:
    store = FakeStore()
    durable = settings(data_dir="x")
    with server(durable, open_store=store) as url:
        for name in ("good", "bad"):
            run("create", name, "--dim", 2, "--capacity", 10, OMENDB_URL=url)
        assert "unavailable" not in run("list", "--json", OMENDB_URL=url).document
    store.damaged.add("bad")
    with server(durable, open_store=store) as url:
        ran = run("list", "--json", OMENDB_URL=url)
        while ran.document["unavailable"][0]["recovering"]:
            ran = run("list", "--json", OMENDB_URL=url)
        (lost,) = ran.document["unavailable"]
        assert [one["collection"] for one in ran.document["collections"]] == ["good"]
        assert lost["collection"] == "bad"
        assert lost["reason"].startswith("needs repair: segment-1 at byte 4096: ")
        listed = run("list", OMENDB_URL=url).out.splitlines()
        assert [line.split()[0] for line in listed] == ["collection", "good", "bad"]
        assert listed[-1] == f"bad {lost['reason']}"
