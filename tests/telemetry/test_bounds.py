"""The buckets that Prometheus gets are fine where the README's figures are."""

from __future__ import annotations

import re
from bisect import bisect_left

from omendb_ws.telemetry.histogram import LATENCY_BOUNDS_US
from tests.project.pages import page

#: How much larger the upper end of a bucket may be than its lower one.
FINE = 1.5


def test_each_latency_of_the_readme_is_in_a_narrow_bucket() -> None:
    told_us = [1000 * float(text) for text in re.findall(r"\bp\d+ ([\d.]+) ms", page("README.md"))]
    assert len(told_us) >= 4
    for latency in told_us:
        at = bisect_left(LATENCY_BOUNDS_US, latency)
        lower, upper = LATENCY_BOUNDS_US[at - 1 : at + 1]
        assert lower < latency <= upper
        assert upper / lower <= FINE, (latency, lower, upper)
