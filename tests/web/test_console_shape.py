"""The console's controls for what shapes a query: what they ask, what they say, how they look."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omendb_ws.net.server import Server

from ..server.raw import Raw, client
from .runtimes import Page
from .test_console import filled, home, page, text

__all__ = ["page"]

FIELDS = {
    "half_life": "halfLife", "column": "timeColumn", "by": "groupBy", "size": "groupSize",
    "max_similarity": "spread",
}  # fmt: skip


async def opened(page: Page, server: Server) -> None:
    await page.open(home(server))
    await page.until(f"{text('#map-about')}.startsWith('300 rows')")
    await page.until("document.querySelectorAll('#query [name=groupBy] option').length === 2")


async def ask(page: Page, **typed: str) -> None:
    """Type this into the controls, the others empty, and watch."""
    values = {"vector": "1, 0, 0", **typed}
    await page.run(f"""
      const form = document.querySelector("#query form");
      form.reset();
      for (const [name, value] of Object.entries({json.dumps(values)})) {{
        form.elements[name].value = value;
        form.elements[name].dispatchEvent(new Event("input", {{ bubbles: true }}));
      }}
      form.requestSubmit();
    """)


async def expected_ids(raw: Raw, shape: dict[str, Any]) -> str:
    asked = {"collection": "items", "vector": [1, 0, 0], "k": 10, **shape}
    return ",".join(str(row["id"]) for row in (await raw.ok("search", **asked))["results"])


SHOWN = "[...document.querySelectorAll('#query tbody tr')]"
#: The ids that are shown, with or without ranks before them.
SHOWN_IDS = f"{SHOWN}.map((row) => row.cells[row.cells.length - 3].textContent).join()"


@pytest.mark.parametrize(
    "shape",
    [
        {"decay": {"half_life": 0.5, "column": "price"}},
        {"decay": {"half_life": 3600}},
        {"group": {"by": "price"}},
        {"group": {"by": "price", "size": 2}},
        {"spread": {"max_similarity": 0.75}},
        {"rank": {"$mul": ["$score", {"$default": ["price", 1]}]}},
    ],
    ids=json.dumps,
)
async def test_each_shape_can_be_asked_for_and_holds(
    page: Page, server: Server, shape: dict[str, Any]
) -> None:
    async with client(server) as raw:
        await filled(raw)
        await opened(page, server)
        if "rank" in shape:
            typed = {"rank": json.dumps(shape["rank"])}
        else:
            (members,) = shape.values()
            typed = {FIELDS[name]: str(value) for name, value in members.items()}
        await ask(page, **typed)
        ids = await expected_ids(raw, shape)
        assert ids != await expected_ids(raw, {}) or shape == {"decay": {"half_life": 3600}}
        await page.until(f"{SHOWN_IDS} === {ids!r}")
        is_ranked = "decay" in shape or "rank" in shape
        assert await page.run("return !document.querySelector('#query th.rank').hidden") == (
            is_ranked
        )
        assert await page.run(f"return {SHOWN}[0].cells.length") == (5 if is_ranked else 4)
        said = await page.run(f"return {text('#query summary')}")
        assert said == f"Shape the order: {next(iter(shape))}"
        best = {"id": 999, "vector": [1, 0, 0], "metadata": {"price": 50}}
        await raw.ok("add", collection="items", rows=[best])
        ids = await expected_ids(raw, shape)
        assert ids.startswith("999,")
        await page.until(f"{SHOWN_IDS} === {ids!r}")


async def test_ranks_are_shown_and_are_none_where_a_row_has_none(
    page: Page, server: Server
) -> None:
    async with client(server) as raw:
        await filled(raw)
        await raw.ok("update", collection="items", rows=[{"id": 5, "metadata": {}}])
        await opened(page, server)
        await ask(
            page, vector="id 5", filter='{"$not": {"price": {"$gt": 0}}}',
            halfLife="2", timeColumn="price", k="300",
        )  # fmt: skip
        await page.until(f"{SHOWN}.at(-1)?.cells[1].textContent === '–'")
        shown = await page.run(f"return {SHOWN}.map((row) => Number(row.cells[1].textContent))")
        ranked = [rank for rank in shown if rank is not None]
        assert ranked
        assert ranked == sorted(ranked, reverse=True)
        without = await page.run(f"return {SHOWN}[{len(ranked)}].cells[2].textContent")
        assert without == "5"


async def test_ids_are_left_out_numbers_and_texts(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await filled(raw)
        await opened(page, server)
        ids = (await expected_ids(raw, {})).split(",")
        await ask(page, exclude=f"{ids[0]}, {ids[2]},12345 , {2**64 - 1}")
        wanted = await expected_ids(raw, {"exclude": [int(ids[0]), int(ids[2])]})
        await page.until(f"{SHOWN_IDS} === {wanted!r}")
        await raw.create("texts", dim=3, capacity=10, ids="str")
        rows = [{"id": name, "vector": [1, 0, 0]} for name in ("17", "a, b", "c")]
        await raw.ok("add", collection="texts", rows=rows)
        await page.until("document.querySelectorAll('#collections tbody button').length === 2")
        await page.run(
            "[...document.querySelectorAll('#collections button')]"
            ".find((one) => one.textContent === 'texts').click()"
        )
        await page.until("document.querySelectorAll('#query [name=groupBy] option').length === 1")
        await ask(page, exclude="17")
        await page.until(f"{SHOWN_IDS} === 'c,a, b'")
        await ask(page, exclude='["a, b"]')
        await page.until(f"{SHOWN_IDS} === 'c,17'")


FAULTS: list[tuple[dict[str, str], str, str]] = [
    ({"halfLife": "soon"}, "halfLife", "bad_request: decay.half_life: "),
    ({"halfLife": "0"}, "halfLife", "bad_request: decay.half_life: "),
    ({"halfLife": "1e999"}, "halfLife", "bad_request: decay.half_life: "),
    ({"timeColumn": "price"}, "halfLife", "bad_request: decay.half_life: missing"),
    ({"halfLife": "5", "rank": "1"}, "halfLife", "bad_request: decay: "),
    ({"groupSize": "2"}, "groupBy", "bad_request: group.by: missing"),
    ({"groupSize": "none", "groupBy": "price"}, "groupSize", "bad_request: group.size: "),
    ({"spread": "near"}, "spread", "bad_request: spread.max_similarity: "),
    ({"rank": "$score"}, "rank", "The rank is no JSON."),
    ({"rank": '{"$neg": "none"}'}, "rank", "bad_rank: rank.$neg: "),
    ({"rank": '{"$add": [1, "$age"]}'}, "rank", "bad_rank: rank.$add[1]"),
    ({"exclude": "17, x"}, "exclude", "bad_id: exclude"),
    ({"exclude": "[17, 1.5]"}, "exclude", "bad_id: exclude[1]"),
    ({"exclude": "[17"}, "exclude", "The list of ids is no JSON."),
    ({"filter": '{"none": 1}'}, "filter", "bad_filter: filter.none: "),
    ({"vector": "1, 2"}, "vector", "The vector has 2 numbers"),
]


@pytest.mark.parametrize("width", [1280, 390])
async def test_what_is_wrong_is_said_at_its_control(page: Page, server: Server, width: int) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.look(width=width, height=800, dark=False, phone=width < 500)
        await opened(page, server)
        for typed, name, said in FAULTS:
            await page.run("document.querySelector('#query details').open = false")
            await ask(page, **typed)
            await page.until(f"{text('#query .problem')}.startsWith({said!r})")
            found = await page.run("""
              const problem = document.querySelector("#query .problem");
              const faulty = [...document.querySelectorAll("#query [aria-invalid]")];
              return {
                names: faulty.map(({ name }) => name),
                isDescribed: faulty[0].getAttribute("aria-describedby") === problem.id,
                isNext: faulty[0].closest("label").nextElementSibling === problem,
                isShown: problem.checkVisibility() && faulty[0].checkVisibility(),
                wide: document.documentElement.scrollWidth,
              };
            """)
            wide = found.pop("wide")
            assert wide <= width
            assert found == {
                "names": [name], "isDescribed": True, "isNext": True, "isShown": True,
            }, typed  # fmt: skip
        await ask(page, groupBy="price")
        await page.until(f"{SHOWN}.length === 7")
        assert await page.run(f"return {text('#query .problem')}") == ""
        assert await page.run("return document.querySelectorAll('[aria-invalid]').length") == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
async def test_the_controls_fit_their_window(
    page: Page, server: Server, width: int, dark: bool
) -> None:
    async with client(server) as raw:
        await filled(raw)
        await page.look(width=width, height=1000, dark=dark, phone=width < 500)
        await opened(page, server)
        await ask(page, halfLife="5", timeColumn="price", groupBy="price")
        await page.until(f"{SHOWN}.length === 7")
        await page.run("document.querySelector('#query details').open = true")
        found = await page.run("""
          const form = document.querySelector("#query form").getBoundingClientRect();
          const controls = [...document.querySelectorAll("#query input, #query select, textarea")];
          const boxes = controls.map((one) => one.getBoundingClientRect());
          return {
            wide: document.documentElement.scrollWidth,
            inside: boxes.every(({ left, right }) => left >= form.left && right <= form.right + 1),
            narrowest: Math.min(...boxes.map((box) => box.width)),
          };
        """)
    assert found["wide"] <= width
    assert found["inside"]
    assert found["narrowest"] >= 70


async def test_the_controls_can_be_reached_and_used_by_keyboard(page: Page, server: Server) -> None:
    async with client(server) as raw:
        await filled(raw)
        await opened(page, server)
        await page.run("document.querySelector('#query [name=k]').focus()")
        await page.press("Tab")
        assert await page.run("return document.activeElement.localName") == "summary"
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        await page.call("Input.dispatchKeyEvent", type="keyDown", **enter)
        await page.until("document.querySelector('#query details').open")
        reached = []
        for _ in range(7):
            await page.press("Tab")
            reached.append(await page.run("return document.activeElement.name"))
        assert await page.nameless({"textbox", "combobox"}) == []
    assert reached == [
        "halfLife", "timeColumn", "groupSize", "groupBy", "spread", "exclude", "rank",
    ]  # fmt: skip
