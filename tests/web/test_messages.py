"""``client.js`` and messages that say what it does not know, cannot read, or cannot place."""

from __future__ import annotations

import pytest

from .runtimes import Node


@pytest.mark.parametrize(
    "message", ['"{"', '"null"', "new ArrayBuffer(5)", "new ArrayBuffer(32)", "truncated"]
)
async def test_what_cannot_be_read_ends_that_connection_only(node: Node, message: str) -> None:
    told = await node.run(f"""
      const db = await open();
      const truncated = results(1).slice(0, 40);
      sockets[0].say({message});
      await db.ping();
      db.close();
      return sockets.length;
    """)
    assert told == 2


async def test_what_is_not_known_is_passed_over(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      const live = db.live("items", [1, 0]);
      const log = watched(live);
      await when(() => live.answer);
      const [socket] = sockets;
      socket.say({ event: "news", from: "the future" });
      socket.say({ event: "news", sub: 3 });
      socket.say({ id: 4000, ok: {} });
      socket.say(encodeFrame({ kind: 99, id: 3, n: 0, sections: [] }));
      const left = [BigUint64Array.of(2n), BigUint64Array.of(77n), new Uint8Array(1)];
      socket.say(encodeFrame({ kind: 5, id: 3, n: 0, k: 1, sections: left }));
      const version = live.answer.version;
      await db.ping();
      db.close();
      return { version, sockets: sockets.length, data: log.data.length };
    """)
    assert told == {"version": 2, "sockets": 1, "data": 2}


async def test_an_error_event_does_not_stick_to_the_connection(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      Scripted.answer = (_, socket) => socket === sockets[0] ? "nothing" : undefined;
      sockets[0].say({ event: "error", code: "bad_request", message: "no id" });
      const ping = code(db.ping());
      await turn();
      sockets[0].drop();
      const told = await ping;
      db.close();
      return told;
    """)
    assert told is None


async def test_an_error_that_names_no_request_reaches_the_one_that_it_can_be(node: Node) -> None:
    told = await node.run("""
      Scripted.answer = ({ op }) => ["delete", 3].includes(op) ? "nothing" : undefined;
      const db = await open();
      const heard = [];
      db.addEventListener("error", ({ detail }) => heard.push(detail.code));
      const other = code(db.search("items", [1, 0]));
      const call = said(db.delete("items", [1]));
      await when(() => sockets[0].asked.length > 2);
      sockets[0].say({ event: "error", code: "bad_request", message: "no JSON" });
      const told = { call: await call, heard, sockets: sockets.length };
      await db.ping();
      Scripted.answer = ({ op, id }) => op === 3 ? results(id) : undefined;
      sockets[0].drop();
      told.other = await other;
      db.close();
      return told;
    """)
    assert told == {
        "call": "bad_request: no JSON", "heard": ["bad_request"], "sockets": 1, "other": None,
    }  # fmt: skip


async def test_where_it_may_be_one_of_several_all_learn_that_nobody_knows(node: Node) -> None:
    """Also reads: asked again together, they would fail together for ever."""
    told = await node.run("""
      const late = {};
      Scripted.answer = ({ op, id }) => op === "open" ? undefined : ((late[op] = id), "nothing");
      const db = await open();
      const feed = db.feed("items");
      const calls = [said(db.delete("items", [1])), said(db.count("items"))];
      await when(() => Object.keys(late).length === 3);
      sockets[0].say({ event: "error", code: "bad_request", message: "no JSON" });
      const told = { calls: await Promise.all(calls), feed: feed.error?.code };
      Scripted.answer = () => {};
      sockets[0].say({ id: late.subscribe, ok: { sub: 7, epoch: "e", to_seq: 0 } });
      await db.ping();
      told.held = [...feed.link?.subs.keys() ?? []];
      told.ended = sockets[0].asked.filter(({ op }) => op === "unsubscribe").map(({ sub }) => sub);
      const alone = said(db.count("items"));
      db.close();
      return told;
    """)
    assert [one.startswith("connection_lost: ") and "no JSON" in one for one in told["calls"]] == [
        True, True,
    ]  # fmt: skip
    assert (told["feed"], told["held"], told["ended"]) == ("connection_lost", [], [7])


async def test_what_is_too_large_is_refused_before_it_is_sent(node: Node) -> None:
    told = await node.run("""
      const db = await open();
      const codes = [
        await code(db.delete("items", Array(900).fill("é"))),
        await code(db.search("items", new Float32Array(2000))),
        await code(db.add("items", [[1, 2]], { metadata: [{ text: "x".repeat(5000) }] })),
      ];
      const metadata = Array.from({ length: 20 }, () => ({ text: "x".repeat(1000) }));
      const added = await code(db.add("items", new Float32Array(40), { metadata }));
      const rows = sockets[0].asked.filter(({ op }) => op === 1).map(({ n }) => n);
      db.close();
      return { codes, added, rows, sockets: sockets.length };
    """)
    assert told["codes"] == ["too_large"] * 3
    assert (told["added"], told["sockets"]) == (None, 1)
    assert sum(told["rows"]) == 20
