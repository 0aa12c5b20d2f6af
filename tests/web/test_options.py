"""Options of ``client.js``: one that there is not is refused, under its name, in every call."""

from __future__ import annotations

import pytest

from .runtimes import Node

#: Every call that takes options: with one misspelt, and what it is called then.
CALLS = {
    "db.ping({ timeout: 5 })": "timeout",
    "db.list({ timeOutMs: 5 })": "timeOutMs",
    "db.describe('items', { failfast: true })": "failfast",
    "db.create('items', { dim: 2, capcity: 5 })": "capcity",
    "db.create('items', { dim: 2, capacity: 5, id: 7 })": "id",
    "db.create('items', { dim: 2, capacity: 5, collection: 'other' })": "collection",
    "db.create('items', { dim: 2, capacity: 5 }, { repeat: true })": "repeat",
    "db.drop('items', { repeat: true })": "repeat",
    "db.delete('items', [1], { abort: null })": "abort",
    "db.update('items', [], { signall: null })": "signall",
    "db.get('items', [1], { includes: ['vector'] })": "includes",
    "db.count('items', { filtre: {} })": "filtre",
    "db.count('items', { by: 'a', limits: 5 })": "limits",
    "db.watchCount('items', { by: 'a', every_ms: 500 })": "every_ms",
    "db.watchCount('items', { timeoutMs: 5 })": "timeoutMs",
    "db.stats('items', { every: 5 })": "every",
    "db.stats(null, { every: 5 })": "every",
    "db.search('items', [1, 0], { filtre: {} })": "filtre",
    "db.search('items', [[1, 0]], { min_score: 1 })": "min_score",
    "db.search('items', null, { like: 1, limit: 5 })": "limit",
    "db.search('items', [1, 0], { filter: {}, Filter: undefined })": "Filter",
    "db.search('items', [1, 0], { ['__proto__']: 1 })": "__proto__",
    "db.add('items', [[1, 0]], { id: [1] })": "id",
    "db.add('items', [[1, 0]], { metaData: [{}] })": "metaData",
    "db.live('items', [1, 0], { filtre: {} })": "filtre",
    "db.live('items', [1, 0], { timeoutMs: 5 })": "timeoutMs",
    "db.match('items', [1, 0], 0.5, { last: 5 })": "last",
    "db.match('items', [1, 0], 0.5, { minScore: 5 })": "minScore",
    "db.feed('items', { from_seq: 1 })": "from_seq",
    "db.watchStats('items', { every_ms: 5 })": "every_ms",
    "db.map('items', { samples: 5 })": "samples",
    "open({ tokn: 'x' })": "tokn",
    "open({ timeout: 5 })": "timeout",
}


@pytest.mark.parametrize("call", CALLS)
async def test_an_option_that_there_is_not_is_refused_by_name(node: Node, call: str) -> None:
    told = await node.run(f"""
      const db = await open();
      let error;
      try {{ await {call}; }} catch (caught) {{ error = caught; }}
      const {{ size }} = db.subscriptions;
      const sent = sockets.flatMap(({{ asked }}) => asked).length;
      db.close();
      return {{ code: error?.code, said: error?.message, size, sent }};
    """)
    assert told["code"] == "bad_request", told
    assert told["said"].startswith(f"bad_request: {CALLS[call]}: there is no such option"), told
    assert (told["size"], told["sent"]) == (0, 0)


@pytest.mark.parametrize("options", ["5", "'k'", "true", "() => 1", "[]", "Symbol()"])
async def test_options_that_are_no_object_are_refused(node: Node, options: str) -> None:
    """A number in the place of options is meant for ``k``, and would be passed over."""
    told = await node.run(f"""
      const db = await open();
      const calls = [
        () => db.search("items", [1, 0], {options}), () => db.live("items", [1, 0], {options}),
        () => db.ping({options}), () => connect("ws://nowhere", {options}),
        () => db.create("items", {options}), () => db.add("items", [[1, 0]], {options}),
      ];
      const said = [];
      for (const call of calls) {{
        try {{ await call(); said.push(null); }} catch (error) {{ said.push(error.message); }}
      }}
      db.close();
      return said;
    """)
    assert [one.startswith("bad_request: options: must be an object") for one in told] == [True] * 6


async def test_options_that_there_are_pass(node: Node) -> None:
    """Of objects of any kind, and null where there are none."""
    told = await node.run("""
      Scripted.answer = ({ op, id }) => op === 3 ? results(id) : undefined;
      const db = await open();
      class Options { k = 3; filter = { a: 1 }; }
      const options = [null, undefined, {}, Object.create(null), new Options(), { k: undefined }];
      const asked = [];
      for (const one of options) asked.push(await code(db.search("items", [1, 0], one)));
      await db.ping(null);
      const { n } = sockets[0].asked.findLast(({ filter }) => filter);
      db.close();
      return { asked, n };
    """)
    assert told == {"asked": [None] * 6, "n": 1}
