"""Data directories and a backup that an earlier version wrote: opened, restored, gone on with.

``golden/format_1.tar.xz`` was written by the first code of format 1: ``data`` stopped in order,
``killed`` copied while its server ran, ``backup`` of one collection, and ``expected.json``, what
the server answered. It is never made anew.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omendb_ws.journal.local.store import LocalStore
from omendb_ws.net.server import Server
from tests.core.windows import LIMITS
from tests.server.journal.test_durability import ready
from tests.server.raw import Raw, client, settings

GOLDEN = Path(__file__).with_name("golden") / "format_1.tar.xz"
QUERIES = {"plain": [1, 2, 3, 4], "texts": [1, 0.5, 0], "cut": [1, 1]}


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


async def told(one: Raw, name: str) -> dict[str, Any]:
    """What ``expected.json`` says of a collection, as it is now."""
    described = await one.ok("describe", collection=name)
    found = await one.ok(
        "search", collection=name, vector=QUERIES[name], k=40, include=["metadata"]
    )
    hits = [
        [hit["id"], hit["seq"], float(np.float32(hit["score"])), hit["metadata"]]
        for hit in found["results"]
    ]
    keys = ("epoch", "version", "rows", "first_seq", "last_seq")
    return {**{key: described[key] for key in keys}, "hits": hits}


@pytest.mark.parametrize("directory", ["data", "killed"])
async def test_a_data_directory_of_an_earlier_version_is_opened_and_gone_on_with(
    golden: Path, directory: str
) -> None:
    expected = json.loads((golden / "expected.json").read_text())
    data_dir = str(golden / directory)
    for round_ in range(3):
        server = Server(
            settings(data_dir=data_dir), open_store=lambda path: LocalStore(path, boot="another")
        )
        async with server, client(server) as one:
            await ready(server)
            for name, before in expected.items():
                found = await told(one, name)
                if directory == "killed" and name == "texts" and not round_:
                    # everysec, and the machine that wrote it has been started again since
                    assert found["epoch"] != before["epoch"]
                    before["epoch"] = found["epoch"]
                assert found == before
            added = [{"id": 5000 + round_, "vector": [9.0, 9.0, 9.0, float(round_)]}]
            await one.ok("add", collection="plain", rows=added)
            expected["plain"] = await told(one, "plain")
            assert expected["plain"]["last_seq"] == 62 + round_


async def test_a_backup_of_an_earlier_version_is_restored(golden: Path) -> None:
    expected = json.loads((golden / "expected.json").read_text())["texts"]
    store = LocalStore(str(golden / "new"))
    manifest = store.restore(str(golden / "backup"), LIMITS)
    store.close()
    server = Server(settings(data_dir=str(golden / "new")))
    async with server, client(server) as one:
        await ready(server)
        assert await told(one, "texts") == expected | {"epoch": manifest.epoch}
