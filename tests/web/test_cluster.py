"""``cluster.js`` in Node: what operators of a cluster are told, and have done."""

from __future__ import annotations

import json
from pathlib import Path

from omendb_ws.wire.op_table import CLUSTER
from tests.nats import nats_server
from tests.server.cluster.nodes import node
from tests.server.cluster.test_several_nodes import knows

from .runtimes import CLIENT, Node

MODULE = CLIENT.parent / "cluster.js"


async def test_operators_are_told_who_is_there_and_say_what_moves(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as nats:
        async with node(nats, "one") as one, node(nats, "two"), Node.started() as page:
            await knows(one, "one", "two")
            told = await page.run(f"""
              const ops = await import({MODULE.as_uri()!r});
              const db = await connect({json.dumps(one.url)});
              await db.create("items", {{ dim: 2, capacity: 10 }});
              const found = await ops.cluster(db);
              const watch = ops.watchCluster(db, {{ every: 100 }});
              let pushed;
              for await (pushed of watch) if (pushed.places.length) break;
              const refused = async (work) => (await work.catch((error) => error)).message;
              const said = {{
                nodes: found.nodes.map((one) => [one.node, one.state]),
                nats: found.nats.length,
                pushed: [Object.keys(pushed), pushed.places[0].collection, watch.reason],
                owner: await ops.moveOwner(db, "items", "two"),
                drawn: typeof await ops.moveOwner(db, "items"),
                left: typeof await ops.evacuate(db, "two"),
                stays: typeof await ops.evacuate(db, "two", {{ state: "up" }}),
                wrong: [
                  await refused(ops.moveOwner(db, "items", "nobody")),
                  await refused(ops.evacuate(db, "nobody")),
                  await refused(ops.heal(db, "items")),
                ],
              }};
              db.close();
              return said;
            """)
    wrong = [message.split(":")[:2] for message in told.pop("wrong")]
    assert wrong == [["bad_request", one] for one in (" to", " node", " collection")]
    assert told == {
        "nodes": [["one", "up"], ["two", "up"]],
        "nats": 1,
        "pushed": [list(CLUSTER), "items", "left"],
        "owner": "one",
        "drawn": "string",
        "left": "number",
        "stays": "number",
    }
