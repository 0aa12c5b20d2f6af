"""``omendb-ws create``: a new collection."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from . import definitions, reaching
from .output import print_json, size


def create(
    collection: Annotated[str, typer.Argument(help="Its name.")],
    dim: Annotated[int, typer.Option(help="Dimensions of its vectors.")],
    capacity: Annotated[int, typer.Option(help="How many of the newest rows the window keeps.")],
    metric: definitions.Metric = None,
    ids: definitions.Ids = None,
    columns: definitions.Columns = None,
    ttl: definitions.Ttl = None,
    durability: definitions.Durability = None,
    replicas: definitions.Replicas = None,
    shards: definitions.Shards = None,
    if_exists: Annotated[
        bool,
        typer.Option("--if-exists", help="Fine if it is there already with this definition."),
    ] = False,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Create a collection: a window over the newest rows of a stream.

    \b
    Examples:
      omendb-ws create items --dim 128 --capacity 100000
      omendb-ws create shop --dim 64 --capacity 5000 --metric dot --columns price:f64,kind:str
    """
    fields = definitions.given(
        metric=metric,
        ids=ids,
        columns=columns,
        ttl=ttl,
        durability=durability,
        replicas=replicas,
        shards=shards,
    )
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    made = reaching.reach(
        at,
        lambda db: db.create(
            collection,
            dim=dim,
            capacity=capacity,
            if_exists="ok" if if_exists else "error",
            **fields,
        ),
    )
    if as_json:
        print_json(dataclasses.asdict(made))
    else:
        print(
            f"{made.collection}: {made.capacity:,} rows of {made.dim} dimensions, {made.metric},"
            f" ids {made.ids}, {made.durability}; {size(made.bytes)} reserved"
        )
