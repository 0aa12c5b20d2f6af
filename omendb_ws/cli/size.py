"""``omendb-ws size``: what a collection will take, and what this machine does with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .failure import WRONG, failing
from .options import finite
from .output import print_json

if TYPE_CHECKING:
    from ..node.sizing import Disk, Memory, Wanted
    from .measured import Rates


def size(
    rows: Annotated[int, typer.Option(min=1, help="How many rows the window holds.")],
    dim: Annotated[int, typer.Option(min=1, help="Dimensions of the vectors.")],
    metadata_bytes: Annotated[
        int, typer.Option(min=0, help="Of each row's metadata, as compact JSON.")
    ] = 0,
    subscriptions: Annotated[
        int, typer.Option(min=0, help="Live queries that stand on it, all together.")
    ] = 0,
    k: Annotated[int, typer.Option("-k", min=1, help="Rows of a search and a live query.")] = 10,
    metric: Annotated[Literal["cosine", "dot", "l2"], typer.Option(help="The metric.")] = "cosine",
    ids: Annotated[
        Literal["auto", "u64", "str"],
        typer.Option(help="Kind of the ids; texts of str come on top."),
    ] = "u64",
    seconds: Annotated[
        float,
        typer.Option(min=0, max=600, callback=finite, help="How long to measure; 0: not at all."),
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how much memory and disk a collection takes, and measure what this machine does with it.

    No server is needed. Memory and disk are what a server counts. The rates are those of one
    connection to a server in this process, scaled to the size; several share cores.

    \b
    Example:
      omendb-ws size --rows 1000000 --dim 384 --metadata-bytes 200 --subscriptions 1000
    """
    from .serve import one_blas_thread

    one_blas_thread()
    from omendb_core.model.errors import OmenError
    from omendb_core.model.types import Definition
    from omendb_core.scan.choice import choose

    from ..node import sizing

    with failing(OmenError, code=WRONG):
        definition = Definition(dim=dim, capacity=rows, metric=metric, ids=ids)
    wanted = sizing.Wanted(definition, metadata_bytes, subscriptions, k)
    takes = sizing.memory(wanted, choose())
    on_disk = sizing.disk(wanted)
    rates = None
    if seconds:
        from .measured import measure

        with failing(OmenError, code=WRONG):
            rates = asyncio.run(measure(wanted, seconds))
    if as_json:
        print_json(_document(takes, on_disk, rates))
        return
    for line in said(wanted, takes, on_disk):
        print(line)
    if rates is not None:
        for line in _said_of_rates(wanted, rates, seconds):
            print(line)


def said(wanted: Wanted, takes: Memory, on_disk: Disk) -> list[str]:
    """The lines about memory and disk."""
    definition = wanted.definition
    parts = [f"window {_mb(takes.window)}"]
    if takes.metadata:
        parts.append(f"metadata {_mb(takes.metadata)}")
    if takes.subscriptions:
        parts.append(f"{wanted.subscriptions:,} live queries {_mb(takes.subscriptions)}")
    each = takes.counted / definition.capacity
    return [
        f"memory  {_mb(takes.counted)} of max_memory_bytes ({each:,.0f} bytes a row):"
        f" {', '.join(parts)}",
        f"        {_mb(takes.counted + takes.process)} with the process itself",
        f"disk    {_mb(on_disk.streaming)} where rows only come and leave,"
        f" at most {_mb(on_disk.most)} where they are changed",
    ]


def _said_of_rates(wanted: Wanted, rates: Rates, seconds: float) -> list[str]:
    lines = [
        f"measured here for {seconds:g} s, over {rates.rows_measured:,} rows:",
        f"adds    {rates.adds_per_second:,.0f} rows/s",
    ]
    if wanted.subscriptions:
        lines.append(
            f"        {rates.adds_with_subscriptions_per_second:,.0f} rows/s that are compared with"
            f" {wanted.subscriptions:,} live queries"
        )
    alone = rates.search_seconds
    return [
        *lines,
        f"search  {alone * 1000:,.2f} ms, {1 / alone:,.0f}/s one by one,"
        f" {rates.batched_searches_per_second:,.0f}/s in batches",
    ]


def _mb(nbytes: int) -> str:
    return f"{nbytes / 1e9:,.2f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"


def _document(takes: Memory, on_disk: Disk, rates: Rates | None) -> dict[str, Any]:
    return {
        "memory_bytes": {**takes._asdict(), "counted": takes.counted},
        "disk_bytes": on_disk._asdict(),
        "rates": None if rates is None else rates._asdict(),
    }
