"""Accounts: what goes in and comes out, who has a place, and that none of them is kept for ever."""

from __future__ import annotations

import contextlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.budget import Budget, Share
from omendb_core.model.errors import Quota, RateLimited

from omendb_ws.telemetry.metrics import TenantNumbers
from omendb_ws.tenants.account import Account, Meter
from omendb_ws.tenants.accounts import OTHERS, Accounts
from omendb_ws.tenants.limits import Limits, TenantLimits
from tests.examples import examples


class Clock:
    def __init__(self) -> None:
        self.now_us = 0

    def __call__(self) -> int:
        return self.now_us

    def move(self, seconds: float) -> None:
        self.now_us += round(seconds * 1e6)


def accounts(
    clock: Clock,
    max_tenants: int = 10,
    default: Limits | None = None,
    max_bytes: int = 1000,
    **named: Limits,
) -> Accounts:
    limits = TenantLimits(named, default or Limits())
    return Accounts(limits, Budget("max_memory_bytes", max_bytes), max_tenants, clock)


def others(table: Accounts) -> TenantNumbers:
    return table.numbers(lambda _: 0, 0)[OTHERS]


# -- rates ----------------------------------------------------------------------------------------


@settings(max_examples=examples(200))
@given(
    rate=st.floats(0.5, 1e5),
    asked=st.lists(st.tuples(st.integers(1, 500), st.floats(0, 3)), min_size=1, max_size=60),
)
def test_what_goes_in_is_never_more_than_the_rate_a_burst_and_one_request(
    rate: float, asked: list[tuple[int, float]]
) -> None:
    clock, admitted = Clock(), 0
    meter = Meter("rows", rate)
    began = clock.now_us
    for count, pause in asked:
        try:
            meter.take(count, clock)
            admitted += count
        except RateLimited as error:
            wait_ms = error.details["retry_after_ms"]
            assert isinstance(wait_ms, int)
            assert wait_ms >= 1
            # It does go in then, and not before.
            early = TokenLike(meter, clock)
            assert early.is_refused_at(wait_ms - 2)
            assert not early.is_refused_at(wait_ms)
        clock.move(pause)
        elapsed = (clock.now_us - began) / 1e6
        largest = max(count for count, _ in asked)
        assert admitted <= rate * (elapsed + 1) + largest + 1e-6
    assert meter.count == admitted


class TokenLike:
    """Looks at a meter's bucket at times to come."""

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._bucket, self._now_us = meter.bucket, clock.now_us

    def is_refused_at(self, in_ms: int) -> bool:
        return in_ms < 0 or self._bucket.wait_ms(self._now_us + in_ms * 1000) > 0


def test_a_steady_stream_gets_the_whole_rate() -> None:
    clock = Clock()
    meter = Meter("queries", 50.0)
    for _ in range(100_000):  # 1,000 asked for a second, for 100 s
        with contextlib.suppress(RateLimited):
            meter.take(1, clock)
        clock.move(0.001)
    assert 50 * 100 <= meter.count <= 50 * 101 + 1


def test_without_a_rate_everything_goes_in_and_is_counted() -> None:
    meter = Meter("rows", None)
    for _ in range(1000):
        meter.take(10**6, Clock())
    assert meter.count == 10**9


# -- places ---------------------------------------------------------------------------------------


def test_connections_are_places_that_come_free() -> None:
    account = Account("acme", Limits(max_connections=2), Budget("m", 10), 0)
    account.enter()
    account.enter()
    with pytest.raises(Quota, match="max_connections: this tenant has 2 of 2"):
        account.enter()
    account.leave()
    account.enter()


def test_a_lowered_limit_takes_nothing_away_and_lets_nothing_in() -> None:
    clock = Clock()
    table = accounts(clock, acme=Limits(max_connections=3, max_memory_bytes=100))
    for _ in range(3):
        account = table.enter("acme")
    share = Share(account.memory, "this window takes")
    share.resize(80)
    table.change(TenantLimits({"acme": Limits(max_connections=1, max_memory_bytes=50)}))
    assert (account.connections, account.memory.taken_bytes) == (3, 80)
    for _ in range(2):
        with pytest.raises(Quota):
            table.enter("acme")
        account.leave()
    with pytest.raises(Quota, match="max_memory_bytes of this tenant: this window takes 1 bytes"):
        share.resize(81)
    share.resize(10)
    share.resize(50)
    account.leave()
    table.enter("acme")


def test_subscriptions_that_are_being_made_have_their_places() -> None:
    account = Account("acme", Limits(max_subscriptions=5), Budget("m", 10), 0)
    account.subscriptions, account.subscriptions_to_come = 2, 2
    account.refuse_subscriptions(1)
    with pytest.raises(Quota, match="max_subscriptions: this tenant has 4 of 5"):
        account.refuse_subscriptions(2)


# -- memory ---------------------------------------------------------------------------------------


def test_a_tenants_memory_is_part_of_the_servers() -> None:
    table = accounts(Clock(), max_bytes=100, small=Limits(max_memory_bytes=30))
    small, other = Share(table.of("small").memory, "a"), Share(table.of("other").memory, "b")
    small.resize(30)
    other.resize(60)
    assert table.memory.taken_bytes == 90
    with pytest.raises(Quota, match="of this tenant"):
        small.resize(31)
    with pytest.raises(Quota, match=r"^max_memory_bytes: b"):
        other.resize(71)
    assert table.of("other").memory.taken_bytes == 60, "nothing was taken"
    small.settle(35)
    other.close()
    assert (table.memory.taken_bytes, table.of("small").memory.taken_bytes) == (35, 35)
    del small
    assert (table.memory.taken_bytes, table.of("small").memory.taken_bytes) == (0, 0)


def test_what_was_there_before_a_restart_is_refused_by_the_server_only() -> None:
    table = accounts(Clock(), max_bytes=100, small=Limits(max_memory_bytes=30))
    share = Share(table.of("small").memory, "this window takes")
    share.restore(90)
    assert (table.memory.taken_bytes, share.taken_bytes) == (90, 90)
    with pytest.raises(Quota, match=r"^max_memory_bytes: "):
        Share(table.of("small").memory, "another takes").restore(11)
    assert table.of("small").memory.taken_bytes == 90
    assert not table.of("small").memory.whole.is_exceeded


# -- the table ------------------------------------------------------------------------------------


def test_who_has_left_and_owes_nothing_is_forgotten() -> None:
    clock = Clock()
    table = accounts(clock, default=Limits(rows_per_second=10))
    account = table.enter("acme")
    account.rows.take(35, clock)
    account.leave()
    table.sample()
    assert len(table) == 1, "coming back it would have a full bucket"
    assert table.enter("acme") is account
    account.leave()
    clock.move(3.4)
    table.sample()
    assert len(table) == 1
    clock.move(0.2)
    table.sample()
    assert len(table) == 0


def test_tenants_come_and_go_and_the_table_stays_small() -> None:
    clock = Clock()
    table = accounts(clock, max_tenants=8, default=Limits(messages_per_second=5))
    for number in range(10_000):
        account = table.enter(f"t{number}")
        account.messages.take(3, clock)
        account.leave()
        clock.move(0.01)
        assert len(table) <= 8
    clock.move(10)
    table.sample()
    assert len(table) == 0
    assert others(table).messages == 30_000


def test_a_tenant_beyond_max_tenants_is_refused_unless_it_is_named() -> None:
    clock = Clock()
    table = accounts(clock, max_tenants=3, named=Limits())
    table.enter("a")
    table.enter("b")
    with pytest.raises(Quota, match="max_tenants: this server has 3"):
        table.enter("c")
    table.enter("named")
    table.enter("a")
    table.of("a").leave()
    table.of("a").leave()
    table.enter("c")  # nothing of a is left
    assert "a" not in {one.tenant for one in table}


def test_who_only_owes_makes_way_and_who_owes_least_first() -> None:
    clock = Clock()
    table = accounts(clock, max_tenants=2, default=Limits(rows_per_second=10))
    for name, rows in (("much", 500), ("little", 11)):
        account = table.enter(name)
        account.rows.take(rows, clock)
        account.leave()
    table.enter("new")
    assert {one.tenant for one in table} == {"much", "new"}


def test_nobody_makes_way_where_that_makes_no_place() -> None:
    """As where more came back at the start than there are places."""
    clock = Clock()
    table = accounts(clock, 2, Limits(rows_per_second=1))
    for name in ("first", "second", "third"):
        table.of(name).connections = 1
    owes = table.of("owes")
    owes.rows.take(100, clock)
    with pytest.raises(Quota, match="max_tenants"):
        table.enter("new")
    assert table.of("owes") is owes
    for name in ("second", "third"):
        table.of(name).leave()
    table.enter("new")
    assert sorted(one.tenant for one in table) == ["first", "new"]


def test_what_is_given_back_is_no_more_than_a_second_saves_up() -> None:
    clock = Clock()
    meter = Meter("rows", 10)
    meter.take(10, clock)
    clock.move(5)
    assert meter.bucket.wait_ms(clock()) == 0
    meter.bucket.give_back(10)
    assert meter.bucket.full_in_seconds(clock()) == 0.0
    meter.take(10, clock)
    with pytest.raises(RateLimited):
        meter.take(1, clock)


def test_looking_at_a_tenant_that_is_not_here_makes_no_account() -> None:
    table = accounts(Clock(), default=Limits(max_connections=7))
    assert table.peek("acme").limits.max_connections == 7
    assert len(table) == 0
    assert table.enter("acme") is table.peek("acme")


def test_the_count_of_the_others_never_falls() -> None:
    clock, random_ = Clock(), random.Random(5)
    table = accounts(clock, max_tenants=6)
    names = ["a", "b", "c", "d"]
    truth: Counter[str] = Counter()
    before = TenantNumbers()
    for _ in range(2000):
        name = random_.choice(names)
        is_named = table.is_named(name)
        account = table.enter(name)
        account.rows.take(3, clock)
        account.leave()
        truth["others" if not is_named else name] += 3
        if random_.random() < 0.1:
            named = random_.sample(names, random_.randrange(4))
            table.change(TenantLimits({one: Limits() for one in named}))
        if random_.random() < 0.1:
            table.sample()
        now = others(table)
        assert all(new >= old for new, old in zip(now, before, strict=True))
        before = now
    assert before.rows == truth["others"]
