"""Which records count, held to an oracle that looks at a whole log again for each record."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from omendb_core.model.logged import Checkpoint

from omendb_ws.journal.jetstream.checkpoints import checkpoint_body
from omendb_ws.journal.jetstream.followed import Followed
from omendb_ws.journal.jetstream.records import (
    Assembler,
    Broken,
    encode,
    group_message,
    term_messages,
)
from tests.examples import examples
from tests.journal.jetstream.messages import LIMITS, MANIFEST, add, first_message, message


@dataclass(frozen=True)
class Written:
    """What somebody appended: a record of ``term``, for ``version``; 0: a term begins."""

    term: int
    version: int


def counting(log: list[Written]) -> list[int]:
    """The places of the changes that count: the law, word for word."""
    found: list[int] = []
    for place, one in enumerate(log):
        highest = max([1, *(before.term for before in log[:place] if before.version == 0)])
        version = log[found[-1]].version if found else 0
        if one.version and one.term == highest and one.version == version + 1:
            found.append(place)
    return found


class Log(RuleBasedStateMachine):
    """Owners that believe what they like, each with a chain of its own, append to one log."""

    def __init__(self) -> None:
        super().__init__()
        first, chain = first_message()
        self.messages = [first]
        self.log: list[Written] = []
        self.followed = Followed(LIMITS)
        self.followed.take(1, first, 0)
        self.counted: list[int] = []
        #: Of each owner: its term, the version that it is at, and the checksum of its last record.
        self.owners = {1: (1, 0, chain)}

    def append(self, one: Written, sent: bytes) -> bool:
        self.log.append(one)
        self.messages.append(sent)
        found = self.followed.take(len(self.messages), sent, 0)
        counts = any(not record.begins_term for record in found)
        if counts:
            self.counted.append(len(self.log) - 1)
        return counts

    @rule(data=st.data())
    def an_owner_appends_its_next_change(self, data: st.DataObject) -> None:
        term = data.draw(st.sampled_from(sorted(self.owners)))
        _, version, chain = self.owners[term]
        sent, after = message(term, chain, add(version + 1, version + 1, version + 1))
        self.append(Written(term, version + 1), sent)
        self.owners[term] = (term, version + 1, after)  # it does not wait to see what came of it

    @precondition(lambda self: len(self.owners) < 6)
    @rule(skips=st.integers(1, 3))
    def another_takes_over(self, skips: int) -> None:
        term = max(self.owners) + skips
        for sent in term_messages(term, 2):
            self.append(Written(term, 0), sent)
        judge = self.followed.judge
        self.owners[term] = (term, judge.version, judge.chain)

    @rule(data=st.data())
    def a_fence_that_was_late_arrives(self, data: st.DataObject) -> None:
        term = data.draw(st.integers(0, max(self.owners)))
        self.append(Written(term, 0), term_messages(term, 1)[0])

    @rule(data=st.data())
    def a_change_of_the_highest_term_is_not_the_next(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(1, 20))
        if version == self.followed.judge.version + 1:
            return
        term = self.followed.judge.term
        sent, _ = message(term, 7, add(version, version, version))
        self.append(Written(term, version), sent)

    @invariant()
    def what_counts_is_what_the_law_says(self) -> None:
        assert self.counted == counting(self.log)

    def teardown(self) -> None:
        """Whoever reads the log later comes to the same."""
        again = Followed(LIMITS)
        found = [
            (record.term, record.header.version)
            for sequence, sent in enumerate(self.messages, 1)
            for record in again.take(sequence, sent, 0)
            if record.header is not None and sequence > 1
        ]
        assert found == [(self.log[at].term, self.log[at].version) for at in counting(self.log)]
        assert again.judge.chain == self.followed.judge.chain


TestLaw = Log.TestCase
TestLaw.settings = settings(max_examples=examples(40), stateful_step_count=25, deadline=None)


def test_a_deposed_owner_that_goes_on_behind_the_fence_counts_for_nobody() -> None:
    followed = Followed(LIMITS)
    first, chain = first_message()
    one, chain_one = message(1, chain, add(1, 1, 1))
    late, _ = message(1, chain_one, add(2, 2, 2))
    other, _ = message(2, chain_one, add(2, 2, 9))
    taken = [
        len([r for r in followed.take(sequence, sent, 0) if not r.begins_term])
        for sequence, sent in enumerate([first, one, *term_messages(2, 17), late, other], 1)
    ]
    assert taken == [1, 1, *[0] * 17, 0, 1]
    assert followed.judge.version == 2


def test_what_would_count_and_does_not_follow_the_record_before_it_is_broken() -> None:
    followed = Followed(LIMITS)
    first, chain = first_message()
    followed.take(1, first, 0)
    wrong, _ = message(1, chain ^ 1, add(1, 1, 1))
    with pytest.raises(Broken, match="the record before version 1 is not the one it followed"):
        followed.take(2, wrong, 0)


def test_a_stream_that_does_not_begin_with_a_checkpoint_is_broken() -> None:
    for wrong in (message(1, 0, add(1, 1, 1))[0], term_messages(1, 1)[0]):
        with pytest.raises(Broken, match="does not begin with a checkpoint"):
            Followed(LIMITS).take(1, wrong, 0)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_records_or_broken(data: bytes) -> None:
    with pytest.raises(Broken):
        Assembler().records(data)


def test_the_clock_of_a_stream_that_was_begun_here_moves_on_from_when_nats_stored_that() -> None:
    """When that was is told with its last message, which whoever began it reads once more."""
    began_us, later_us = 1_800_000_000_000_000, 5_000_000
    buffers, _ = encode(checkpoint_body(MANIFEST, Checkpoint(time_us=began_us)), 1, 0)
    first = group_message(buffers)
    followed = Followed(LIMITS)
    followed.take(1, first, 0)
    followed.again()
    followed.take(1, first, began_us * 1000)
    for sequence, fence in enumerate(term_messages(2, 2), 2):
        followed.take(sequence, fence, (began_us + later_us) * 1000)
    assert followed.time_us() == began_us + later_us
