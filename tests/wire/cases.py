"""THE list of golden cases: a typed message and its bytes, written out by hand.

Drives the encoder's tests, the decoder's tests and the files in ``tests/vectors``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import BadVector, OutOfOrder, Overloaded, RateLimited
from omendb_core.model.types import NULL_CODE, CountsBy, Hits, Include, StrColumn

from omendb_ws.wire import binary, binary_replies, counts, live, text, text_replies
from omendb_ws.wire import messages as m

from .by_hand import f32, f64, frame, i64, u8, u32, u64

NAN = float("nan")
METADATA = Include(metadata=True)
EVERYTHING = Include(metadata=True, vector=True)


@dataclass(frozen=True)
class Case:
    """``encode()`` gives ``data``; the side that receives it decodes it to ``decoded``."""

    name: str
    sent_by: Literal["client", "server"]
    data: bytes
    decoded: Any
    encode: Callable[[], bytes]

    @property
    def is_binary(self) -> bool:
        return self.data[:1] == b"\xdb"


def vectors(*rows: tuple[float, ...]) -> Any:
    return np.array(rows, np.float32)


def ids(*values: int) -> Any:
    return np.array(values, np.uint64)


# -- text requests ------------------------------------------------------------------------------


def asked(request: m.Request, data: bytes) -> Case:
    name = f"text-{request.op}"
    return Case(name, "client", data, request, lambda: text.encode_request(request))


def named(name: str, case: Case) -> Case:
    return Case(name, case.sent_by, case.data, case.decoded, case.encode)


TEXT_REQUESTS = [
    asked(m.Ping(0), b'{"id":0,"op":"ping"}'),
    asked(m.Auth(2**32 - 1, "s3cret"), b'{"id":4294967295,"op":"auth","token":"s3cret"}'),
    asked(
        m.Create(
            1, "items", 128, 100_000, "dot", "str", {"price": "f64", "n": "i64", "on": "bool"},
            3600.5, "memory", "ok", 2, 4,
        ),
        b'{"id":1,"op":"create","collection":"items","dim":128,"capacity":100000,"metric":"dot",'
        b'"ids":"str","columns":{"price":"f64","n":"i64","on":"bool"},"ttl":3600.5,'
        b'"durability":"memory","if_exists":"ok","replicas":2,"shards":4}',
    ),
    asked(m.Open(1, "items"), b'{"id":1,"op":"open","collection":"items"}'),
    asked(m.Describe(1, "items"), b'{"id":1,"op":"describe","collection":"items"}'),
    asked(m.List(1), b'{"id":1,"op":"list"}'),
    asked(m.Drop(1, "items"), b'{"id":1,"op":"drop","collection":"items"}'),
    asked(
        m.Add(
            3, "items", [{"id": 17, "vector": [1, 2.5], "metadata": {"price": 9.5}}], "cam-7", 42
        ),
        b'{"id":3,"op":"add","collection":"items","rows":[{"id":17,"vector":[1,2.5],'
        b'"metadata":{"price":9.5}}],"producer":"cam-7","batch":42}',
    ),
    named(
        "text-add-unless-near",
        asked(
            m.Add(
                3, "items", [{"vector": [1, 2.5]}],
                unless_near={"score": 0.95, "filter": {"price": {"$lt": 10}}},
            ),
            b'{"id":3,"op":"add","collection":"items","rows":[{"vector":[1,2.5]}],'
            b'"unless_near":{"score":0.95,"filter":{"price":{"$lt":10}}}}',
        ),
    ),
    asked(
        m.Delete(1, "items", [1, "18446744073709551615"]),
        b'{"id":1,"op":"delete","collection":"items","ids":[1,"18446744073709551615"]}',
    ),
    asked(
        m.Update(1, "items", [{"id": 17, "metadata": {"a": None}}]),
        b'{"id":1,"op":"update","collection":"items","rows":[{"id":17,"metadata":{"a":null}}]}',
    ),
    asked(
        m.Get(1, "items", [], METADATA),
        b'{"id":1,"op":"get","collection":"items","ids":[],"include":["metadata"]}',
    ),
    named(
        "text-count-at-version",
        asked(
            m.Count(1, "items", min_version=7, epoch="e1"),
            b'{"id":1,"op":"count","collection":"items","min_version":7,"epoch":"e1"}',
        ),
    ),
    asked(
        m.Count(1, "items", {"price": {"$lt": 10}}),
        b'{"id":1,"op":"count","collection":"items","filter":{"price":{"$lt":10}}}',
    ),
    named(
        "text-count-by",
        asked(
            m.Count(1, "items", {"price": {"$lt": 10}}, "category", 20),
            b'{"id":1,"op":"count","collection":"items","filter":{"price":{"$lt":10}},'
            b'"by":"category","limit":20}',
        ),
    ),
    asked(
        m.Search(
            5, "items", vectors((0.1, -2.0)), None, True, 3, {"price": {"$lt": 10}}, 0.25,
            EVERYTHING, 5000,
        ),
        b'{"id":5,"op":"search","collection":"items","vector":[0.1,-2.0],"k":3,'
        b'"filter":{"price":{"$lt":10}},"min_score":0.25,"include":["metadata","vector"],'
        b'"last":5000}',
    ),
    named(
        "text-search-vectors",
        asked(
            m.Search(5, "items", vectors((0.1, -2.0), (3.0, 4.0))),
            b'{"id":5,"op":"search","collection":"items","vectors":[[0.1,-2.0],[3.0,4.0]]}',
        ),
    ),
    named(
        "text-search-like",
        asked(
            m.Search(5, "items", None, "row-7", True),
            b'{"id":5,"op":"search","collection":"items","like":"row-7"}',
        ),
    ),
    named(
        "text-search-shaped",
        asked(
            m.Search(
                5, "items", vectors((0.1, -2.0)), single=True, exclude=[17, "18446744073709551615"],
                rank={"$mul": ["$score", {"$exp": {"$neg": "price"}}]},
                group={"by": "category", "size": 2}, mmr={"lambda": 0.5, "candidates": 40},
                at=1.5e9,
            ),
            b'{"id":5,"op":"search","collection":"items","vector":[0.1,-2.0],'
            b'"exclude":[17,"18446744073709551615"],'
            b'"rank":{"$mul":["$score",{"$exp":{"$neg":"price"}}]},'
            b'"group":{"by":"category","size":2},"mmr":{"lambda":0.5,"candidates":40},'
            b'"at":1500000000.0}',
        ),
    ),
    named(
        "text-search-examples",
        asked(
            m.Search(
                5, "items", None, single=True, positive=[17, vectors((0.1, -2.0))[0]],
                negative=["3"], decay={"half_life": 3600, "column": "published"},
                spread={"max_similarity": 0.95},
            ),
            b'{"id":5,"op":"search","collection":"items","positive":[17,[0.1,-2.0]],'
            b'"negative":["3"],"decay":{"half_life":3600,"column":"published"},'
            b'"spread":{"max_similarity":0.95}}',
        ),
    ),
    named(
        "text-subscribe-count",
        asked(
            m.Subscribe(9, "count", "items", by="category", limit=20, every_ms=500),
            b'{"id":9,"op":"subscribe","kind":"count","collection":"items","by":"category",'
            b'"limit":20,"every":500}',
        ),
    ),
    named(
        "text-subscribe-live",
        asked(
            m.Subscribe(9, "live", "items", vectors((1.0, 2.0)), k=5, every_ms=50,
                        encoding="binary"),
            b'{"id":9,"op":"subscribe","kind":"live","collection":"items","vector":[1.0,2.0],'
            b'"k":5,"every":50,"encoding":"binary"}',
        ),
    ),
    named(
        "text-subscribe-match",
        asked(
            m.Subscribe(9, "match", "items", vectors((1.0, 2.0)), min_score=0.5),
            b'{"id":9,"op":"subscribe","kind":"match","collection":"items","vector":[1.0,2.0],'
            b'"min_score":0.5}',
        ),
    ),
    named(
        "text-subscribe-feed",
        asked(
            m.Subscribe(9, "feed", "items", include=METADATA, from_seq=7, epoch="e1"),
            b'{"id":9,"op":"subscribe","kind":"feed","collection":"items","include":["metadata"],'
            b'"from_seq":7,"epoch":"e1"}',
        ),
    ),
    named(
        "text-subscribe-novel",
        asked(
            m.Subscribe(
                9, "novel", "items", below=0.8, filter={"price": {"$lt": 10}}, from_seq=17,
                epoch="e1", encoding="binary", last=5000,
            ),
            b'{"id":9,"op":"subscribe","kind":"novel","collection":"items","below":0.8,'
            b'"filter":{"price":{"$lt":10}},"from_seq":17,"epoch":"e1","encoding":"binary",'
            b'"last":5000}',
        ),
    ),
    named(
        "text-subscribe-stats",
        asked(
            m.Subscribe(9, "stats", every_ms=100),
            b'{"id":9,"op":"subscribe","kind":"stats","every":100}',
        ),
    ),
    named(
        "text-subscribe-cluster",
        asked(m.Subscribe(9, "cluster"), b'{"id":9,"op":"subscribe","kind":"cluster"}'),
    ),
    named(
        "text-subscribe-map",
        asked(
            m.Subscribe(9, "map", "items", sample=500),
            b'{"id":9,"op":"subscribe","kind":"map","collection":"items","sample":500}',
        ),
    ),
    asked(m.Move(1, 3, vectors((1.0, 2.0))), b'{"id":1,"op":"move","sub":3,"vector":[1.0,2.0]}'),
    named(
        "text-move-changes",
        asked(
            m.Move(1, 3, positive=[17], exclude=[4], filter={}, keeps_min_score=False),
            b'{"id":1,"op":"move","sub":3,"positive":[17],"exclude":[4],"filter":{},'
            b'"min_score":null}',
        ),
    ),
    asked(m.Unsubscribe(1, 3), b'{"id":1,"op":"unsubscribe","sub":3}'),
    asked(m.Stats(1, "items"), b'{"id":1,"op":"stats","collection":"items"}'),
    asked(m.Usage(1), b'{"id":1,"op":"usage"}'),
    asked(m.Cluster(1), b'{"id":1,"op":"cluster"}'),
    asked(
        m.MoveOwner(1, "items", "two"),
        b'{"id":1,"op":"move_owner","collection":"items","to":"two"}',
    ),
    asked(
        m.Evacuate(1, "two", "up"), b'{"id":1,"op":"evacuate","node":"two","state":"up"}'
    ),
    asked(m.Heal(1, "items"), b'{"id":1,"op":"heal","collection":"items"}'),
    asked(m.Snapshot(1, "items"), b'{"id":1,"op":"snapshot","collection":"items"}'),
    named(
        "text-snapshot-next",
        asked(m.Snapshot(2, snapshot=7), b'{"id":2,"op":"snapshot","snapshot":7}'),
    ),
    named("text-snapshot-end", asked(m.Snapshot(3, end=7), b'{"id":3,"op":"snapshot","end":7}')),
    asked(
        m.Restore(4, "items-2", "memory", 2),
        b'{"id":4,"op":"restore","collection":"items-2","durability":"memory","replicas":2}',
    ),
    named("text-restore-end", asked(m.Restore(5, end=3), b'{"id":5,"op":"restore","end":3}')),
]  # fmt: skip

# -- text replies and pushes ----------------------------------------------------------------------

HITS = Hits(ids(17, 2**53 - 1, 2**53), ids(101, 7, 3), np.array([0.93, 0.5, -1e-10], np.float32))
RANKED = replace(
    HITS, ranks=np.array([-0.25, NAN, NAN]), weights=np.array([0.5, NAN, 1.0], np.float32)
)
RICH = Hits(
    ["a", 'b"é'],
    ids(2, 1),
    np.array([1.0, 0.25], np.float32),
    [b'{"price":9.5}', {"on": True}],
    vectors((1.0, 0.0), (0.25, -3.5)),
)
#: What one of several shards says.
SHARDS: list[dict[str, Any]] = [{"shard": 1, "first_seq": 2, "last_seq": 4, "version": 2}]
FOUND = m.Found(4, np.array([True, False, True]), Hits(ids(8, 9), ids(1, 2)))


NEW = Hits(ids(8, 9), ids(1, 2), np.array([-np.inf, 0.25], np.float32), near=ids(0, 2**53))


def told(name: str, data: bytes, decoded: Any, encode: Callable[[], bytes]) -> Case:
    return Case(name, "server", data, decoded, encode)


TEXT_REPLIES = [
    told("text-ok", b'{"id":7,"ok":{"version":3,"count":2}}',
         m.Reply(7, {"version": 3, "count": 2}),
         lambda: text_replies.encode_ok(7, {"version": 3, "count": 2})),
    told("text-counted", b'{"id":7,"ok":{"version":3,"count":2}}',
         m.Reply(7, {"version": 3, "count": 2}),
         lambda: counts.encode_count(7, counts.counted_all(3, 2)).data),
    told("text-counted-by",
         '{"id":7,"ok":{"version":3,"count":9,"by":[{"value":"é","count":4},'
         '{"value":null,"count":3}],"others":2}}'.encode(),
         m.Reply(7, {"version": 3, "count": 9, "by": [{"value": "é", "count": 4},
                                                      {"value": None, "count": 3}], "others": 2}),
         lambda: counts.encode_count(
             7, counts.counted_by(CountsBy(3, 9, ["é", None], [4, 3], 2))).data),
    told("text-count-begun",
         b'{"id":7,"ok":{"sub":3,"epoch":"e1","version":3,"count":2}}',
         m.Reply(7, {"sub": 3, "epoch": "e1", "version": 3, "count": 2}),
         lambda: counts.encode_count_begun(7, 3, "e1", counts.counted_all(3, 2)).data),
    told("text-count-push",
         b'{"event":"count","sub":3,"version":4,"count":5,"by":[{"value":1.5,"count":4}],'
         b'"others":1}',
         m.Event("count", {"sub": 3, "version": 4, "count": 5,
                           "by": [{"value": 1.5, "count": 4}], "others": 1}),
         lambda: counts.encode_count_push(
             3, counts.counted_by(CountsBy(4, 5, [1.5], [4], 1))).data),
    told("text-error",
         b'{"id":7,"error":{"code":"bad_vector","message":"vector: no","retry":false,"row":3}}',
         m.ErrorReply(7, BadVector("vector: no", row=3)),
         lambda: text_replies.encode_error(7, BadVector("vector: no", row=3))),
    told("text-error-overloaded",
         b'{"id":7,"error":{"code":"overloaded","message":"busy","retry":true,'
         b'"retry_after_ms":100}}',
         m.ErrorReply(7, Overloaded("busy", retry_after_ms=100)),
         lambda: text_replies.encode_error(7, Overloaded("busy", retry_after_ms=100))),
    told("text-error-expected",
         b'{"id":0,"error":{"code":"out_of_order","message":"later","retry":false,"expected":4}}',
         m.ErrorReply(0, OutOfOrder("later", expected=4)),
         lambda: text_replies.encode_error(0, OutOfOrder("later", expected=4))),
    told("text-error-event",
         b'{"event":"error","code":"rate_limited","message":"slow","retry":true,'
         b'"retry_after_ms":50}',
         m.ErrorReply(None, RateLimited("slow", retry_after_ms=50)),
         lambda: text_replies.encode_error(None, RateLimited("slow", retry_after_ms=50))),
    told("text-added", b'{"id":3,"ok":{"version":2,"first_seq":11,"last_seq":20}}',
         m.Reply(3, {"version": 2, "first_seq": 11, "last_seq": 20}),
         lambda: text_replies.encode_added(3, m.Added(2, 11, 20))),
    told("text-added-duplicate",
         b'{"id":3,"ok":{"version":2,"first_seq":null,"last_seq":null,"duplicate":true}}',
         m.Reply(3, {"version": 2, "first_seq": None, "last_seq": None, "duplicate": True}),
         lambda: text_replies.encode_added(3, m.Added(2, None, None, True))),
    told("text-added-compared",
         b'{"id":3,"ok":{"version":2,"first_seq":11,"last_seq":12,"skipped":[1,3],'
         b'"near":[17,"9007199254740992"]}}',
         m.Reply(3, {"version": 2, "first_seq": 11, "last_seq": 12, "skipped": [1, 3],
                     "near": [17, "9007199254740992"]}),
         lambda: text_replies.encode_added(
             3, m.Added(2, 11, 12, False, True, [1, 3], ids(17, 2**53)))),
    told("text-added-shards",
         b'{"id":3,"ok":{"version":2,"first_seq":null,"last_seq":null,"shards":'
         b'[{"shard":1,"first_seq":2,"last_seq":4,"version":2}]}}',
         m.Reply(3, {"version": 2, "first_seq": None, "last_seq": None, "shards": SHARDS}),
         lambda: text_replies.encode_added(3, m.Added(2, None, None, shards=SHARDS))),
    told("text-results",
         b'{"id":5,"ok":{"version":9,"results":[{"id":17,"seq":101,"score":0.93},'
         b'{"id":9007199254740991,"seq":7,"score":0.5},'
         b'{"id":"9007199254740992","seq":3,"score":-1e-10}],"took_us":210}}',
         m.Reply(5, {"version": 9, "results": [
             {"id": 17, "seq": 101, "score": 0.93},
             {"id": 2**53 - 1, "seq": 7, "score": 0.5},
             {"id": "9007199254740992", "seq": 3, "score": -1e-10}], "took_us": 210}),
         lambda: text_replies.encode_results(
             5, m.Results(9, np.array([3], np.uint32), HITS, 210), single=True)),
    told("text-results-lists",
         '{"id":5,"ok":{"version":9,"results":[[{"id":"a","seq":2,"score":1.0,'
         '"metadata":{"price":9.5},"vector":[1.0,0.0]}],[],[{"id":"b\\"é","seq":1,"score":0.25,'
         '"metadata":{"on":true},"vector":[0.25,-3.5]}]],"took_us":0}}'.encode(),
         m.Reply(5, {"version": 9, "results": [
             [{"id": "a", "seq": 2, "score": 1.0, "metadata": {"price": 9.5},
               "vector": [1.0, 0.0]}],
             [],
             [{"id": 'b"é', "seq": 1, "score": 0.25, "metadata": {"on": True},
               "vector": [0.25, -3.5]}]], "took_us": 0}),
         lambda: text_replies.encode_results(
             5, m.Results(9, np.array([1, 0, 1], np.uint32), RICH), single=False)),
    told("text-results-ranked",
         b'{"id":5,"ok":{"version":9,"results":[{"id":17,"seq":101,"score":0.93,"rank":-0.25,'
         b'"weight":0.5},{"id":9007199254740991,"seq":7,"score":0.5,"rank":null,"weight":null},'
         b'{"id":"9007199254740992","seq":3,"score":-1e-10,"rank":null,"weight":1.0}],'
         b'"at":1500000000.25,"took_us":210}}',
         m.Reply(5, {"version": 9, "results": [
             {"id": 17, "seq": 101, "score": 0.93, "rank": -0.25, "weight": 0.5},
             {"id": 2**53 - 1, "seq": 7, "score": 0.5, "rank": None, "weight": None},
             {"id": "9007199254740992", "seq": 3, "score": -1e-10, "rank": None, "weight": 1.0}],
             "at": 1500000000.25, "took_us": 210}),
         lambda: text_replies.encode_results(
             5, m.Results(9, np.array([3], np.uint32), RANKED, 210, at=1500000000.25),
             single=True)),
    told("text-found", b'{"id":1,"ok":{"version":4,"rows":[{"id":8,"seq":1},null,'
         b'{"id":9,"seq":2}]}}',
         m.Reply(1, {"version": 4, "rows": [{"id": 8, "seq": 1}, None, {"id": 9, "seq": 2}]}),
         lambda: text_replies.encode_found(1, FOUND)),
    told("text-found-shards",
         b'{"id":1,"ok":{"version":4,"rows":[{"id":8,"seq":1},null,{"id":9,"seq":2}],'
         b'"versions":[1,3]}}',
         m.Reply(1, {"version": 4, "rows": [{"id": 8, "seq": 1}, None, {"id": 9, "seq": 2}],
                     "versions": [1, 3]}),
         lambda: text_replies.encode_found(1, replace(FOUND, versions=[1, 3]))),
    told("text-feed",
         b'{"event":"feed","sub":4,"version":13,"to_seq":103,"rows":[{"id":8,"seq":1},'
         b'{"id":9,"seq":2}]}',
         m.Event("feed", {"sub": 4, "version": 13, "to_seq": 103,
                          "rows": [{"id": 8, "seq": 1}, {"id": 9, "seq": 2}]}),
         lambda: text_replies.encode_rows(m.Rows(4, "feed", 13, 103, FOUND.hits))),
    told("text-novel",
         b'{"event":"novel","sub":4,"version":13,"to_seq":103,"rows":['
         b'{"id":8,"seq":1,"score":null,"near":null},'
         b'{"id":9,"seq":2,"score":0.25,"near":"9007199254740992"}]}',
         m.Event("novel", {"sub": 4, "version": 13, "to_seq": 103, "rows": [
             {"id": 8, "seq": 1, "score": None, "near": None},
             {"id": 9, "seq": 2, "score": 0.25, "near": "9007199254740992"}]}),
         lambda: text_replies.encode_rows(m.Rows(4, "novel", 13, 103, NEW))),
    told("text-live",
         b'{"event":"live","sub":3,"version":13,"leave":[{"id":4,"seq":7,"reason":"filtered"},'
         b'{"id":5,"seq":8,"reason":"updated"}],"enter":[{"id":17,"seq":101,"score":0.93,'
         b'"rank":-0.25},{"id":9007199254740991,"seq":7,"score":0.5,"rank":null}]}',
         m.Event("live", {"sub": 3, "version": 13, "leave": [
             {"id": 4, "seq": 7, "reason": "filtered"}, {"id": 5, "seq": 8, "reason": "updated"}],
             "enter": [{"id": 17, "seq": 101, "score": 0.93, "rank": -0.25},
                       {"id": 2**53 - 1, "seq": 7, "score": 0.5, "rank": None}]}),
         lambda: live.encode_text(m.LivePushes(
             13, [3], [2], [4, 5], ids(7, 8), np.array([5, 6], np.uint8), [2],
             Hits(ids(17, 2**53 - 1), ids(101, 7), np.array([0.93, 0.5], np.float32),
                  ranks=np.array([-0.25, NAN]))))[0]),
    told("text-live-shards",
         b'{"event":"live","sub":3,"version":13,"versions":[6,7],"leave":[],'
         b'"enter":[{"id":17,"seq":101,"score":0.5}]}',
         m.Event("live", {"sub": 3, "version": 13, "versions": [6, 7], "leave": [],
                          "enter": [{"id": 17, "seq": 101, "score": 0.5}]}),
         lambda: live.encode_text(m.LivePushes(
             13, [3], [0], [], ids(), np.array([], np.uint8), [1],
             Hits(ids(17), ids(101), np.array([0.5], np.float32)), [6, 7]))[0]),
    told("text-gap",
         b'{"event":"gap","sub":4,"from_seq":90,"to_seq":140,"reason":"evicted"}',
         m.Event("gap", {"sub": 4, "from_seq": 90, "to_seq": 140, "reason": "evicted"}),
         lambda: text_replies.encode_event(
             "gap", {"sub": 4, "from_seq": 90, "to_seq": 140, "reason": "evicted"})),
]  # fmt: skip

# -- binary requests ------------------------------------------------------------------------------

ADD_COLUMNS = RowBatch(
    vectors((1.0, 2.0, 3.0), (4.0, 5.0, -0.0), (0.1, 1e-40, 3e38)),
    ids(1, 2**64 - 1, 0),
    {
        "price": np.array([9.5, NAN, -0.0]),
        "count": np.array([1, -(2**53) + 1, 0]),
        "on": np.array([1, 0, 1], np.uint8),
        "kind": StrColumn(np.array([1, NULL_CODE, 0], np.uint32), ("", "é")),
    },
    [{"note": "x"}, None, {}],
)
ADD_COLUMNS_JSON = (
    '{"columns":{"price":"f64","count":"i64","on":"bool","kind":"str"},'
    '"dictionaries":{"kind":["","é"]},"metadata":[{"note":"x"},null,{}],'
    '"producer":"cam-7","batch":42}'
).encode()
SEARCH_JSON = b'{"filter":{"price":{"$lt":10}},"min_score":0.25,"include":["metadata"],"last":7}'
SHAPED_JSON = b'{"exclude":["a"],"decay":{"half_life":60},"group":{"by":"kind"},"at":1500000000.25}'
EXAMPLES_JSON = b'{"positive":[17,[0.1,-2.0]],"negative":["3"],"rank":"$score"}'
MOVE_JSON = b'{"positive":[17],"negative":[],"exclude":[],"filter":{},"min_score":null}'
SUBSCRIBE_EXAMPLES_JSON = (
    b'{"kind":"live","encoding":"binary","positive":[17],"exclude":[4],"rank":"price",'
    b'"group":{"by":"kind"}}'
)
SUBSCRIBE_MATCH_JSON = b'{"kind":"match","filter":{"on":true},"min_score":0.5,"encoding":"binary"}'
SUBSCRIBE_JSON = b'{"kind":"live","include":["vector"],"every":0,"encoding":"binary"}'

BINARY_REQUESTS = [
    Case("binary-add-auto", "client",
         frame(1, f32(1.0, 2.0), id=6, handle=3, n=1, dim=2),
         m.Add(6, 3, RowBatch(vectors((1.0, 2.0))), binary=True),
         lambda: binary.encode_add(6, 3, RowBatch(vectors((1.0, 2.0))))),
    Case("binary-add-u64", "client",
         frame(1, u64(1, 2**64 - 1, 0),
               f32(1.0, 2.0, 3.0, 4.0, 5.0, -0.0, 0.1, 1e-40, 3e38),
               f64(9.5, NAN, -0.0), i64(1, -(2**53) + 1, 0), u8(1, 0, 1), u32(1, 2**32 - 1, 0),
               flags=3, id=6, handle=1, n=3, dim=3, json=ADD_COLUMNS_JSON),
         m.Add(6, 1, ADD_COLUMNS, "cam-7", 42, binary=True),
         lambda: binary.encode_add(6, 1, ADD_COLUMNS, "cam-7", 42)),
    Case("binary-add-str", "client",
         frame(1, f32(1.0, 2.0), id=6, handle=1, n=2, dim=1, json='{"ids":["a","é"]}'.encode()),
         m.Add(6, 1, RowBatch(vectors((1.0,), (2.0,)), ["a", "é"]), binary=True),
         lambda: binary.encode_add(6, 1, RowBatch(vectors((1.0,), (2.0,)), ["a", "é"]))),
    Case("binary-add-unless-near", "client",
         frame(1, u64(7), f32(1.0, 2.0), flags=1, id=6, handle=3, n=1, dim=2,
               json=b'{"unless_near":{"score":0.95}}'),
         m.Add(6, 3, RowBatch(vectors((1.0, 2.0)), ids(7)), unless_near={"score": 0.95},
               binary=True),
         lambda: binary.encode_add(6, 3, RowBatch(vectors((1.0, 2.0)), ids(7)),
                                   unless_near={"score": 0.95})),
    Case("binary-search", "client",
         frame(3, f32(1.0, 2.0, 3.0), id=2**32 - 1, handle=2**32 - 1, n=1, dim=3, k=10),
         m.Search(2**32 - 1, 2**32 - 1, vectors((1.0, 2.0, 3.0)), binary=True),
         lambda: binary.encode_search(2**32 - 1, 2**32 - 1, vectors((1.0, 2.0, 3.0)))),
    Case("binary-search-filtered", "client",
         frame(3, f32(1.0, 2.0, 3.0, 4.0), id=7, handle=1, n=2, dim=2, k=1000, json=SEARCH_JSON),
         m.Search(7, 1, vectors((1.0, 2.0), (3.0, 4.0)), k=1000,
                  filter={"price": {"$lt": 10}}, min_score=0.25, include=METADATA, last=7,
                  binary=True),
         lambda: binary.encode_search(7, 1, vectors((1.0, 2.0), (3.0, 4.0)), 1000,
                                      {"price": {"$lt": 10}}, 0.25, METADATA, 7)),
    Case("binary-search-shaped", "client",
         frame(3, f32(1.0, 2.0), id=7, handle=1, n=1, dim=2, k=5, json=SHAPED_JSON),
         m.Search(7, 1, vectors((1.0, 2.0)), k=5, exclude=["a"], decay={"half_life": 60},
                  group={"by": "kind"}, at=1500000000.25, binary=True),
         lambda: binary.encode_search(7, 1, vectors((1.0, 2.0)), 5, shaping={
             "exclude": ["a"], "decay": {"half_life": 60}, "group": {"by": "kind"},
             "at": 1500000000.25})),
    Case("binary-search-examples", "client",
         frame(3, id=7, handle=1, k=5, json=EXAMPLES_JSON),
         m.Search(7, 1, None, k=5, positive=[17, vectors((0.1, -2.0))[0]], negative=["3"],
                  rank="$score", binary=True),
         lambda: binary.encode_search(7, 1, None, 5, shaping={
             "positive": [17, vectors((0.1, -2.0))[0]], "negative": ["3"], "rank": "$score"})),
    Case("binary-subscribe", "client",
         frame(7, f32(1.0, 2.0, 3.0, 4.0), id=7, handle=1, n=2, dim=2, k=5, json=SUBSCRIBE_JSON),
         m.Subscribe(7, "live", 1, vectors((1.0, 2.0), (3.0, 4.0)), k=5,
                     include=Include(vector=True), every_ms=0, encoding="binary", binary=True),
         lambda: binary.encode_subscribe(7, 1, vectors((1.0, 2.0), (3.0, 4.0)), 5,
                                         include=Include(vector=True), every_ms=0,
                                         encoding="binary")),
    Case("binary-subscribe-match", "client",
         frame(7, f32(1.0, 2.0, 3.0, 4.0), id=7, handle=1, n=2, dim=2, json=SUBSCRIBE_MATCH_JSON),
         m.Subscribe(7, "match", 1, vectors((1.0, 2.0), (3.0, 4.0)), filter={"on": True},
                     min_score=0.5, encoding="binary", binary=True),
         lambda: binary.encode_subscribe_match(7, 1, vectors((1.0, 2.0), (3.0, 4.0)), 0.5,
                                               {"on": True}, encoding="binary")),
    Case("binary-move", "client", frame(8, f32(1.0, 2.0, 3.0), id=7, handle=3, n=1, dim=3),
         m.Move(7, 3, vectors((1.0, 2.0, 3.0)), binary=True),
         lambda: binary.encode_move(7, 3, vectors((1.0, 2.0, 3.0)))),
    Case("binary-move-changes", "client", frame(8, id=7, handle=3, json=MOVE_JSON),
         m.Move(7, 3, positive=[17], negative=[], exclude=[], filter={}, keeps_min_score=False,
                binary=True),
         lambda: binary.encode_move(7, 3, None, {
             "positive": [17], "negative": [], "exclude": [], "filter": {}, "min_score": None})),
    Case("binary-subscribe-examples", "client",
         frame(7, id=7, handle=1, k=5, json=SUBSCRIBE_EXAMPLES_JSON),
         m.Subscribe(7, "live", 1, k=5, encoding="binary", binary=True, positive=[17],
                     exclude=[4], rank="price", group={"by": "kind"}),
         lambda: binary.encode_subscribe(
             7, 1, None, 5, encoding="binary",
             shaping={"positive": [17], "exclude": [4], "rank": "price",
                      "group": {"by": "kind"}})),
]  # fmt: skip

BINARY_REQUESTS.append(
    Case("binary-restore", "client", frame(10, b"OMENSNAP", id=7, handle=3, n=8),
         m.RestoreBytes(7, 3, memoryview(b"OMENSNAP")),
         lambda: binary.encode_restore(7, 3, b"OMENSNAP")),
)  # fmt: skip

# -- binary replies and pushes --------------------------------------------------------------------


def parsed(hits: Hits) -> Hits:
    """As a client sees them: metadata as objects."""
    return replace(hits, metadata=[{"price": 9.5}, {"on": True}])


RICH_JSON = '{"metadata":[{"price":9.5},{"on":true}],"ids":["a","b\\"é"]}'.encode()
RANKED_JSON = RICH_JSON[:-1] + b',"at":1500000000.25,"weights":[0.5,null]}'
RICH_RANKED = replace(RICH, ranks=np.array([-0.25, NAN]), weights=np.array([0.5, NAN], np.float32))
LIVE_RANKED = replace(RICH_RANKED, weights=None)
UNSCORED = Hits(ids(8, 9), ids(1, 2))
NOTHING_FOUND = Hits(ids(), ids(), np.empty(0, np.float32))

LEAVING = {
    "version": 13, "subs": [3], "leave_counts": [2], "leave_ids": [4, 5],
    "leave_seqs": ids(7, 8), "leave_reasons": np.array([5, 6], np.uint8), "enter_counts": [2],
}  # fmt: skip

BINARY_REPLIES = [
    told("binary-snapshot", frame(9, b"OMENS", id=6, n=5),
         (6, m.SnapshotBytes(memoryview(b"OMENS"), False)),
         lambda: b"".join(binary_replies.encode_snapshot_in_parts(6, [b"OM", b"ENS"], False))),
    told("binary-snapshot-last", frame(9, b"OMENSNAP", id=6, n=8, flags=1),
         (6, m.SnapshotBytes(memoryview(b"OMENSNAP"), True)),
         lambda: b"".join(binary_replies.encode_snapshot_in_parts(6, [b"OMENSNAP"], True))),
    told("binary-added", frame(2, u64(3), u64(11), u64(20), id=6), (6, m.Added(3, 11, 20)),
         lambda: binary_replies.encode_added(6, m.Added(3, 11, 20))),
    told("binary-added-duplicate", frame(2, u64(3), u64(0), u64(0), id=6, flags=1),
         (6, m.Added(3, None, None, True)),
         lambda: binary_replies.encode_added(6, m.Added(3, None, None, True))),
    told("binary-added-compared",
         frame(2, u64(3), u64(0), u64(0), id=6, flags=2, json=b'{"skipped":[0],"near":["a"]}'),
         (6, m.Added(3, None, None, False, True, [0], ["a"])),
         lambda: binary_replies.encode_added(6, m.Added(3, None, None, False, True, [0], ["a"]))),
    told("binary-added-shards",
         frame(2, u64(2), u64(0), u64(0), id=6, json=b'{"shards":'
               b'[{"shard":1,"first_seq":2,"last_seq":4,"version":2}]}'),
         (6, m.Added(2, None, None, shards=SHARDS)),
         lambda: binary_replies.encode_added(6, m.Added(2, None, None, shards=SHARDS))),
    told("binary-results-shards",
         frame(4, u64(9), u32(2, 1), u64(17, 2**53 - 1, 2**53), u64(101, 7, 3),
               f32(0.93, 0.5, -1e-10), id=5, n=2, k=3, json=b'{"versions":[4,5]}'),
         (5, m.Results(9, np.array([2, 1], np.uint32), HITS, versions=[4, 5])),
         lambda: binary_replies.encode_results(
             5, m.Results(9, np.array([2, 1], np.uint32), HITS, versions=[4, 5]))),
    told("binary-results",
         frame(4, u64(9), u32(2, 1), u64(17, 2**53 - 1, 2**53), u64(101, 7, 3),
               f32(0.93, 0.5, -1e-10), id=5, n=2, k=3, took_us=210),
         (5, m.Results(9, np.array([2, 1], np.uint32), HITS, 210)),
         lambda: binary_replies.encode_results(
             5, m.Results(9, np.array([2, 1], np.uint32), HITS, 210))),
    told("binary-results-empty", frame(4, u64(9), u32(0), b"", b"", b"", id=5, n=1),
         (5, m.Results(9, np.array([0], np.uint32), NOTHING_FOUND)),
         lambda: binary_replies.encode_results(
             5, m.Results(9, np.array([0], np.uint32), NOTHING_FOUND))),
    told("binary-results-rich",
         frame(4, u64(9), u32(1, 0, 1), u64(2, 1), f32(1.0, 0.25), f32(1.0, 0.0, 0.25, -3.5),
               id=5, n=3, k=2, dim=2, flags=2, json=RICH_JSON),
         (5, m.Results(9, np.array([1, 0, 1], np.uint32), parsed(RICH))),
         lambda: binary_replies.encode_results(
             5, m.Results(9, np.array([1, 0, 1], np.uint32), RICH))),
    told("binary-results-ranked",
         frame(4, u64(9), u32(2), u64(2, 1), f32(1.0, 0.25), f64(-0.25, NAN),
               f32(1.0, 0.0, 0.25, -3.5), id=5, n=1, k=2, dim=2, flags=6, json=RANKED_JSON),
         (5, m.Results(9, np.array([2], np.uint32), parsed(RICH_RANKED), at=1500000000.25)),
         lambda: binary_replies.encode_results(
             5, m.Results(9, np.array([2], np.uint32), RICH_RANKED, at=1500000000.25))),
    told("binary-results-subs",
         frame(4, u64(9), u32(2, 1), u64(17, 2**53 - 1, 2**53), u64(101, 7, 3),
               f32(0.93, 0.5, -1e-10), id=5, n=2, k=3, json=b'{"subs":[3,4]}'),
         (5, m.Results(9, np.array([2, 1], np.uint32), HITS, 0, [3, 4])),
         lambda: binary_replies.encode_results(
             5, m.Results(9, np.array([2, 1], np.uint32), HITS, 0, [3, 4]))),
    told("binary-results-begun",
         frame(4, u64(9), u32(0, 0), b"", b"", b"", id=5, n=2, json=b'{"subs":[3,4],"to_seq":7}'),
         (5, m.Results(9, np.array([0, 0], np.uint32), NOTHING_FOUND, 0, [3, 4], None, 7)),
         lambda: binary_replies.encode_begun(5, 9, [3, 4], 7)),
    told("binary-live",
         frame(5, u64(13), u64(2, 1), f32(1.0, 0.25), f32(1.0, 0.0, 0.25, -3.5), u64(7, 8),
               u8(5, 6), id=3, n=2, k=2, dim=2, flags=2, json=RICH_JSON),
         m.Live(3, 13, None, ids(7, 8), np.array([5, 6], np.uint8), parsed(RICH)),
         lambda: live.encode_binary(m.LivePushes(**LEAVING, enter=RICH))[0]),
    told("binary-live-ranked",
         frame(5, u64(13), u64(2, 1), f32(1.0, 0.25), f64(-0.25, NAN), f32(1.0, 0.0, 0.25, -3.5),
               u64(7, 8), u8(5, 6), id=3, n=2, k=2, dim=2, flags=6, json=RICH_JSON),
         m.Live(3, 13, None, ids(7, 8), np.array([5, 6], np.uint8), parsed(LIVE_RANKED)),
         lambda: live.encode_binary(m.LivePushes(**LEAVING, enter=LIVE_RANKED))[0]),
    told("binary-rows-feed", frame(6, u64(13), u64(103), u64(8, 9), u64(1, 2), id=4, n=2),
         m.Rows(4, "feed", 13, 103, UNSCORED),
         lambda: binary_replies.encode_rows(m.Rows(4, "feed", 13, 103, UNSCORED))),
    told("binary-rows-match",
         frame(6, u64(13), u64(103), u64(2, 1), f32(1.0, 0.25), f32(1.0, 0.0, 0.25, -3.5),
               id=4, n=2, dim=2, flags=3, json=RICH_JSON),
         m.Rows(4, "match", 13, 103, parsed(RICH)),
         lambda: binary_replies.encode_rows(m.Rows(4, "match", 13, 103, RICH))),
    told("binary-rows-novel",
         frame(6, u64(13), u64(103), u64(8, 9), u64(1, 2), f32(-math.inf, 0.25), id=4, n=2,
               flags=1, json=b'{"near":[null,"9007199254740992"]}'),
         m.Rows(4, "novel", 13, 103, replace(NEW, near=[None, "9007199254740992"])),
         lambda: binary_replies.encode_rows(m.Rows(4, "novel", 13, 103, NEW))),
    told("binary-rows-empty", frame(6, u64(13), u64(103), b"", b"", id=4),
         m.Rows(4, "feed", 13, 103, Hits(ids(), ids())),
         lambda: binary_replies.encode_rows(m.Rows(4, "feed", 13, 103, Hits(ids(), ids())))),
]  # fmt: skip

CASES = [*TEXT_REQUESTS, *TEXT_REPLIES, *BINARY_REQUESTS, *BINARY_REPLIES]
