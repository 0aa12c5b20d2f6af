"""``omendb-ws search``: the nearest rows of a vector, or of a stored row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import arguments, reaching, shaping
from .failure import WRONG, fail
from .output import plain, print_json, table

if TYPE_CHECKING:
    from ..client import Answer, Client, Row


def search(
    collection: reaching.Collection,
    vector: Annotated[
        str | None,
        typer.Argument(
            help="Numbers (0.5,1 or [0.5, 1]), a file of vectors, or - for numbers from"
            " standard input.",
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="ID", help="Search with the vector of this row instead.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many rows.")] = 10,
    filter: arguments.Filter = None,
    min_score: Annotated[float | None, typer.Option(help="The least score that counts.")] = None,
    last: Annotated[
        int | None, typer.Option(help="Only among so many of the newest sequence numbers.")
    ] = None,
    include: arguments.Include = None,
    positive: shaping.Positive = None,
    negative: shaping.Negative = None,
    exclude: shaping.Exclude = None,
    decay: shaping.Decay = None,
    decay_column: shaping.DecayColumn = None,
    rank: shaping.Rank = None,
    group_by: shaping.GroupBy = None,
    group_size: shaping.GroupSize = None,
    spread: shaping.Spread = None,
    mmr: shaping.Mmr = None,
    candidates: shaping.Candidates = None,
    at: shaping.At = None,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Find the nearest rows, best first. Several vectors in a file are as many answers.

    A vector that begins with a minus sign goes behind "--", or in brackets.

    \b
    Examples:
      omendb-ws search items 0.1,0.9,-0.3 -k 3
      omendb-ws search items query.npy --include metadata
      omendb-ws search items --like 17 --filter '{"kind": "book"}' --json
      omendb-ws search items --positive 17 --positive 4 --decay 86400 --group-by kind
    """
    if (vector is not None) + (like is not None) + bool(positive) != 1:
        fail(WRONG, "search: needs a vector, --like or --positive")
    shape = shaping.Shaping(
        positive, negative, exclude, decay, decay_column, rank, group_by, group_size, spread, mmr,
        candidates, at,
    )  # fmt: skip
    shape.check()
    options: dict[str, Any] = {
        "filter": arguments.parse_filter(filter),
        "min_score": min_score,
        "last": last,
        "include": arguments.parse_include(include),
    }
    vectors = None if vector is None else arguments.parse_vectors(vector)
    server = reaching.address(url, token, token_file, ca_file, timeout_seconds)

    async def work(db: Client) -> list[Answer]:
        kind = (await db.open(collection)).ids
        shaped = shape.arguments(kind)
        if like is not None:
            shaped["like"] = shaping.id_of(like, kind, "--like")
        if vectors is None:
            return [await db.search(collection, k=k, **options, **shaped)]
        found: list[Answer] = await db.search(collection, vectors, k, **options, **shaped)
        return found

    answers = reaching.reach(server, work)
    for number, answer in enumerate(answers):
        if as_json:
            print_json(_document(answer))
        else:
            if len(answers) > 1:
                print(f"{'' if number == 0 else chr(10)}vector {number}")
            print(_table(answer, options["include"]))


def _document(answer: Answer) -> dict[str, Any]:
    at = {} if answer.at is None else {"at": answer.at}
    results = [{**row_document(row), **_numbers(answer, row)} for row in answer]
    return {"version": answer.version, "results": results, **at, "took_us": answer.took_us}


def _numbers(answer: Answer, row: Row) -> dict[str, float | None]:
    """What ordered a row, besides its score; null for a row that has none."""
    ranks = {} if answer.ranks is None else {"rank": row.rank}
    return ranks if answer.weights is None else {**ranks, "weight": row.weight}


def row_document(row: Row) -> dict[str, Any]:
    """A row as a document, as the protocol writes it: what is not there is left out."""
    import numpy as np
    from omendb_core.model.types import MAX_SAFE_INTEGER

    big = isinstance(row.id, int) and row.id > MAX_SAFE_INTEGER
    document: dict[str, Any] = {"id": str(row.id) if big else row.id, "seq": row.seq}
    if row.score is not None:
        document["score"] = np.float32(row.score)
    if row.metadata is not None:
        document["metadata"] = row.metadata
    if row.vector is not None:
        document["vector"] = np.ascontiguousarray(row.vector)
    return document


def _table(answer: Answer, include: list[str]) -> str:
    # Under decay ranks are Unix seconds in half-lives, all but equal; weights tell them apart.
    name = "rank" if answer.weights is None else "weight"
    ordered = [] if answer.ranks is None else [name]
    rows = [
        (
            str(place),
            plain(row.id),
            *[_number(getattr(row, one)) for one in ordered],
            f"{row.score:.6g}",
            str(row.seq),
            *[_shown(row, name) for name in include],
        )
        for place, row in enumerate(answer, 1)
    ]
    return table(
        ("", "id", *ordered, "score", "seq", *include), rows, "rl" + "r" * len(ordered) + "rr"
    )


def _number(number: float | None) -> str:
    return "-" if number is None else f"{number:.8g}"


def _shown(row: Row, name: str) -> str:
    if name == "metadata":
        return plain(row.metadata)
    assert row.vector is not None
    head = ", ".join(f"{value:.4g}" for value in row.vector[:6])
    return f"[{head}{', …' if len(row.vector) > 6 else ''}]"
