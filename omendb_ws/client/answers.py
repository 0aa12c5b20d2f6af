"""What the client's calls return, and how it is read from decoded messages.

Knows the wire's messages, no socket. Arrays of binary answers are views on the received bytes
(read-only, and they keep the whole message alive); those read from JSON are the caller's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.types import F32, F64, U64, Hits, IdKind, Ids

from ..wire import messages
from ..wire.messages import JsonObject
from . import html, tables


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One row. ``vector`` float32 (dim,); what was not asked for is None.

    ``rank`` where ``decay`` or ``rank`` ordered the answer, and ``weight`` where ``decay`` did:
    None for a row that has none. ``near``, of ``novel``: the id of the row that ``score`` is of;
    None where there was none to compare it with.
    """

    id: int | str
    seq: int
    score: float | None = None
    metadata: dict[str, Any] | None = None
    vector: F32 | None = None
    rank: float | None = None
    weight: float | None = None
    near: int | str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows as arrays: ``ids`` uint64 (n,) or n strings, ``seqs`` uint64 (n,), ``scores`` float32
    (n,) or None, ``metadata`` n objects or None, ``vectors`` float32 (n, dim) or None, ``ranks``
    float64 (n,) or None, ``weights`` float32 (n,) or None. NaN is that of a row that has none.

    Its length is n; iterating gives each as a ``Row``.
    """

    ids: Ids
    seqs: U64
    scores: F32 | None
    metadata: Sequence[dict[str, Any]] | None
    vectors: F32 | None
    version: int
    ranks: F64 | None = field(default=None, kw_only=True)
    weights: F32 | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.seqs)

    def __getitem__(self, index: int) -> Row:
        one = self.ids[index]
        return Row(
            id=one if isinstance(one, str) else int(one),
            seq=int(self.seqs[index]),
            score=None if self.scores is None else float(self.scores[index]),
            metadata=None if self.metadata is None else self.metadata[index],
            vector=None if self.vectors is None else self.vectors[index],
            rank=_or_none(self.ranks, index),
            weight=_or_none(self.weights, index),
            near=self._near_of(index),
        )

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def to_arrow(self) -> Any:
        """A ``pyarrow.Table``: ``id``, ``seq``, ``score``, ``vector`` and the like, where they are
        there, and each key of the metadata. Raises Unsupported without the extra ``arrow``."""
        return tables.to_arrow(self._columns(), self.metadata)

    def to_pandas(self) -> Any:
        """The same as a ``pandas.DataFrame``. Raises Unsupported without the extra ``pandas``."""
        return tables.to_pandas(self._columns(), self.metadata)

    def to_polars(self) -> Any:
        """The same as a ``polars.DataFrame``. Raises Unsupported without the extra ``polars``."""
        return tables.to_polars(self._columns(), self.metadata)

    def _repr_html_(self) -> str:
        return html.of_rows(self._columns(), self.metadata, self.version)

    def _columns(self) -> dict[str, Any]:
        """What is there beside metadata, by the names that tables give it."""
        columns = {
            "id": self.ids, "seq": self.seqs, "score": self.scores, "rank": self.ranks,
            "weight": self.weights, "near": getattr(self, "near", None), "vector": self.vectors,
        }  # fmt: skip
        return {name: values for name, values in columns.items() if values is not None}

    def _near_of(self, index: int) -> int | str | None:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Answer(Rows):
    """The rows of one query, best first; ``scores`` is never None.

    ``took_us`` is what the server needed, microseconds. ``at``, Unix seconds, is the time that
    ``ranks`` and ``weights`` are of: asked for again with it, an answer is the same to the bit.
    ``versions``: of a collection with several shards, that of each.
    """

    took_us: int
    at: float | None = None
    versions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows that a feed, or a match query, cannot deliver.

    ``reason`` ``evicted`` or ``expired``: the rows ``from_seq … to_seq`` left the window before
    this reader could take them. ``slow``: more of them matched than the server keeps for a reader
    of a match query. ``epoch``: the collection began anew (a restart that lost it, a re-creation);
    everything after the last delivered row may be lost, ``from_seq`` is the first seq not delivered
    in the old epoch, ``to_seq`` is None, and delivery goes on with the first row that the new epoch
    still has.
    """

    from_seq: int
    to_seq: int | None
    reason: Literal["evicted", "expired", "slow", "epoch"]


@dataclass(frozen=True, slots=True, eq=False)
class FeedRows(Rows):
    """One step of a feed: rows in seq order (perhaps none), or a gap before the rows that follow.

    A gap has the ``version`` of what came before it (0 where a new epoch begins).
    ``epoch`` and ``to_seq`` say how far the feed has come: pass them to ``feed`` as ``epoch`` and
    ``from_seq=to_seq + 1`` to go on from here later, in another process too.

    ``near``, of ``novel``: for each row the id of the row that its score is of; None where there
    was none to compare it with (its score is -inf then).

    A collection with several shards has a stream of each: ``shard`` says whose this step is, and
    ``to_seq`` how far that one has come; ``to_seqs`` is how far all have. Go on from here by
    ``from_seq=[to_seq + 1 for to_seq in rows.to_seqs]``.
    """

    to_seq: int
    epoch: str
    gap: Gap | None = None
    near: Sequence[int | str | None] | None = None
    shard: int | None = None
    to_seqs: tuple[int, ...] = ()

    def _near_of(self, index: int) -> int | str | None:
        return None if self.near is None else self.near[index]


#: Why a row left a live answer: PROTOCOL section 6, or what only the client can say. ``moved``: the
#: query asks something else now. ``missed``: it left while the connection was away. ``epoch``: the
#: collection began anew, with other rows.
LeftReason: TypeAlias = Literal[
    "displaced", "evicted", "expired", "replaced", "deleted", "filtered", "updated",
    "moved", "missed", "epoch",
]  # fmt: skip


class Left(NamedTuple):
    """A row that was in the live answer yielded before and is not in this one.

    Or, with the reason ``updated``, is there again with other metadata or another rank, and so in
    ``entered`` too.
    """

    id: int | str
    seq: int
    reason: LeftReason


@dataclass(frozen=True, slots=True, eq=False)
class LiveAnswer(Rows):
    """The whole answer of a live query at ``version``, best first; ``scores`` is never None.

    It equals what ``search`` returns at that version, to the bit. ``entered`` (best first) and
    ``left`` lead here from the answer yielded before; in the first one everything has entered.
    ``moved``: the query asks something else since (rows that stayed may have new scores, ranks).
    ``resumed``: the connection was lost since, and this corrects the answer yielded before;
    ``epoch`` tells whether the collection is still the same. The arrays are read-only, and
    metadata objects are shared by the answers that hold them. ``versions``: of a collection with
    several shards, that of each.
    """

    epoch: str
    entered: Rows
    left: Sequence[Left]
    moved: bool = False
    resumed: bool = False
    versions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What a live query answers at ``version``, as the reply to a subscribe or move holds it."""

    epoch: str
    version: int
    hits: Hits
    versions: tuple[int, ...] = ()


def read_results(results: messages.Results) -> list[Answer]:
    """Return one Answer for each query, all views on the message."""
    hits = results.hits
    answers, start = [], 0
    for count in results.counts.tolist():
        stop = start + count
        answers.append(
            Answer(
                ids=hits.ids[start:stop],
                seqs=hits.seqs[start:stop],
                scores=None if hits.scores is None else hits.scores[start:stop],
                metadata=None if hits.metadata is None else _objects(hits.metadata[start:stop]),
                vectors=None if hits.vectors is None else hits.vectors[start:stop],
                version=results.version,
                took_us=results.took_us,
                at=results.at,
                versions=tuple(results.versions or ()),
                ranks=None if hits.ranks is None else hits.ranks[start:stop],
                weights=None if hits.weights is None else hits.weights[start:stop],
            )
        )
        start = stop
    return answers


def read_snapshots(results: messages.Results, epoch: str) -> list[Snapshot]:
    """Return one Snapshot for each query: copies, as it stays when the others have changed."""
    hits = results.hits
    snapshots, start = [], 0
    for count in results.counts.tolist():
        stop = start + count
        own = Hits(
            ids=hits.ids[start:stop] if isinstance(hits.ids, list) else hits.ids[start:stop].copy(),
            seqs=hits.seqs[start:stop].copy(),
            scores=None if hits.scores is None else hits.scores[start:stop].copy(),
            metadata=None if hits.metadata is None else _objects(hits.metadata[start:stop]),
            vectors=None if hits.vectors is None else hits.vectors[start:stop].copy(),
            ranks=None if hits.ranks is None else hits.ranks[start:stop].copy(),
        )
        versions = tuple(results.versions or ())
        snapshots.append(Snapshot(epoch, results.version, own, versions))
        start = stop
    return snapshots


def read_search(ok: JsonObject, kind: IdKind) -> Answer:
    """Return the answer in the JSON reply to a search with ``like``."""
    rows: list[JsonObject] = ok["results"]
    vectors = [row["vector"] for row in rows if "vector" in row]
    return Answer(
        ids=_ids([row["id"] for row in rows], kind),
        seqs=np.array([row["seq"] for row in rows], np.uint64),
        scores=np.array([row["score"] for row in rows], np.float32),
        metadata=[row["metadata"] for row in rows] if rows and "metadata" in rows[0] else None,
        vectors=np.array(vectors, np.float32) if vectors else None,
        version=ok["version"],
        took_us=ok["took_us"],
        at=ok.get("at"),
        versions=tuple(ok.get("versions", ())),
        ranks=_numbers(rows, "rank", np.float64),
        weights=_numbers(rows, "weight", np.float32),
    )


def _numbers(rows: list[JsonObject], name: str, dtype: type[Any]) -> NDArray[Any] | None:
    """What each row has by that name, NaN for null; None where the rows have none."""
    if not rows or name not in rows[0]:
        return None
    return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype)


def read_rows(ok: JsonObject, ids: Iterable[int | str]) -> list[Row | None]:
    """Return the rows of a ``get`` reply beside the ``ids`` that were asked for."""
    return [
        None
        if row is None
        else Row(
            id=str.__str__(one) if isinstance(one, str) else int(one),
            seq=row["seq"],
            metadata=row.get("metadata"),
            vector=np.array(row["vector"], np.float32) if "vector" in row else None,
        )
        for one, row in zip(ids, ok["rows"], strict=True)
    ]


def read_feed_rows(push: messages.Rows, epoch: str) -> FeedRows:
    """Return the rows of one push of a feed."""
    return _feed_rows(push.hits, push.version, push.to_seq, epoch, None, push.shard)


def gap_alone(
    gap: Gap, *, version: int, to_seq: int, epoch: str, shard: int | None = None
) -> FeedRows:
    """Return a step of a feed that holds a gap and no row."""
    nothing = Hits(np.empty(0, np.uint64), np.empty(0, np.uint64))
    return _feed_rows(nothing, version, to_seq, epoch, gap, shard)


def _feed_rows(
    hits: Hits, version: int, to_seq: int, epoch: str, gap: Gap | None, shard: int | None
) -> FeedRows:
    return FeedRows(
        ids=hits.ids,
        seqs=hits.seqs,
        scores=hits.scores,
        metadata=None if hits.metadata is None else _objects(hits.metadata),
        vectors=hits.vectors,
        version=version,
        to_seq=to_seq,
        epoch=epoch,
        gap=gap,
        near=None if hits.near is None else _near_ids(hits),
        shard=shard,
    )


def _near_ids(hits: Hits) -> list[int | str | None]:
    """Ids above 2**53 - 1 are texts in JSON, where those of the rows are numbers."""
    if isinstance(hits.ids, list):
        return list(hits.near or ())
    return [None if one is None else int(one) for one in hits.near or ()]


def _or_none(numbers: NDArray[Any] | None, index: int) -> float | None:
    """The number there; None for NaN, and where there are none."""
    return None if numbers is None or np.isnan(numbers[index]) else float(numbers[index])


def _objects(metadata: Sequence[bytes | dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in metadata if isinstance(one, dict)]


def _ids(values: list[int | str], kind: IdKind) -> Ids:
    if kind == "str":
        return [str(value) for value in values]
    return np.array([int(value) for value in values], np.uint64)
