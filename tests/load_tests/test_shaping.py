"""The load's oracle of shaped answers against the one of the engine's tests, both from the text."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from load_tests.simulation import scenario, shaping, truth
from load_tests.simulation.requests import AddLog
from tests.oracle import shaping as judge_of_the_engine
from tests.oracle.window import Oracle

COLUMNS = {"n": "i64", "price": "f64", "kind": "str"}
SHAPES: list[dict[str, Any]] = [
    {"decay": {"half_life": 3.0, "column": "price"}},
    {"decay": {"half_life": 0.5, "column": "n"}, "group": {"by": "kind", "size": 2}},
    {"rank": {"$add": ["$score", {"$mul": [0.25, {"$log": {"$add": ["n", 1]}}]}]}},
    {"rank": {"$div": [{"$sub": [{"$default": ["price", 2]}, 2]}, {"$abs": "$score"}]}},
    {"rank": {"$max": [{"$neg": "price"}, {"$min": ["$score", 0.5]}, {"$exp": "$score"}]}},
    {"rank": {"$pow": ["n", {"$sqrt": "$score"}]}, "spread": {"max_similarity": 0.5}},
    {"rank": 1, "group": {"by": "price"}},
    {"group": {"by": "kind"}},
    {"spread": {"max_similarity": 0.25}},
    {"spread": {"max_similarity": 0.75}, "group": {"by": "n", "size": 3}},
    {"mmr": {"lambda": 0.5}},
    {"mmr": {"lambda": 0.2, "candidates": 12}, "group": {"by": "kind", "size": 5}},
    {"mmr": {"lambda": 1, "candidates": 9}, "decay": {"half_life": 2.0, "column": "price"}},
    {"rank": {"$if": [{"kind": "a", "n": {"$gt": 1}}, "$score", {"$neg": "price"}]}},
    {"positive": [25]},
    {"positive": [21, 33, 59], "negative": [40, 22], "group": {"by": "kind", "size": 2}},
    {"positive": [30, 31], "exclude": [59, 58, 57, 900], "spread": {"max_similarity": 0.5}},
    {"exclude": [58, 2, 41, 40], "decay": {"half_life": 2.0, "column": "price"}},
    {},
]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_two_oracles_give_the_same_answer(metric: str, shape: dict[str, Any]) -> None:
    if metric == "l2" and "spread" in shape:
        shape = {**shape, "spread": {"max_similarity": -shape["spread"]["max_similarity"]}}
    numbers = random.Random(str(shape) + metric)
    pool = np.array([numbers.choices((-1, -0.5, 0.5, 1, 2), k=3) for _ in range(60)], np.float32)
    columns = {
        "n": [numbers.randrange(6) for _ in pool],
        "price": [numbers.choice((None, 0.5, 1.5, 4.0)) for _ in pool],
        "kind": [numbers.choice((None, "a", "b", "c")) for _ in pool],
    }
    metadata = [
        {name: values[row] for name, values in columns.items() if values[row] is not None}
        for row in range(len(pool))
    ]
    plain = Oracle(40, metric, "auto")
    plain.add(pool.tolist(), None, metadata, 0)
    log = AddLog()
    log.append(1, 1, 0, 60, 0.0)
    queries = np.array([[1, 0.5, -1], [0.25, 1, 2]], np.float32)
    made = truth.Oracle(
        pool, queries, truth.history(log, 60), 40, metric, 7,
        shaped=truth.Shaped([shape, shape], columns, first_id=1),
    )  # fmt: skip
    for number, query in enumerate(queries.tolist()):
        asked = {} if "positive" in shape else {"vector": query}
        hits = judge_of_the_engine.search(plain, {"k": 7, **asked, **shape})
        assert made.answer(1, number) == [(hit.seq, hit.score) for hit in hits]


def test_shapes_are_used_by_turns_of_messages() -> None:
    shapes = [{"rank": 1}, {"rank": 2}, {"rank": 3}]
    found = [shaping.shape_of(shapes, 2, query) for query in range(8)]
    assert found == [shapes[0]] * 2 + [shapes[1]] * 2 + [shapes[2]] * 2 + [shapes[0]] * 2
    assert shaping.shape_of([], 2, 5) == {}


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ({"at": 5}, "at: unknown"),
        ({"decay": {"half_life": 5, "column": "nope"}}, "decay.column"),
        ({"group": {"by": "nope"}}, "group.by"),
        ({"rank": "$age"}, r"\$age is no column"),
        ({"rank": {"$add": ["$score", {"$neg": "nope"}]}}, "nope is no column"),
        ({"rank": {"$if": [{"n": 1}, 1, {"$mod": [2, 1]}]}}, r"\$mod is none"),
        ({"exclude": [7, 11]}, "exclude: ids of the 10 rows before the load"),
        ({"positive": [[0.5, 0.5]]}, "positive: ids"),
    ],
    ids=str,
)
def test_what_the_oracle_cannot_judge_is_no_scenario(shape: dict[str, Any], why: str) -> None:
    columns = dict.fromkeys(COLUMNS)
    assert shaping.fault({"rank": "n", "group": {"by": "kind"}}, columns, 0) == ""
    for name in ("search", "live"):
        document = {
            "collection": {"fill": 10},
            name: {"shapes": [{"rank": "$score"}, shape], "verified": 0.5},
            "columns": {"n": {"type": "i64"}},
        }
        with pytest.raises(scenario.ScenarioError, match=rf"{name}\.shapes\[1\]: .*{why}"):
            scenario.parse("made", document, {})
    document = {"search": {"shapes": [{"decay": {"half_life": 5}}], "verified": 0.5}}
    with pytest.raises(scenario.ScenarioError, match="only the server knows"):
        scenario.parse("made", document, {})
    with pytest.raises(scenario.ScenarioError, match=r"live\.shapes\[0\]: mmr: not of live"):
        scenario.parse("made", {"live": {"shapes": [{"mmr": {"lambda": 1}}]}}, {})
    with pytest.raises(scenario.ScenarioError, match=r"add\.shapes\[0\]: only of search and live"):
        scenario.parse("made", {"add": {"shapes": [{}]}}, {})
    with pytest.raises(scenario.ScenarioError, match=r"search\.shapes: must be a list of tables"):
        scenario.parse("made", {"search": {"shapes": ["rank"]}}, {})
