"""The parts without a socket: outbox, histograms, rates, token bucket, sizes, catalog."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from omendb_core.model.budget import Budget
from omendb_core.model.errors import Quota
from omendb_core.model.types import Definition, Hits, IdKind, Include
from omendb_core.scan.choice import choose
from omendb_core.state import reserved_bytes

from omendb_ws.access.token_bucket import TokenBucket
from omendb_ws.catalog.catalog import Catalog
from omendb_ws.sessions.outbox import BATCH_BYTES, Outbox
from omendb_ws.telemetry.histogram import COUNT_BOUNDS, LATENCY_BOUNDS_US, Histogram, Rates
from omendb_ws.tenants.accounts import Accounts
from omendb_ws.tenants.limits import TenantLimits
from omendb_ws.wire import binary_replies, text_replies
from omendb_ws.wire import reply_bounds as sizes
from omendb_ws.wire.encoded import Message, binary, text
from omendb_ws.wire.messages import Create, Found, Results
from omendb_ws.wire.opcodes import Limits

# -- outbox ---------------------------------------------------------------------------------------


class Newest:
    """A source whose message is made when its turn comes."""

    def __init__(self, message: Message | None) -> None:
        self.message = message

    def take(self) -> Message | None:
        return self.message


async def test_messages_leave_in_the_order_in_which_they_came() -> None:
    outbox = Outbox()
    source = Newest(text(b"old"))
    outbox.reply(text(b"1"))
    outbox.push(binary(b"2"), lambda: None)
    assert outbox.offer(source)
    assert not outbox.offer(source)
    outbox.reply(text(b"4"))
    source.message = text(b"new")
    batch = outbox.take()
    assert [message.data for message in batch.messages] == [b"1", b"2", b"new", b"4"]
    assert outbox.offer(source)


async def test_bytes_count_until_they_are_sent() -> None:
    outbox = Outbox()
    sent: list[int] = []
    outbox.reply(text(b"x" * 10))
    outbox.push(Message((b"ab", b"cde"), True), lambda: sent.append(1))
    outbox.offer(Newest(text(b"y" * 7)))
    assert (outbox.reply_bytes, outbox.push_bytes) == (10, 5)
    batch = outbox.take()
    assert (outbox.reply_bytes, outbox.push_bytes) == (10, 12)
    assert batch.messages[1].data == b"abcde"
    assert not outbox.is_empty
    assert not sent
    outbox.sent(batch)
    assert (outbox.reply_bytes, outbox.push_bytes) == (0, 0)
    assert outbox.is_empty
    assert sent == [1]


async def test_a_batch_is_bounded_but_takes_any_one_message() -> None:
    outbox = Outbox()
    outbox.reply(text(b"x" * (BATCH_BYTES * 3)))
    for _ in range(10):
        outbox.reply(text(b"y" * (BATCH_BYTES // 4)))
    counts = [len(outbox.take().messages) for _ in range(4)]
    assert counts == [1, 4, 4, 2]
    assert outbox.take().messages == []


async def test_a_source_with_nothing_to_say_sends_nothing() -> None:
    outbox = Outbox()
    outbox.offer(Newest(None))
    batch = outbox.take()
    assert batch.messages == []
    assert outbox.is_empty


async def test_after_close_nothing_more_is_taken_in() -> None:
    outbox = Outbox()
    outbox.reply(text(b"last"))
    outbox.close(1012, "bye")
    outbox.close(4408, "later")
    outbox.reply(text(b"never"))
    outbox.push(text(b"never"), lambda: None)
    assert not outbox.offer(Newest(text(b"never")))
    batch = outbox.take()
    assert [message.data for message in batch.messages] == [b"last"]
    assert batch.close == (1012, "bye")


async def test_a_discarded_outbox_forgets() -> None:
    outbox = Outbox()
    outbox.reply(text(b"lost"))
    batch = outbox.take()
    outbox.discard()
    outbox.sent(batch)
    assert outbox.is_empty
    assert outbox.reply_bytes == outbox.push_bytes == 0


# -- measures -------------------------------------------------------------------------------------


def test_percentiles_are_upper_bounds_at_most_an_eighth_too_large() -> None:
    generator = random.Random(5)
    for scale in (1, 10, 1000, 10**6):
        values = [generator.randrange(1, 100) * scale for _ in range(1000)]
        histogram = Histogram()
        for value in values:
            histogram.record(value)
        ordered = sorted(values)
        for share in (0.5, 0.99, 0.999):
            exact = ordered[max(0, int(np.ceil(share * 1000)) - 1)]
            assert exact <= histogram.percentile(share) <= exact * 1.126
        assert histogram.count == 1000
        assert histogram.total == sum(values)


@pytest.mark.parametrize("bounds", [LATENCY_BOUNDS_US, COUNT_BOUNDS])
def test_coarse_bounds_count_exactly_what_is_up_to_them(bounds: tuple[int, ...]) -> None:
    histogram = Histogram()
    values = [0, 1, 2, 3, 4, 5, 16, 17, 1023, 1024, 1025, 1 << 24, 1 << 50]
    values += [bound + beyond for bound in bounds for beyond in (-1, 0, 1)]
    for value in values:
        histogram.record(value)
    for bound, seen in histogram.coarse(bounds):
        assert seen == sum(value <= bound for value in values), bound


def test_percentiles_forget_what_is_long_ago() -> None:
    histogram = Histogram()
    for _ in range(100):
        histogram.record(1_000_000)
    for second in range(1, 30):
        histogram.sample(float(second))
        histogram.record(10)
    assert histogram.percentile(0.999) == 10
    assert histogram.count == 129
    assert Histogram().percentiles_ms() == {"p50": 0.0, "p99": 0.0, "p999": 0.0}


def test_rates_speak_of_the_recent_past() -> None:
    rates = Rates(0.0, (0, 0))
    assert rates.per_second(0.5, (5, 0)) == (5.0, 0.0)  # at least a second is assumed
    assert rates.per_second(5.0, (50, 10)) == (10.0, 2.0)
    for second in range(1, 60):
        rates.sample(float(second), (second * 10, 0))
    assert rates.per_second(60.0, (600, 0)) == (10.0, 0.0)


def test_a_bucket_lets_through_what_it_promises() -> None:
    bucket = TokenBucket(10)

    def take(now_us: int) -> int:
        wait_ms = bucket.wait_ms(now_us)
        if not wait_ms:
            bucket.spend(1, now_us)
        return wait_ms

    assert [take(0) for _ in range(10)] == [0] * 10
    assert take(0) == 1  # what is left may be ever so little
    assert take(1_000) == 0
    assert take(1_000) == 100
    assert take(99_000) > 0
    assert take(101_000) == 0
    assert take(50_000) > 0  # a clock that goes back earns nothing
    # Not more than a second's worth is saved up.
    assert [take(10**9) for _ in range(11)].count(0) == 10


def test_what_is_spent_beyond_a_bucket_is_earned_back_first() -> None:
    bucket = TokenBucket(10)
    assert bucket.wait_ms(0) == 0
    bucket.spend(35, 0)
    assert bucket.wait_ms(0) == 2501
    assert bucket.wait_ms(2_499_000) == 2
    assert bucket.wait_ms(2_501_000) == 0
    assert bucket.full_in_seconds(2_500_000) == pytest.approx(1.0, abs=0.01)


def test_a_bucket_without_a_rate_holds_nothing_up() -> None:
    free = TokenBucket(None)
    for _ in range(10_000):
        assert free.wait_ms(0) == 0
        free.spend(10**9, 0)
    assert free.full_in_seconds(0) == 0.0


def test_what_is_owed_stays_owed_at_another_rate() -> None:
    bucket = TokenBucket(10)
    assert bucket.wait_ms(0) == 0
    bucket.spend(30, 0)
    bucket.change(20, 0)
    assert bucket.wait_ms(0) == 1001
    bucket.change(5, 10**7)  # what was saved up is a second's worth of the new rate at most
    bucket.spend(5, 10**7)
    assert bucket.wait_ms(10**7) == 1


# -- sizes ----------------------------------------------------------------------------------------

KEYS = [sizes.Keys(), sizes.Keys(rank=True), sizes.Keys(rank=True, weight=True)]
INCLUDES = [Include(*flags) for flags in itertools.product((False, True), repeat=2)]


def _hits(ids: IdKind, include: Include, dim: int, count: int, keys: sizes.Keys = KEYS[0]) -> Hits:
    """The shortest rows that there are."""
    return Hits(
        ids=["a"] * count if ids == "str" else np.ones(count, np.uint64),
        seqs=np.ones(count, np.uint64),
        scores=np.zeros(count, np.float32),
        metadata=[b"{}"] * count if include.metadata else None,
        vectors=np.zeros((count, dim), np.float32) if include.vector else None,
        ranks=np.zeros(count) if keys.rank else None,
        weights=np.zeros(count, np.float32) if keys.weight else None,
    )


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("include", INCLUDES)
@pytest.mark.parametrize("ids", ["u64", "str", "auto"])
def test_the_least_of_a_reply_is_never_more_than_a_reply_takes(
    ids: IdKind, include: Include, keys: sizes.Keys
) -> None:
    for dim, count in itertools.product((1, 3, 128), (0, 1, 7)):
        definition = Definition(dim, 10, ids=ids)
        hits = _hits(ids, include, dim, count, keys)
        found = Results(0, np.array([count], np.uint32), hits, at=0.0 if keys.rank else None)
        for is_binary, data in (
            (True, binary_replies.encode_results(0, found)),
            (False, text_replies.encode_results(0, found, True)),
        ):
            limits = Limits(max_message_bytes=len(data))
            assert sizes.max_hits(definition, include, is_binary, 1, limits, keys) >= count
            assert sizes.least_row_bytes(definition, include, is_binary, keys) * count <= len(data)
        unscored = Hits(hits.ids, hits.seqs, None, hits.metadata, hits.vectors)
        data = text_replies.encode_found(0, Found(0, np.ones(count, np.bool_), unscored))
        assert sizes.least_found_bytes(definition, include) * count <= len(data) + 1


def test_binary_rows_of_numbers_are_counted_exactly() -> None:
    definition, include = Definition(8, 10), Include(vector=True)
    data = binary_replies.encode_results(
        0, Results(0, np.array([8], np.uint32), _hits("u64", include, 8, 8))
    )
    for size, fits in ((len(data), 8), (len(data) - 8, 7)):
        limits = Limits(max_message_bytes=size)
        assert sizes.max_hits(definition, include, True, 1, limits) == fits


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("include", INCLUDES)
@pytest.mark.parametrize("ids", ["u64", "str"])
def test_the_most_of_a_row_is_more_than_the_longest_row_takes(
    ids: IdKind, include: Include, keys: sizes.Keys
) -> None:
    dim = 16
    hits = Hits(
        ids=["\x01" * 256] if ids == "str" else np.array([2**64 - 1], np.uint64),
        seqs=np.array([2**53 - 1], np.uint64),
        scores=np.array([-1.2345678e-38], np.float32),
        metadata=[b"x" * 4096] if include.metadata else None,
        vectors=np.full((1, dim), -1.2345678e-38, np.float32) if include.vector else None,
        ranks=np.array([-2.2250738585072014e-308]) if keys.rank else None,
        weights=np.array([1.1754942e-38], np.float32) if keys.weight else None,
    )
    at = -2.2250738585072014e-308 if keys.rank else None
    found = Results(2**53 - 1, np.array([1], np.uint32), hits, at=at)
    definition = Definition(dim, 10, ids=ids)
    for is_binary, data in (
        (True, binary_replies.encode_results(0, found)),
        (False, text_replies.encode_results(0, found, True)),
    ):
        most = sizes.most_row_bytes(definition, include, is_binary, 4096, keys)
        assert len(data) <= most + sizes.ENVELOPE_BYTES


# -- catalog --------------------------------------------------------------------------------------


def test_the_budget_is_the_sum_of_what_is_there() -> None:
    one = reserved_bytes(Definition(4, 100, metric="dot"), choose())
    limits = Limits(max_memory_bytes=3 * one)
    budget = Budget("max_memory_bytes", limits.max_memory_bytes)
    accounts = Accounts(TenantLimits(), budget, 10, lambda: 0)
    catalog = Catalog(limits, choose(), "memory", False, accounts)

    def create(name: str, tenant: str = "t", **fields: Any) -> Any:
        return catalog.create(
            tenant, Create(1, name, dim=4, capacity=100, metric="dot", **fields), 0.0
        )

    made = [create(name)[0] for name in "abc"]
    assert catalog.reserved_bytes == 3 * one
    with pytest.raises(Quota):
        create("d")
    with pytest.raises(Quota):  # the budget is all tenants' together
        create("d", "other")
    assert create("a", if_exists="ok") == (made[0], False)
    catalog.drop(made[1])
    made[1].shard.is_dropped = True
    assert catalog.reserved_bytes == 3 * one  # the window is still there
    made[1].shard.let_go()
    assert catalog.reserved_bytes == 2 * one
    assert [collection.name for collection in catalog.of("t")] == ["a", "c"]
    create("d", "other")
    assert [collection.name for collection in catalog.of("other")] == ["d"]
    assert len(catalog) == 3
    assert len({collection.epoch for collection in catalog}) == 3
