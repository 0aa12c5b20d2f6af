"""What the walk over grants asks: every field of every op and of every kind of subscription.

``FIELDS`` has a row for each, with the requests that make most of it; ``tests/server/access/
test_grants_walk.py`` fails where a field of the schema has none. Ids: ``MINE`` are rows that the
asker may see, ``HIDDEN`` are there and not for it, ``ABSENT`` is not there at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from omendb_ws.wire.opcodes import OPS, SUBSCRIPTION_KINDS

MINE, HIDDEN, ABSENT = (1, 2, 3), (4, 5, 6), 99
COLUMNS = {"owner": "str", "level": "i64", "price": "f64", "open": "bool"}
FILTERS: list[dict[str, Any]] = [
    {},
    {"owner": "you"},
    {"owner": {"$ne": "me"}},
    {"owner": {"$exists": False}},
    {"$not": {"owner": "me"}},
    {"$or": [{"level": {"$gte": 50}}, {"owner": "me"}]},
    {"price": {"$gt": {"$mul": ["level", 2]}}},
]
V = [1.0, 1.0]
EVERY: list[dict[str, Any]] = [{"every": 100}]
ENCODINGS: list[dict[str, Any]] = [{"encoding": "json"}, {"encoding": "binary"}]
INCLUDES: list[dict[str, Any]] = [{"include": ["metadata"]}, {"include": ["metadata", "vector"]}]
EXCLUDES: list[dict[str, Any]] = [{"exclude": [4]}, {"exclude": [1, 4, ABSENT]}, {"exclude": []}]
RANKS: list[dict[str, Any]] = [
    {"rank": rank}
    for rank in (
        "$score",
        {"$default": ["level", 0]},
        {"$add": ["$score", {"$mul": [{"$default": ["price", 1]}, 2]}]},
        {"$if": [{"owner": "you"}, 1, 2]},
    )
]
DECAYS: list[dict[str, Any]] = [
    {"decay": {"half_life": 1}},
    {"decay": {"half_life": 2, "column": "level"}},
]
GROUPS: list[dict[str, Any]] = [
    {"group": {"by": column, "size": size}} for column in COLUMNS for size in (1, 2)
]
SPREADS: list[dict[str, Any]] = [{"spread": {"max_similarity": x}} for x in (0.5, 0.9, 0.9999)]
SCORES: list[dict[str, Any]] = [{"min_score": x} for x in (-1, 0.3, 0.9)]
POSITIVES: list[dict[str, Any]] = [
    {"positive": given} for given in ([1], [4], [ABSENT], [1, 4], [[1, 1], 4], [1, 2, 3])
]
NEGATIVES: list[dict[str, Any]] = [
    {"positive": [1], "negative": given} for given in ([2], [4], [ABSENT], [[0, 1], 5])
]
KS: list[dict[str, Any]] = [{"k": 1}, {"k": 3}, {"k": 100}]
LASTS: list[dict[str, Any]] = [{"last": 1}, {"last": 3}, {"last": 6}]
FROM: list[dict[str, Any]] = [{"from_seq": seq, "epoch": ""} for seq in (1, 4, 7)]
VERSIONS: list[dict[str, Any]] = [{"min_version": version, "epoch": ""} for version in (0, 1)]
BYS: list[dict[str, Any]] = [{"by": column} for column in COLUMNS]
FILTERED: list[dict[str, Any]] = [{"filter": one} for one in FILTERS]
THRESHOLDS: list[dict[str, Any]] = [*SCORES, {"min_score": None}]
NAMED: list[dict[str, Any]] = [{"collection": "items"}]


def row(id: int, **metadata: Any) -> dict[str, Any]:
    return {"id": id, "vector": [float(id), 2.0], "metadata": metadata}


NEAR: list[dict[str, Any]] = [
    {"unless_near": {"score": score, **filter_}}
    for score in (0.9, 0.9999)
    for filter_ in ({}, {"filter": {"owner": "you"}}, {"filter": {}})
]
ROWS: list[dict[str, Any]] = [
    {"rows": [row(20), row(21, level=3)]},
    {"rows": [row(1)]},
    {"rows": [row(4)]},
    {"rows": [row(20), row(4), row(1)]},
    {"rows": [row(20, owner="you")]},
    {"rows": [row(20, owner="me"), row(5, owner="me")]},
]
UPDATES: list[dict[str, Any]] = [
    {"rows": [{"id": id, "metadata": metadata} for id in ids]}
    for ids in ((1,), (4,), (6,), (ABSENT,), (1, 4), (4, ABSENT))
    for metadata in ({}, {"owner": "you"}, {"level": 7})
]
IDS: list[dict[str, Any]] = [{"ids": ids} for ids in ([1], [4], [ABSENT], [1, 4, 5, 6, ABSENT], [])]

#: op or "subscribe " and kind -> what it is asked with where nothing else is.
BASES: dict[str, dict[str, Any]] = {
    "ping": {},
    "auth": {},
    "create": {"collection": "new", "dim": 2, "capacity": 9},
    "open": {},
    "describe": {},
    "list": {},
    "drop": {},
    "add": {"rows": [row(20)]},
    "delete": {"ids": [1, 4]},
    "update": {"rows": [{"id": 1, "metadata": {}}]},
    "get": {"ids": [1, 4, ABSENT]},
    "count": {},
    "search": {"vector": V},
    "move": {"vector": V},
    "unsubscribe": {"sub": 9},
    "stats": {},
    "usage": {},
    "cluster": {},
    "move_owner": {},
    "evacuate": {"node": "two"},
    "heal": {},
    "snapshot": {},
    "restore": {"collection": "new"},
    "subscribe live": {"vector": V},
    "subscribe match": {"vector": V, "min_score": -2},
    "subscribe feed": {},
    "subscribe novel": {"below": 0.95},
    "subscribe count": {},
    "subscribe stats": {},
    "subscribe cluster": {},
    "subscribe map": {},
}
_SHAPES = {"decay": DECAYS, "rank": RANKS, "group": GROUPS, "spread": SPREADS}
_NEAR = {"vector": [{"vector": [2, -1]}], "positive": POSITIVES, "negative": NEGATIVES}
_QUEUED = {"collection": NAMED, "filter": FILTERED, "include": INCLUDES, "from_seq": FROM,
           "epoch": FROM, "encoding": ENCODINGS, "min_version": VERSIONS}  # fmt: skip
_STREAMS = {**_QUEUED, "from_seqs": [{"from_seqs": [1], "epoch": "e"}]}
_OF_VERSION = {"min_version": VERSIONS, "epoch": [{"epoch": ""}]}

#: The same -> field -> requests, each in place of the base's fields, or beside them.
FIELDS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "ping": {},
    "auth": {"token": [{}]},
    "create": {
        "collection": [{"collection": "items"}, {}],
        "dim": [{"dim": 3}],
        "capacity": [{"capacity": 1}],
        "metric": [{"metric": "l2"}],
        "ids": [{"ids": "str"}],
        "columns": [{"columns": COLUMNS}],
        "ttl": [{"ttl": 9}],
        "durability": [{"durability": "memory"}],
        "replicas": [{"replicas": 1}],
        "shards": [{"shards": 2}],
        "if_exists": [
            {"if_exists": "ok"},
            {"collection": "items", "if_exists": "ok", "columns": COLUMNS, "capacity": 50},
        ],
    },
    "open": {"collection": NAMED},
    "describe": {"collection": NAMED},
    "list": {},
    "drop": {"collection": NAMED},
    "add": {
        "collection": NAMED,
        "rows": ROWS,
        "producer": [{"producer": "p", "batch": batch} for batch in (1, 2)],
        "batch": [{"producer": "p", "batch": 1, **rows} for rows in ROWS],
        "unless_near": [{**near, **rows} for near in NEAR for rows in ROWS],
    },
    "delete": {"collection": NAMED, "ids": IDS},
    "update": {"collection": NAMED, "rows": UPDATES},
    "get": {
        "collection": NAMED,
        "ids": IDS,
        "include": [{**ids, **include} for ids in IDS for include in INCLUDES],
        **_OF_VERSION,
    },
    "count": {
        "collection": NAMED,
        "filter": FILTERED,
        "by": BYS,
        "limit": [{**by, "limit": 1} for by in BYS],
        **_OF_VERSION,
    },
    "search": {
        "collection": NAMED,
        **_NEAR,
        **_SHAPES,
        "vectors": [{"vectors": [V, [0, 1]]}],
        "like": [{"like": id} for id in (1, 4, ABSENT)],
        "k": KS,
        "filter": FILTERED,
        "min_score": SCORES,
        "include": INCLUDES,
        "last": LASTS,
        "exclude": EXCLUDES,
        "mmr": [{"mmr": {"lambda": w}} for w in (0, 0.5)],
        "at": [{"at": 3.5, **order} for order in (*DECAYS, {"rank": "$age"})],
        **_OF_VERSION,
    },
    "move": {
        "sub": [{}],
        **_NEAR,
        "exclude": EXCLUDES,
        "filter": FILTERED,
        "min_score": THRESHOLDS,
    },
    "unsubscribe": {"sub": [{}]},
    "stats": {"collection": NAMED},
    "usage": {},
    "cluster": {},
    "move_owner": {"collection": NAMED, "to": [{"to": "two"}]},
    "evacuate": {"node": [{}], "state": [{"state": "up"}]},
    "heal": {"collection": NAMED},
    "snapshot": {"collection": NAMED, "snapshot": [{}], "end": [{}]},
    "restore": {
        "collection": [{"collection": "items"}],
        "durability": [{"durability": "memory"}],
        "replicas": [{"replicas": 1}],
        "end": [{}],
    },
    "subscribe live": {
        "collection": NAMED,
        **_NEAR,
        **_SHAPES,
        "exclude": EXCLUDES,
        "k": KS,
        "filter": FILTERED,
        "min_score": SCORES,
        "include": INCLUDES,
        "every": [{"every": 0}],
        "encoding": ENCODINGS,
        **_OF_VERSION,
    },
    "subscribe match": {**_STREAMS, "vector": [{"vector": [2, -1]}], "min_score": SCORES},
    "subscribe feed": _STREAMS,
    "subscribe novel": {**_QUEUED, "below": [{"below": x} for x in (-2, 0.5, 2)], "last": LASTS},
    "subscribe count": {
        "collection": NAMED,
        "filter": FILTERED,
        "by": BYS,
        "limit": [{**by, "limit": 1} for by in BYS],
        "every": EVERY,
        **_OF_VERSION,
    },
    "subscribe stats": {"collection": NAMED, "every": EVERY, **_OF_VERSION},
    "subscribe cluster": {"every": EVERY},
    "subscribe map": {
        "collection": NAMED,
        "sample": [{"sample": 100}],
        "every": EVERY,
        **_OF_VERSION,
    },
}


class Case(NamedTuple):
    """A request: its op, or kind of subscription, the field that it is about, and its fields."""

    what: str
    field: str
    fields: dict[str, Any]


def cases() -> Iterator[Case]:
    """Every request of the walk."""
    for what, base in BASES.items():
        yield Case(what, "", base)
        bare = {name: one for name, one in base.items() if name != "vector"}
        for field, given in FIELDS[what].items():
            for fields in given:
                is_near = fields.keys() & {"like", "positive", "vectors"}
                yield Case(what, field, {**(bare if is_near else base), **fields})


def schema() -> dict[str, set[str]]:
    """op or "subscribe " and kind -> the fields that the protocol has for it."""
    found = {
        op: {field.name for field in row.fields} for op, row in OPS.items() if op != "subscribe"
    }
    for kind, fields in SUBSCRIPTION_KINDS.items():
        found[f"subscribe {kind}"] = {field.name for field in fields}
    return found
