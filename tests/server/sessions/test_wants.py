"""Those that were refused lately: how long they are known, and what of them is before others."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from omendb_ws.engine.model.shares import Share
from omendb_ws.sessions.wants import Wants, ahead_us
from omendb_ws.tenants.share import TenantShare

LASTS_US = 1_000.0


@dataclass(eq=False)
class One:
    share: Share
    waiting: int = 0


def one_at(tenant: TenantShare, start_us: float, waiting: int = 0) -> One:
    share = Share(tenant)
    share.start_us = start_us
    return One(share, waiting)


def test_who_has_had_more_waits_for_all_that_were_refused_and_had_less() -> None:
    wants, tenant = Wants(LASTS_US), TenantShare()
    tenant.now_us = 100.0
    for start_us in (0.0, 100.0, 130.0, 500.0):
        wants.refused(one_at(tenant, start_us), 0.0)
    wants.look(0.0)
    assert ahead_us(one_at(tenant, 90.0).share) == 0.0
    assert wants.before_us(one_at(tenant, 90.0).share) == 0.0
    assert wants.before_us(one_at(tenant, 150.0).share) == 50.0 + 50.0 + 20.0
    assert wants.before_us(one_at(TenantShare(), 150.0).share) == 0.0, "of another tenant"


def test_what_waits_is_counted_elsewhere() -> None:
    wants, tenant = Wants(LASTS_US), TenantShare()
    wants.refused(one_at(tenant, 0.0, waiting=1), 0.0)
    wants.look(0.0)
    assert wants
    assert wants.before_us(one_at(tenant, 10.0).share) == 0.0


def test_it_is_forgotten_after_a_while_counted_from_the_last_refusal() -> None:
    wants, tenant = Wants(LASTS_US), TenantShare()
    first, second = one_at(tenant, 0.0), one_at(tenant, 0.0)
    wants.refused(first, 0.0)
    wants.refused(second, 400.0)
    wants.refused(first, 800.0)
    for now_us, expected_us in ((900.0, 20.0), (1_500.0, 10.0), (1_800.0, 0.0)):
        wants.look(now_us)
        assert wants.before_us(one_at(tenant, 10.0).share) == expected_us
    assert not wants


def test_of_thousands_some_stand_for_all() -> None:
    wants, tenant = Wants(LASTS_US), TenantShare()
    starts_us = [float(number * 37 % 101) for number in range(10_000)]
    for start_us in starts_us:
        wants.refused(one_at(tenant, start_us), 0.0)
    wants.look(0.0)
    expected_us = sum(max(50.0 - start_us, 0.0) for start_us in starts_us)
    assert wants.before_us(one_at(tenant, 50.0).share) == pytest.approx(expected_us, rel=0.1)
