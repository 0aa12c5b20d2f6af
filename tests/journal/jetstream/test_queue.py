"""From what waits to messages, and back to what it was: groups, parts, checkpoints, passes."""

from __future__ import annotations

from collections import deque
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omendb_core.model.change import AddChange, Change

from omendb_ws.journal.jetstream import queue as queue_module
from omendb_ws.journal.jetstream.followed import Followed
from omendb_ws.journal.jetstream.queue import Writing
from omendb_ws.journal.local.groups import Done, Queued, Turn, size_of
from tests.journal.jetstream.messages import LIMITS, MANIFEST, add, delete, equal, first_message

#: Room for some rows in a message, and a few hundred bytes of headers of NATS.
MOST_BYTES = 2048 + 1000


def begun() -> Followed:
    followed = Followed(LIMITS)
    followed.take(1, first_message()[0], 0)
    return followed


def written(changes: list[Change], *, most_bytes: int = MOST_BYTES) -> list[list[bytes]]:
    """What is sent at a time."""
    writing = Writing(MANIFEST, begun(), LIMITS, most_bytes)
    waiting: deque[Queued] = deque((one, "tag", size_of(one)) for one in changes)
    sent = []
    while waiting:
        messages = list(writing.messages(waiting, is_alone=True))
        assert messages
        sent.append(messages)
    assert [one.queued[0] for one in writing.sent if not isinstance(one.queued[0], Turn)] == changes
    return sent


def read(sent: list[list[bytes]]) -> tuple[list[Change], Followed]:
    followed = begun()
    found = []
    sequence = 1
    for messages in sent:
        for message in messages:
            sequence += 1
            for record in followed.take(sequence, message, 0):
                logged = followed.logged(record)
                if logged is not None:
                    found.append(cast(Change, logged))
    return found, followed


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    found: list[Change] = []
    last_seq = 0
    for size in draw(st.lists(st.integers(0, 120), min_size=1, max_size=12)):
        version = len(found) + 1
        if size == 0 and last_seq:
            found.append(delete(version, draw(st.integers(1, last_seq))))
            continue
        rows = max(size, 1)
        found.append(add(version, last_seq + 1, *range(last_seq + 1, last_seq + 1 + rows)))
        last_seq += rows
    return found


@given(histories(), st.sampled_from([200, 1000, 100_000]))
def test_what_is_sent_is_what_was_appended(changes: list[Change], room: int) -> None:
    sent = written(changes, most_bytes=2048 + room)
    found, followed = read(sent)
    assert len(found) == len(changes)
    assert all(equal(one, other) for one, other in zip(found, changes, strict=True))
    assert followed.tracker.version == len(changes)
    for messages in sent:
        assert all(len(message) <= room for message in messages)


def test_changes_that_wait_together_are_one_message() -> None:
    changes = cast(list[Change], [add(n, n, n) for n in range(1, 200)])
    assert [len(messages) for messages in written(changes, most_bytes=1 << 20)] == [1]


def test_a_large_change_waits_until_it_is_alone() -> None:
    writing = Writing(MANIFEST, begun(), LIMITS, MOST_BYTES)
    waiting: deque[Queued] = deque([(add(1, 1, *range(1, 100)), "tag", 1)])
    assert list(writing.messages(waiting, is_alone=False)) == []
    assert len(writing.messages(waiting, is_alone=True)) > 1
    assert not waiting


def test_what_was_refused_while_it_waited_is_not_sent_in_place_of_the_next() -> None:
    writing = Writing(MANIFEST, begun(), LIMITS, MOST_BYTES)
    waiting: deque[Queued] = deque([(add(1, 1, *range(1, 100)), "tag", 1)])
    assert list(writing.messages(waiting, is_alone=False)) == []
    waiting.clear()
    other = add(1, 1, 7)
    waiting.append((other, "tag", 1))
    [found], _ = read([list(writing.messages(waiting, is_alone=True))])
    assert equal(found, other)


def test_one_too_large_for_a_batch_is_refused_and_stays_first() -> None:
    writing = Writing(MANIFEST, begun(), LIMITS, 2048 + 100)
    waiting: deque[Queued] = deque([(add(1, 1, *range(1, 10_000)), "tag", 1)])
    with pytest.raises(ValueError, match="more than 1000 messages"):
        writing.messages(waiting, is_alone=True)
    assert len(waiting) == 1


def test_checkpoints_stand_at_their_place_and_let_go_of_what_has_left_the_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_module, "CHECKPOINT_BYTES", 1000)
    changes = [add(n, 30 * n - 29, *range(30 * n - 29, 30 * n + 1)) for n in range(1, 30)]
    found, followed = read(written(cast(list[Change], changes)))
    assert len(found) == len(changes)
    assert len(followed.checkpoints) > 5
    before = followed.needless_before(0)
    first = followed.checkpoints[0]
    assert before == first.sequence
    # The window holds 100 rows: the rows before the first checkpoint that is kept have left it.
    assert first.last_seq < followed.tracker.first_seq == 29 * 30 - 99
    assert followed.checkpoints[1].last_seq >= followed.tracker.first_seq
    assert followed.needless_before(0) is None


def test_a_stream_read_from_a_later_checkpoint_comes_to_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_module, "CHECKPOINT_BYTES", 1000)
    changes = [add(n, 30 * n - 29, *range(30 * n - 29, 30 * n + 1)) for n in range(1, 30)]
    sent = written(cast(list[Change], changes))
    _, followed = read(sent)
    before = followed.needless_before(0)
    assert before is not None
    again = Followed(LIMITS)
    flat = [first_message()[0], *(message for messages in sent for message in messages)]
    rows = 0
    for sequence, message in enumerate(flat[before - 1 :], before):
        for record in again.take(sequence, message, 0):
            logged = again.logged(record)
            if isinstance(logged, AddChange):
                rows += len(logged.vectors)
    again.refuse_gap()
    assert again.tracker.checkpoint() == followed.tracker.checkpoint()
    assert again.judge.chain == followed.judge.chain
    assert 100 <= rows < 29 * 30


def test_the_end_of_a_pass_is_no_message() -> None:
    writing = Writing(MANIFEST, begun(), LIMITS, MOST_BYTES)
    waiting: deque[Queued] = deque([(Turn(), None, 0), (Done(), None, 0)])
    assert len(writing.messages(waiting, is_alone=True)) == 1
    assert writing.sent[-1].begins_pass
    assert list(writing.messages(waiting, is_alone=True)) == []
    assert writing.has_ended_pass


def test_the_end_of_a_pass_is_told_once_though_what_comes_next_must_wait() -> None:
    writing = Writing(MANIFEST, begun(), LIMITS, MOST_BYTES)
    large = add(2, 2, *range(2, 100))
    waiting: deque[Queued] = deque([(add(1, 1, 1), "tag", 1), (Done(), None, 0), (large, "tag", 1)])
    assert len(writing.messages(waiting, is_alone=True)) == 1
    assert list(writing.messages(waiting, is_alone=False)) == []
    assert writing.has_ended_pass
    assert list(writing.messages(waiting, is_alone=False)) == []
    assert not writing.has_ended_pass, "whoever sends would ask again, and again"
    assert len(waiting) == 1
