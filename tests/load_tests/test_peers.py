from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from load_tests.peers import compare
from load_tests.peers.measure import Measuring, Workload, recall
from load_tests.peers.peer import PEERS, Entry, by_name

TOY = Workload(
    rows=400, dim=16, queries=30, k=5, threads=1, rows_an_add=100, queries_a_batch=8, recall=0.99,
    search_seconds=0.02, fresh_rows=3,
)  # fmt: skip
FIGURES = {
    "rows_added_per_second", "queries_per_second", "p50_ms", "p99_ms", "recall",
    "fresh_p50_ms", "fresh_max_ms", "fresh_missed",
}  # fmt: skip
OWN = ["numpy", "omendb-engine", "omendb-server"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    compare.prepare(TOY, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", OWN)
def test_what_needs_no_other_package_agrees_with_an_oracle(folder: Path, name: str) -> None:
    vectors, queries = np.load(folder / "vectors.npy"), np.load(folder / "queries.npy")
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    wanted = np.argsort(-exact, axis=1)[:, : TOY.k]
    peer = by_name(name).make()
    try:
        peer.open(TOY.dim, TOY.rows, threads=1)
        ids = np.arange(TOY.rows)
        assert (peer.search(queries[:1], TOY.k) == -1).all()
        for start in range(0, TOY.rows, TOY.rows_an_add):
            part = slice(start, start + TOY.rows_an_add)
            peer.add(ids[part], vectors[part])
        peer.settle()
        peer.set_effort(10)
        np.testing.assert_array_equal(peer.search(queries, TOY.k), wanted)
        np.testing.assert_array_equal(peer.search(queries[3:4], TOY.k), wanted[3:4])
    finally:
        peer.close()


@pytest.mark.parametrize("name", OWN)
def test_a_peer_is_measured_in_its_own_process(folder: Path, name: str) -> None:
    line = compare.measure(by_name(name), TOY, folder, seconds=60)
    assert line["state"] == "measured", line
    assert set(line) >= FIGURES
    assert ("memory_bytes" in line) == Path("/proc/self/statm").exists()
    assert line["recall"] == 1.0
    assert line["fresh_missed"] == 0
    assert line["is_in_process"] == (name != "omendb-server")
    assert name in compare.as_text(line)
    assert ("in process" in compare.as_text(line)) == line["is_in_process"]


def test_every_peer_of_the_issue_is_known_and_a_missing_one_is_skipped_by_name(
    folder: Path,
) -> None:
    libraries = {entry.distribution for entry in PEERS}
    assert libraries == {
        "numpy", "faiss-cpu", "hnswlib", "usearch", "qdrant-edge-py", "chromadb", "omendb-ws"
    }  # fmt: skip
    missing = Entry("lost", "nowhere", "no_such_module", "no-such-package", True, False)
    line = compare.measure(missing, TOY, folder, seconds=60)
    assert line["state"] == "skipped"
    assert compare.as_text(line).split(maxsplit=1) == [
        "lost", "skipped: no-such-package is not installed",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no peer 'lost'; there is: numpy, faiss-flat"):
        by_name("lost")


def test_a_peer_that_takes_too_long_is_ended_and_one_that_fails_says_why(folder: Path) -> None:
    line = compare.measure(by_name("numpy"), TOY, folder, seconds=0.01)
    assert line["state"] == "stopped"
    (folder / "queries.npy").unlink()
    line = compare.measure(by_name("numpy"), TOY, folder, seconds=60)
    assert line["state"] == "failed"
    assert "queries.npy" in line["why"]
    assert "failed: " in compare.as_text(line)


class Forgetful:
    """Finds nothing that came after its first 400 rows, and half of what it should."""

    process_id = 0

    def __init__(self) -> None:
        self._inner = by_name("numpy").make()
        self._rows = 0
        self.efforts: list[int] = []

    def open(self, dim: int, capacity: int, threads: int) -> None:
        self._inner.open(dim, capacity, threads)

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        if self._rows < TOY.rows:
            self._inner.add(ids, vectors)
        self._rows += len(ids)

    def settle(self) -> None:
        pass

    def set_effort(self, effort: int) -> None:
        self.efforts.append(effort)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        found = self._inner.search(queries, k)
        if self.efforts[-1] < 64:
            found[:, 2:] = -1
        return found

    def close(self) -> None:
        pass


def test_effort_rises_until_the_recall_is_reached_and_lost_rows_are_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("load_tests.peers.measure.FRESH_WITHIN_SECONDS", 0.001)
    peer = Forgetful()
    measuring = Measuring(peer, TOY, folder)
    measuring.run()
    assert peer.efforts == [10, 16, 32, 64]
    assert measuring.figures["recall"] == 1.0
    assert measuring.figures["effort"] == 64
    assert measuring.figures["fresh_missed"] == TOY.fresh_rows
    assert "fresh_p50_ms" not in measuring.figures
    assert "memory_bytes" not in measuring.figures
    assert json.loads((folder / "figures.json").read_text()) == measuring.figures


def test_recall_counts_each_right_row_once() -> None:
    vectors = np.eye(6, dtype=np.float32)
    query = np.array([[6, 5, 4, 3, 2, 1]], np.float32)

    def of(*ids: int) -> float:
        return recall(vectors, query, np.array([4.0]), np.array([ids]), 3)

    assert of(0, 1, 2) == of(2, 1, 0) == 1.0
    assert of(0, 1, 3) == of(0, 1, 1) == of(0, 1, -1) == of(0, 1, 99) == pytest.approx(2 / 3)


def test_the_command_prints_a_table_and_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "peers.json"
    compare.main([
        "--rows", "300", "--dim", "8", "--queries", "16", "--search-seconds", "0.02",
        "--only", "numpy", "--quick", "--json", str(path),
    ])  # fmt: skip
    shown = capsys.readouterr().out
    assert "300 vectors x 8" in shown
    assert "durability memory" in shown
    document = json.loads(path.read_text())
    assert [line["peer"] for line in document["peers"]] == ["numpy"]
    assert document["workload"]["rows"] == 300
    assert document["environment"]["durability"] == "memory"
    with pytest.raises(SystemExit, match="there is no peer"):
        compare.main(["--only", "nobody"])
