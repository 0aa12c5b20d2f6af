"""What ``stats`` of the server says to whom: all of it to operators, to others their tenant's own.

Lives on the loop's thread.
"""

from __future__ import annotations

from typing import Any

from ..telemetry.server_stats import tenant_stats
from .session import Session


def server_numbers(session: Session) -> dict[str, Any]:
    """The numbers of this moment that the principal of now may see."""
    context, principal = session.context, session.who.known()
    if principal.is_operator:
        return context.server_numbers.now()
    now_us = context.clock_us()
    collections = context.catalog.of(principal.tenant)
    return tenant_stats(
        context.metrics,
        now_us,
        sum(len(one.subscriptions) for one in collections),
        [one.rates.per_second(now_us / 1e6, one.rate_counters()) for one in collections],
    )
