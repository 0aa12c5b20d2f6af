"""The bench of clusters does its parts, at a size that tells nothing, on one cluster."""

from __future__ import annotations

import re

import pytest

from load_tests import bench_cluster as bench
from load_tests.cluster import outages
from load_tests.cluster.deployed import clustered

SMALL = [
    "--turns", "1", "--seconds", "0.2", "--rows", "16", "--in-flight", "2",
    "--rows-per-second", "320", "--dim", "8", "--capacity", "1000", "--searched-rows", "1000",
]  # fmt: skip


async def test_what_a_cluster_costs_and_how_it_bears_a_loss_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = bench.Bench(bench.parsed(SMALL))
    async with clustered("R1", nats=1) as cluster:
        for name, measure in (
            ("rates", parts.rates), ("catch-up", parts.catch_up), ("searches", parts.searches),
        ):  # fmt: skip
            await measure([cluster])
            parts.show(name)
        outage = await outages.owner_killed(cluster)
    lines = re.findall(r"^(.+?) {2,}([\d,.]+) (\S+)", capsys.readouterr().out, re.M)
    found = {(name, unit): float(value.replace(",", "")) for name, value, unit in lines}
    for speed in "full speed", "320 rows/s":
        assert found[f"R1, {speed}", "rows/s"] > 0
        assert found[f"R1, {speed}: acknowledged p99", "ms"] > 0
        assert found[f"R1, {speed}: visible later p99", "ms"] >= 0
    assert found["R1, a fresh follower", "rows/s"] > 0
    assert found["3 nodes, by CPU", "linear"] > 0
    assert min(outage.changes_again, outage.reads_gap, outage.others_gap) > 0
