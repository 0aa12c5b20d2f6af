"""Collections of several shards by the command line: made, loaded, refused where they must be."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import serving
from tests.cli.here import omendb_ws


def test_a_collection_of_shards_is_made_loaded_and_left_out_of_backups(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"id": {n}, "vector": [{n}, 1]}}\n' for n in range(50)))
    data, backup = str(tmp_path / "data"), str(tmp_path / "all.omen")
    with serving("--port", "0", "--data-dir", data) as server:
        to = ("--url", server.url)
        made = omendb_ws(
            "create", "clicks", "--dim", "2", "--capacity", "99", "--shards", "3", "--json", *to
        )
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["shards"] == 3
        loaded = omendb_ws("load", str(rows), "-c", "clicks", *to)
        assert loaded.returncode == 0, loaded.stderr
        again = omendb_ws("load", str(rows), "-c", "clicks", *to)
        assert again.returncode == 0, again.stderr
        counted = omendb_ws("count", "clicks", "--json", *to)
        assert json.loads(counted.stdout)["count"] == 50
        refused = omendb_ws("backup", backup, *to)
        assert refused.returncode != 0
        assert "clicks: of several shards no snapshots are made yet" in refused.stderr
    refused = omendb_ws("backup", data, backup)
    assert refused.returncode != 0
    assert "clicks: of several shards no snapshots are made yet" in refused.stderr
