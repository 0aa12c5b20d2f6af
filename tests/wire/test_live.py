"""Pushes of live queries, there and back, in text and in binary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from omendb_core.model.types import Hits

from omendb_ws.wire import binary_replies, live
from omendb_ws.wire.messages import Live, LivePushes
from omendb_ws.wire.opcodes import LEAVE_REASONS


def push(ids: object, leaves: list[tuple[int | str, int, int]], **more: object) -> Live:
    count = len(ids)  # type: ignore[arg-type]
    enter = Hits(
        ids,  # type: ignore[arg-type]
        np.arange(101, 101 + count, dtype=np.uint64),
        np.linspace(1, 0.1, count, dtype=np.float32),
        **more,  # type: ignore[arg-type]
    )
    return Live(
        sub=3,
        version=13,
        leave_ids=[one[0] for one in leaves],
        leave_seqs=np.array([one[1] for one in leaves], np.uint64),
        leave_reasons=np.array([one[2] for one in leaves], np.uint8),
        enter=enter,
    )


def together(lives: list[Live]) -> LivePushes:
    """What the server makes at once; all lives have ids of the same kind."""
    enters = [live.enter for live in lives]
    ids: list[object] = [one for enter in enters for one in enter.ids]
    is_text = any(isinstance(enter.ids, list) for enter in enters)
    vectors = [enter.vectors for enter in enters if enter.vectors is not None]
    return LivePushes(
        version=lives[0].version,
        subs=[live.sub for live in lives],
        leave_counts=[len(live.leave_seqs) for live in lives],
        leave_ids=[one for live in lives for one in live.leave_ids or []],
        leave_seqs=np.concatenate([live.leave_seqs for live in lives]),
        leave_reasons=np.concatenate([live.leave_reasons for live in lives]),
        enter_counts=[len(enter.seqs) for enter in enters],
        enter=Hits(
            ids if is_text else np.array(ids, np.uint64),  # type: ignore[arg-type]
            np.concatenate([enter.seqs for enter in enters]),
            np.concatenate([enter.scores for enter in enters]),  # type: ignore[arg-type]
            [one for enter in enters for one in enter.metadata or []]
            if enters[0].metadata is not None
            else None,
            np.concatenate(vectors) if vectors else None,
        ),
    )


def as_text(live_: Live) -> bytes:
    return live.encode_text(together([live_]))[0]


def as_binary(live_: Live) -> bytes:
    return live.encode_binary(together([live_]))[0]


NUMBERS = np.array([17, 2**64 - 1], np.uint64)
LEAVES = [(4, 7, 0), (2**53, 8, 4)]


def test_the_event_is_the_protocols_example() -> None:
    made = push(NUMBERS[:1], LEAVES[:1])
    assert orjson.loads(as_text(made)) == {
        "event": "live",
        "sub": 3,
        "version": 13,
        "leave": [{"id": 4, "seq": 7, "reason": "displaced"}],
        "enter": [{"id": 17, "seq": 101, "score": 1.0}],
    }


def test_large_ids_are_strings_in_json_on_both_sides() -> None:
    event = orjson.loads(as_text(push(NUMBERS, LEAVES)))
    assert [row["id"] for row in event["enter"]] == [17, str(2**64 - 1)]
    assert [row["id"] for row in event["leave"]] == [4, str(2**53)]


def test_text_ids_are_escaped() -> None:
    event = orjson.loads(as_text(push(['a"b', "ü"], [("\n", 5, 6)])))
    assert [row["id"] for row in event["enter"]] == ['a"b', "ü"]
    assert event["leave"] == [{"id": "\n", "seq": 5, "reason": "updated"}]


@pytest.mark.parametrize("number", range(len(LEAVE_REASONS)))
def test_every_reason_has_its_name_and_number(number: int) -> None:
    made = push(NUMBERS[:0], [(1, 1, number)])
    assert orjson.loads(as_text(made))["leave"][0]["reason"] == LEAVE_REASONS[number]
    again = binary_replies.decode_incoming(as_binary(made))
    assert isinstance(again, Live)
    assert again.leave_reasons.tolist() == [number]


@pytest.mark.parametrize("ids", [NUMBERS, ["a", "b"], NUMBERS[:0]])
@pytest.mark.parametrize("with_vectors", [False, True])
def test_a_binary_push_comes_back_as_it_was(ids: object, with_vectors: bool) -> None:
    count = len(ids)  # type: ignore[arg-type]
    more: dict[str, object] = {"metadata": [b'{"a":1}', {"b": None}][:count]}
    if with_vectors:
        more["vectors"] = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    made = push(ids, LEAVES, **more)
    frame = as_binary(made)
    assert len(frame) % 8 == 0
    again = binary_replies.decode_incoming(frame)
    assert isinstance(again, Live)
    assert (again.sub, again.version, again.leave_ids) == (3, 13, None)
    assert again.leave_seqs.tolist() == [7, 8]
    assert list(again.enter.ids) == list(made.enter.ids)
    assert again.enter.seqs.tolist() == made.enter.seqs.tolist()
    assert again.enter.scores is not None
    assert made.enter.scores is not None
    assert again.enter.scores.tobytes() == made.enter.scores.tobytes()
    assert again.enter.metadata == [{"a": 1}, {"b": None}][:count]
    assert (again.enter.vectors is not None) == with_vectors


@pytest.mark.parametrize("is_text", [False, True])
def test_pushes_made_together_are_those_made_one_by_one(is_text: bool) -> None:
    def ids(count: int) -> object:
        return [f"{count}-{number}" for number in range(count)] if is_text else NUMBERS[:count]

    lives = [
        replace(
            push(ids(count), LEAVES[:leaves], metadata=[b'{"n":%d}' % count] * count),
            sub=count,
        )
        for count, leaves in [(1, 0), (0, 2), (2, 1), (0, 1), (1, 1)]
    ]
    made = together(lives)
    assert live.encode_binary(made) == [as_binary(one) for one in lives]
    assert live.encode_text(made) == [as_text(one) for one in lives]
