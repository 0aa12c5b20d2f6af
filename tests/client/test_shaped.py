"""What only the asyncio client can show of searches whose answer is shaped."""

from __future__ import annotations

import asyncio
import inspect

import numpy as np
from omendb_core.ranking import shape_parser

import omendb_ws
from omendb_ws.cli.shaping import Shaping as Options
from omendb_ws.client.given import Shaping
from omendb_ws.wire.opcodes import EXAMPLES, OPS


def test_everything_that_shapes_an_answer_is_in_every_list_of_it() -> None:
    fields = [one.name for one in OPS["search"].fields]
    examples = {one.name for one in EXAMPLES}
    shaping = set(fields[fields.index("exclude") : fields.index("min_version")])
    assert set(Shaping.__annotations__) == shaping
    assert set(shape_parser.FIELDS) == shaping - {"exclude", "at"}
    assert shaping | examples <= set(inspect.signature(omendb_ws.Client.search).parameters)
    options = Options(*(["1"], ["2"], ["3"]), 5.0, "time", "$score", "kind", 2, 0.9, 0.5, 20, 1.0)
    assert set(options.arguments("u64")) == shaping | examples


async def test_arrays_may_change_once_a_search_has_begun() -> None:
    async with omendb_ws.connect("memory://") as db:
        await db.create("items", dim=2, capacity=10, metric="dot", ids="u64")
        await db.add("items", [[3, 0], [2, 0], [1, 0]], ids=[1, 2, 3])
        example, exclude = np.array([1.0, 0.0], np.float32), [1]
        call = asyncio.ensure_future(db.search("items", positive=[example], exclude=exclude))
        await asyncio.sleep(0)
        example[:], exclude[:] = -1, [2]
        answer = await call
        assert list(answer.ids) == [2, 3]
