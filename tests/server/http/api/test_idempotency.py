"""The table of ``Idempotency-Key``: done once, answered alike, bounded; no sockets."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from omendb_core.model.budget import Budget
from omendb_core.model.errors import BadRequest, Exists, Quota

from omendb_ws.http.api.by_count import ByCount
from omendb_ws.http.api.idempotency import KEY_BYTES, Answer, Keys, Owner, check_key, fingerprint
from tests.examples import examples
from tests.server.raw import Clock

ANNA = Owner("acme", "anna", "e1")
BODY = fingerprint(b"body")


def budget(keys: int = 1_000) -> Budget:
    return Budget("max_memory_bytes", keys * (KEY_BYTES + 8))


class Work:
    """Counts how often it was done; goes on when it may."""

    def __init__(self, status: int = 200, *, waits: bool = False) -> None:
        self.done = 0
        self.status = status
        self.may_go_on = asyncio.Event()
        if not waits:
            self.may_go_on.set()

    async def __call__(self) -> Answer:
        await self.may_go_on.wait()
        self.done += 1
        return Answer(self.status, b"%d" % self.done)


async def test_a_repeated_request_is_done_once_and_answered_alike() -> None:
    keys, work, memory = Keys(10, 100, Clock()), Work(), budget()
    assert await keys.once(ANNA, "k", BODY, memory, work) == (Answer(200, b"1"), False)
    assert await keys.once(ANNA, "k", BODY, memory, work) == (Answer(200, b"1"), True)
    assert work.done == 1


async def test_the_same_key_with_another_body_is_refused_and_does_nothing() -> None:
    keys, work, memory = Keys(10, 100, Clock()), Work(), budget()
    await keys.once(ANNA, "k", BODY, memory, work)
    with pytest.raises(Exists, match="Idempotency-Key"):
        await keys.once(ANNA, "k", fingerprint(b"other"), memory, work)
    assert work.done == 1


@pytest.mark.parametrize(
    "other",
    [Owner("umbrella", "anna", "e1"), Owner("acme", "ben", "e1"), Owner("acme", "anna", "e2")],
)
async def test_keys_of_others_and_of_other_epochs_are_other_keys(other: Owner) -> None:
    keys, work, memory = Keys(10, 100, Clock()), Work(), budget()
    await keys.once(ANNA, "k", BODY, memory, work)
    assert await keys.once(other, "k", fingerprint(b"other"), memory, work) == (
        Answer(200, b"2"),
        False,
    )


async def test_who_repeats_it_meanwhile_waits_for_the_same() -> None:
    keys, work, memory = Keys(10, 100, Clock()), Work(waits=True), budget()
    asking = [asyncio.create_task(keys.once(ANNA, "k", BODY, memory, work)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Exists):
        await keys.once(ANNA, "k", fingerprint(b"other"), memory, work)
    work.may_go_on.set()
    answers = await asyncio.gather(*asking)
    assert {answer for answer, _ in answers} == {Answer(200, b"1")}
    assert sorted(was_before for _, was_before in answers) == [False] + 4 * [True]


async def test_work_goes_on_although_its_client_leaves() -> None:
    keys, work, memory = Keys(10, 100, Clock()), Work(waits=True), budget()
    asking = asyncio.create_task(keys.once(ANNA, "k", BODY, memory, work))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    work.may_go_on.set()
    assert await keys.once(ANNA, "k", BODY, memory, Work()) == (Answer(200, b"1"), True)
    assert work.done == 1


async def test_who_finishes_waits_for_what_is_being_done() -> None:
    keys, work, memory = Keys(10, 100, Clock()), Work(waits=True), budget()
    asking = asyncio.create_task(keys.once(ANNA, "k", BODY, memory, work))
    await asyncio.sleep(0)
    finishing = asyncio.create_task(keys.finish())
    await asyncio.sleep(0)
    assert not finishing.done()
    work.may_go_on.set()
    await finishing
    assert work.done == 1
    await asking


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 429, 501, 503])
async def test_what_did_nothing_is_tried_again(status: int) -> None:
    keys, work, memory = Keys(10, 100, Clock()), Work(status), budget()
    for _ in range(2):
        await keys.once(ANNA, "k", BODY, memory, work)
    assert work.done == 2
    assert len(keys) == 0
    assert memory.taken_bytes == 0


async def test_what_may_have_been_done_is_not_done_again() -> None:
    keys, work, memory = Keys(10, 100, Clock()), Work(500), budget()
    for _ in range(2):
        await keys.once(ANNA, "k", BODY, memory, work)
    assert work.done == 1


async def test_a_fault_of_the_work_is_told_and_not_kept() -> None:
    async def faulty() -> Answer:
        raise ZeroDivisionError

    keys, memory = Keys(10, 100, Clock()), budget()
    with pytest.raises(ZeroDivisionError):
        await keys.once(ANNA, "k", BODY, memory, faulty)
    assert (len(keys), memory.taken_bytes) == (0, 0)
    assert await keys.once(ANNA, "k", BODY, memory, Work()) == (Answer(200, b"1"), False)


async def test_a_key_is_forgotten_after_its_time_and_its_memory_is_given_back() -> None:
    clock, memory = Clock(), budget()
    keys, work = Keys(10, 100, clock), Work()
    await keys.once(ANNA, "k", BODY, memory, work)
    assert memory.taken_bytes == KEY_BYTES + 2
    clock.move(9.9)
    assert (await keys.once(ANNA, "k", BODY, memory, work))[1]
    clock.move(0.1)
    assert not (await keys.once(ANNA, "k", BODY, memory, work))[1]
    assert memory.taken_bytes == KEY_BYTES + 2


async def test_the_tenant_with_the_most_keys_loses_its_oldest() -> None:
    keys, work, memory = Keys(10, 4, Clock()), Work(), budget()
    await keys.once(Owner("small", "a", "e"), "k", BODY, memory, work)
    for number in range(5):
        await keys.once(ANNA, f"k{number}", BODY, memory, work)
    assert len(keys) == 4
    assert (await keys.once(Owner("small", "a", "e"), "k", BODY, memory, work))[1]
    assert (await keys.once(ANNA, "k4", BODY, memory, work))[1]
    assert not (await keys.once(ANNA, "k0", BODY, memory, work))[1]


async def test_who_only_has_work_under_way_loses_nothing_and_those_with_answers_do() -> None:
    keys, work, memory, waiting = Keys(10, 4, Clock()), Work(), budget(), Work(waits=True)
    busy = [
        asyncio.create_task(keys.once(ANNA, f"w{number}", BODY, memory, waiting))
        for number in range(5)
    ]
    await asyncio.sleep(0)
    for number in range(8):
        await keys.once(Owner("small", "a", "e"), f"k{number}", BODY, memory, work)
        assert len(keys) <= 4 + 5
    waiting.may_go_on.set()
    await asyncio.gather(*busy)


async def test_a_key_costs_the_same_however_many_tenants_and_keys_there_are() -> None:
    """Counted in calls of functions, as time tells little."""

    async def calls(tenants: int, waiting: int) -> int:
        keys, memory = Keys(10, tenants + waiting, Clock()), budget(10_000)
        work = Work(waits=True)
        busy = [
            asyncio.create_task(keys.once(ANNA, f"w{number}", BODY, memory, work))
            for number in range(waiting)
        ]
        for number in range(tenants):
            await keys.once(Owner(f"t{number}", "a", "e"), "k", BODY, memory, Work())
        count = 0

        def called(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(called)
        try:
            await keys.once(Owner("t0", "a", "e"), "more", BODY, memory, Work())
        finally:
            sys.setprofile(None)
        assert len(keys) == tenants + waiting
        work.may_go_on.set()
        await asyncio.gather(*busy)
        return count

    few, many = await calls(3, 3), await calls(2_000, 300)
    assert many <= few + 10


async def test_what_is_given_up_is_told_to_who_waits_and_leaves_nothing() -> None:
    class GivenUp(Exception):
        pass

    async def work() -> Answer:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise GivenUp from None
        raise AssertionError

    keys, memory = Keys(10, 100, Clock()), budget()
    asking = [asyncio.create_task(keys.once(ANNA, "k", BODY, memory, work)) for _ in range(2)]
    await asyncio.sleep(0)
    await keys.give_up()
    for one in asking:
        with pytest.raises(GivenUp):
            await one
    assert (len(keys), memory.taken_bytes) == (0, 0)


async def test_without_memory_older_keys_go_and_then_it_is_refused_before_it_is_done() -> None:
    keys, memory = Keys(10, 100, Clock()), Budget("max_memory_bytes", 2 * KEY_BYTES + 100)
    for number in range(3):
        await keys.once(ANNA, f"k{number}", BODY, memory, Work())
    assert len(keys) == 2
    work, waiting = Work(), Work(waits=True)
    with pytest.raises(Quota, match="Idempotency-Key"):
        await keys.once(Owner("umbrella", "b", "e"), "k", BODY, memory, work)
    assert work.done == 0
    asking = [
        asyncio.create_task(keys.once(ANNA, f"w{number}", BODY, memory, waiting))
        for number in (1, 2)
    ]
    await asyncio.sleep(0)
    with pytest.raises(Quota):
        await keys.once(ANNA, "one more", BODY, memory, work)
    waiting.may_go_on.set()
    await asyncio.gather(*asking)


async def test_requests_that_do_nothing_leave_nothing() -> None:
    keys, memory = Keys(10, 100, Clock()), budget()
    for number in range(2_000):
        await keys.once(ANNA, f"k{number}", BODY, memory, Work(404))
    assert (len(keys), len(keys._expiring)) == (0, 0)


async def test_places_of_forgotten_keys_are_bounded() -> None:
    keys, memory = Keys(10, 1, Clock()), budget()
    waiting = Work(waits=True)
    for number in range(1_000):
        await keys.once(Owner(f"t{number % 7}", "a", "e"), f"k{number}", BODY, memory, Work())
        assert len(keys._expiring) < 80
    waiting.may_go_on.set()


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "ä", "a\x00"])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        check_key(key)


@pytest.mark.parametrize("key", ["x" * 255, '"8e03978e-40d5-43e8-bc93-6894a57f9324"', "a b"])
def test_what_is_a_key(key: str) -> None:
    assert check_key(key) == key


def test_a_fingerprint_tells_where_parts_end() -> None:
    assert len({fingerprint(b"ab", b"c"), fingerprint(b"a", b"bc"), fingerprint(b"abc")}) == 3


async def test_that_a_key_takes_what_it_is_charged_for() -> None:
    keys, memory = Keys(10, 5_000, Clock()), Budget("", 1 << 30)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(4_000):
        await keys.once(Owner("t", "a", "e"), f"key-{number:08}", fingerprint(b"x"), memory, Work())
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.5 * memory.taken_bytes < taken < memory.taken_bytes


class Counts(RuleBasedStateMachine):
    """Beside a Counter, which is looked through."""

    def __init__(self) -> None:
        super().__init__()
        self.by_count = ByCount()
        self.counter: Counter[str] = Counter()

    @rule(name=st.sampled_from("abcd"))
    def more(self, name: str) -> None:
        self.by_count.more(name)
        self.counter[name] += 1

    @rule(name=st.sampled_from("abcd"))
    def less(self, name: str) -> None:
        if self.counter[name]:
            self.by_count.less(name)
            self.counter[name] -= 1

    @invariant()
    def knows_the_largest(self) -> None:
        most, largest = self.by_count.most(), max(self.counter.values(), default=0)
        assert self.counter[most] == largest if most is not None else not largest


TestCounts = Counts.TestCase
TestCounts.settings = settings(max_examples=examples(30), stateful_step_count=30, deadline=None)


class Requests(RuleBasedStateMachine):
    """Keys beside a model: what was done stays answered until its time, or until others push it
    out; nothing is done twice while its key is known, and nothing is charged that is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.keys = Keys(10, 6, self.clock)
        self.memory = Budget("max_memory_bytes", 1 << 20)
        self.done: dict[tuple[str, str], tuple[bytes, int, int]] = {}
        self.count = 0

    def teardown(self) -> None:
        self.loop.close()

    @rule(
        tenant=st.sampled_from("ab"),
        key=st.sampled_from("uvwxyz"),
        body=st.sampled_from([b"1", b"2"]),
        status=st.sampled_from([200, 201, 404, 429, 500]),
    )
    def ask(self, tenant: str, key: str, body: bytes, status: int) -> None:
        self.count += 1
        mark = b"%d" % self.count
        ran = False

        async def work() -> Answer:
            nonlocal ran
            ran = True
            return Answer(status, mark)

        known = self.done.get((tenant, key))
        if known is not None and known[2] <= self.clock.now_us:
            known = None
        try:
            answer, was_before = self._run(
                lambda: self.keys.once(Owner(tenant, "p", "e"), key, body, self.memory, work)
            )
        except Exists:
            assert known is not None
            assert known[0] != body
            return
        assert was_before is not ran
        if was_before:
            assert known is not None
            assert known[:2] == (body, int(answer.body))
        else:
            self.done.pop((tenant, key), None)
            if answer.is_kept:
                self.done[tenant, key] = body, int(mark), self.clock.now_us + 10_000_000

    @rule(seconds=st.floats(0.1, 12))
    def wait(self, seconds: float) -> None:
        self.clock.move(seconds)

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.keys) <= 6
        taken = self.memory.taken_bytes
        assert KEY_BYTES * len(self.keys) <= taken <= (KEY_BYTES + 20) * len(self.keys)

    def _run(self, call: Callable[[], Awaitable[tuple[Answer, bool]]]) -> tuple[Answer, bool]:
        async def run() -> tuple[Answer, bool]:
            return await call()

        return self.loop.run_until_complete(run())


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=examples(40), stateful_step_count=40, deadline=None)
