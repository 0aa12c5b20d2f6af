from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import omendb_ws
from load_tests.runbook import Live, drifting, read_vectors, replay
from load_tests.runbook_file import (
    BadRunbook,
    Runbook,
    Step,
    clustered,
    read,
    sliding_window,
    write,
)
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from tests.project.pages import ROOT

SHIPPED = ROOT / "load_tests" / "runbooks" / "sliding-window-10K.yaml"
#: As the track writes them: every operation, quotes, another key, steps of another data set.
ALL_OPERATIONS = """\
small:
  max_pts: 300
  1:
    operation: "insert"
    start: 0
    end: 300
  2:
    operation: search
  3:
    operation: "replace"
    tags_start: 0
    tags_end: 50
    ids_start: 300
    ids_end: 350
  4:
    operation: "search"
  5:
    operation: "delete"
    start: 100
    end: 290
  6:
    operation: "search"
  7:
    operation: "insert"
    start: 100
    end: 150
  8:
    operation: "search"
  gt_url: "somewhere"
"""


def book(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "book.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_runbook_of_the_track_is_read(tmp_path: Path) -> None:
    found = read(book(tmp_path, ALL_OPERATIONS))
    assert (found.dataset, found.max_points, found.points) == ("small", 300, 350)
    assert found.steps[0] == Step(1, "insert", range(300), range(300))
    assert found.steps[1] == Step(2, "search")
    assert found.steps[2] == Step(3, "replace", range(50), range(300, 350))
    assert found.steps[4] == Step(5, "delete", range(100, 290))


def test_one_of_several_data_sets_is_chosen_by_name(tmp_path: Path) -> None:
    other = ALL_OPERATIONS + "other:\n  1:\n    operation: insert\n    start: 0\n    end: 5\n"
    path = book(tmp_path, other)
    assert read(path, "other").points == 5
    with pytest.raises(BadRunbook, match="small, other: name one"):
        read(path)
    with pytest.raises(BadRunbook, match="nothing for 'third'"):
        read(path, "third")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    start: 0\n", "", "line 4: step 1 .insert. has no start"),
        ("    end: 300", "    end: lots", "line 6: end of step 1 must be an integer"),
        ("    end: 300", "    end: -3", "line 6: end of step 1 must not be negative"),
        ("    end: 300", "    end: 0", "line 4: step 1: the end must lie after"),
        ("operation: search", "operation: find", "line 8: the operation of step 2 must be one of"),
        ("    operation: search\n", "    k: 3\n", "line 8: step 2 has no operation"),
        (
            "operation: search\n",
            "operation: search\n    k: 3\n",
            "line 9: step 2 .search. does not",
        ),
        ("ids_end: 350", "ids_end: 340", "line 10: step 3: as many ids as tags"),
        (
            "start: 100\n    end: 290",
            "start: 100\n    end: 301",
            "step 5 .delete.: point 300 is not",
        ),
        ("end: 150", "end: 151", None),
        (
            "start: 100\n    end: 150",
            "start: 99\n    end: 150",
            "step 7 .insert.: point 99 is alre",
        ),
        ("max_pts: 300", "max_pts: 299", "line 2: max_pts is 299, but 300 points live"),
        ("  2:\n", "  9:\n", "numbered 1, 2, 3"),
        ("  2:\n", "  1:\n", "line 7: small has 1 twice"),
        ("  2:\n    operation: search", "  2: search", "line 7: step 2 must be a mapping"),
    ],
)
def test_a_bad_runbook_is_refused_with_line_and_step(
    tmp_path: Path, old: str, new: str, says: str | None
) -> None:
    assert old in ALL_OPERATIONS
    path = book(tmp_path, ALL_OPERATIONS.replace(old, new, 1))
    if says is None:
        read(path)
        return
    with pytest.raises(BadRunbook, match=says):
        read(path)


@pytest.mark.parametrize("text", ["", "- 1\n", "a: [1\n", "a: {}\n", "3\n"])
def test_what_is_no_runbook_at_all_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadRunbook, match=r"book\.yaml"):
        read(book(tmp_path, text))


def test_the_sliding_window_is_that_of_the_track() -> None:
    found = sliding_window("msturing-10M", 10_000_000)
    assert len(found.steps) == 400
    assert found.max_points == found.capacity == 5_000_000
    assert found.steps[99] == Step(100, "insert", *[range(4_950_000, 5_000_000)] * 2)
    assert found.steps[100].operation == "search"
    assert found.steps[101] == Step(102, "delete", range(50_000))
    assert found.steps[102] == Step(103, "insert", *[range(5_000_000, 5_050_000)] * 2)


def test_clusters_come_by_turns_as_in_the_last_runbook_of_the_track(tmp_path: Path) -> None:
    found = clustered("msturing-30M-clustered", 100_000)
    assert len(found.steps) == 1280
    assert [step.operation for step in found.steps[1::2]] == ["search"] * 640
    kinds = [step.operation for step in found.steps[::2]]
    assert kinds == (["insert"] * 64 + ["delete"] * 64) * 5
    assert found.points == 100_000
    inserted = [step.tags for step in found.steps if step.operation == "insert"]
    assert sorted(tag for tags in inserted for tag in tags) == list(range(100_000))
    assert found.max_points < 100_000
    write(found, tmp_path / "made.yaml")
    assert read(tmp_path / "made.yaml") == found  # what is deleted was there
    with pytest.raises(ValueError, match="too few for 64 clusters in 5 rounds"):
        clustered("tiny", 600)


async def test_clusters_replay_with_a_recall_of_one() -> None:
    assert await replayed(clustered("tiny", 300, clusters=4, rounds=3), "l2") == [1.0] * 24


def test_what_is_written_is_read_back_and_the_shipped_file_is_what_is_made(tmp_path: Path) -> None:
    made = sliding_window("generated-10K", 10_000, 40)
    write(made, tmp_path / "made.yaml")
    assert read(tmp_path / "made.yaml") == made
    assert SHIPPED.read_text("utf-8") == (tmp_path / "made.yaml").read_text("utf-8")


def test_a_window_large_enough_for_rows_that_outlive_younger_ones(tmp_path: Path) -> None:
    # Row 50 (seq 51) is alive to the end, when 400 rows have been added.
    assert read(book(tmp_path, ALL_OPERATIONS)).capacity == 350


async def replayed(runbook: Runbook, metric: str) -> list[float]:
    vectors, queries = drifting(runbook.points, 12, seed=1), drifting(20, 12, seed=2)
    async with Server(Settings(port=0)) as server, omendb_ws.connect(server.url) as db:
        measured = await replay(db, runbook, vectors, queries, metric, 10)  # type: ignore[arg-type]
        assert await db.list() == []
    assert [step.number for step in measured] == list(range(1, len(runbook.steps) + 1))
    return [step.recall for step in measured if step.recall is not None]


@pytest.mark.parametrize("metric", ["l2", "cosine", "dot"])
async def test_every_operation_replays_with_a_recall_of_one(tmp_path: Path, metric: str) -> None:
    assert await replayed(read(book(tmp_path, ALL_OPERATIONS)), metric) == [1.0] * 4


async def test_a_sliding_window_replays_with_a_recall_of_one() -> None:
    assert await replayed(sliding_window("tiny", 600, 20), "l2") == [1.0] * 10


async def test_too_few_vectors_are_refused_before_anything_is_made() -> None:
    few = drifting(90, 4, seed=1)
    async with Server(Settings(port=0)) as server, omendb_ws.connect(server.url) as db:
        with pytest.raises(ValueError, match="needs 100 vectors, there are 90"):
            await replay(db, sliding_window("tiny", 100, 4), few, few[:2], "l2", 10)
        assert await db.list() == []


def test_the_oracle_sees_a_wrong_a_missing_and_a_repeated_answer() -> None:
    vectors = np.eye(8, dtype=np.float32) * np.arange(1, 9, dtype=np.float32)[:, None]
    live = Live(vectors, "dot")
    live.apply(Step(1, "insert", range(8), range(8)))
    query = np.ones((1, 8), np.float32)

    def recall(*ids: int) -> float:
        return live.recall(query, 4, [np.array(ids, np.int64)])

    assert recall(7, 6, 5, 4) == recall(4, 5, 6, 7) == 1.0
    assert (
        recall(7, 6, 5, 3) == recall(7, 6, 5) == recall(7, 6, 5, 5) == recall(7, 6, 5, 99) == 0.75
    )
    live.apply(Step(2, "delete", range(7, 8)))
    assert recall(7, 6, 5, 4) == 0.75
    assert recall(6, 5, 4, 3) == 1.0
    live.apply(Step(3, "delete", range(7)))
    assert recall() == 1.0
    assert recall(1) == 0.0


def test_vectors_are_read_from_npy_and_fvecs(tmp_path: Path) -> None:
    vectors = drifting(5, 3, seed=3)
    np.save(tmp_path / "a.npy", vectors)
    rows = [np.int32(3).tobytes() + row.tobytes() for row in vectors]
    (tmp_path / "a.fvecs").write_bytes(b"".join(rows))
    for name in ("a.npy", "a.fvecs"):
        np.testing.assert_array_equal(read_vectors(tmp_path / name), vectors)
    (tmp_path / "cut.fvecs").write_bytes(b"".join(rows)[:-4])
    np.save(tmp_path / "flat.npy", vectors[0])
    for name in ("cut.fvecs", "flat.npy", "a.csv"):
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            read_vectors(tmp_path / name)
