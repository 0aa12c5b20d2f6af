"""Live queries as widgets, what the page draws of them, and the notebook in examples/."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import omendb_ws.notebook
from omendb_ws import errors, sync
from tests.patience import PATIENCE_SECONDS, UNHURRIED, wait_until
from tests.project.pages import ROOT

SCRIPT = Path(omendb_ws.notebook.__file__).parent / "live.js"


@pytest.fixture(scope="module")
def db() -> Iterator[sync.Client]:
    with sync.connect("memory://", server_settings=UNHURRIED) as db:
        yield db


@pytest.fixture
def items(db: sync.Client) -> Iterator[str]:
    db.create("items", dim=2, capacity=10, ids="str", metric="dot")
    db.add("items", np.eye(2), ["a", "b"], [{"name": "<b>"}, {}])
    yield "items"
    db.drop("items")


def test_a_widget_shows_the_answer_of_now_until_it_is_closed(db: sync.Client, items: str) -> None:
    pytest.importorskip("anywidget", reason="anywidget is not installed: make test-integrations")
    widget = omendb_ws.notebook.live(db, items, [1, 0], k=2, every_ms=0)
    wait_until(lambda: widget.shown.get("state") == "live")
    assert widget.shown["names"] == ["id", "score", "name"]
    assert widget.shown["rows"] == [["a", "1", "<b>"], ["b", "0", ""]]
    assert widget.shown["entered"] == [True, True]
    db.add(items, [[2, 0]], ["c"], [{"n": 5}])
    wait_until(lambda: widget.shown["rows"][0][0] == "c")
    assert widget.shown["entered"] == [True, False]
    assert widget.answer is not None
    assert widget.answer.ids == ["c", "a"]
    widget.move([0, 1])
    wait_until(lambda: widget.shown["rows"][0][0] == "b")
    widget.close()
    assert widget.shown["state"] == "ended"


def test_a_widget_says_that_its_collection_was_dropped(db: sync.Client) -> None:
    pytest.importorskip("anywidget", reason="anywidget is not installed: make test-integrations")
    db.create("gone", dim=2, capacity=10)
    widget = omendb_ws.notebook.live(db, "gone", [1, 0])
    db.drop("gone")
    wait_until(lambda: widget.shown.get("state") == "ended")
    widget.close()


def test_without_anywidget_the_extra_is_named(
    db: sync.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.import_module

    def without(wanted: str, package: str | None = None) -> Any:
        if wanted == "anywidget":
            raise ModuleNotFoundError("No module named 'anywidget'", name="anywidget")
        return there(wanted, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(errors.Unsupported, match="needs the extra notebook: "):
        omendb_ws.notebook.live(db, "items", [1, 0])


#: As much of a page as the module needs.
PAGE = """
class Element {
  constructor(kind) { this.kind = kind; this.children = []; this.style = ""; }
  append(...more) { this.children.push(...more); }
  replaceChildren(...all) { this.children = all; }
  setAttribute(name, value) { this[name] = value; }
}
globalThis.document = { createElement: (kind) => new Element(kind) };
const told = [];
const model = {
  shown: {}, get: () => model.shown,
  on: (name, draw) => told.push(draw), off: (name, draw) => told.splice(told.indexOf(draw), 1),
};
const { default: widget } = await import(process.argv[1]);
const el = new Element("div");
const leave = widget.render({ model, el });
const before = el.children.length;
model.shown = JSON.parse(process.argv[2]);
told.forEach((draw) => draw());
leave();
const said = (one) => [one.kind, one.textContent ?? one.children.map(said), one.style !== ""];
console.log(JSON.stringify([before, told.length, el.children.map(said)]));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_page_draws_texts_as_texts_and_what_has_come_stands_out() -> None:
    shown = {
        "collection": "items", "state": "live", "version": "7", "names": ["id"],
        "rows": [["<b>"], ["old"]], "entered": [True, False],
    }  # fmt: skip
    done = subprocess.run(
        ["node", "--input-type=module", "-e", PAGE, SCRIPT.as_uri(), json.dumps(shown)],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [
        ["caption", "items, version 7: live", False],
        ["tr", [["th", "id", False]], False],
        ["tr", [["td", "<b>", False]], True],
        ["tr", [["td", "old", False]], False],
    ]
    assert json.loads(done.stdout) == [0, 0, [["table", rows, True]]]


def test_the_notebook_runs(tmp_path: Path) -> None:
    reason = "nbclient is not installed: make test-integrations"
    nbformat = pytest.importorskip("nbformat", reason=reason)
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("anywidget", reason=reason)
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=PATIENCE_SECONDS, kernel_name="python3").execute(
        cwd=str(tmp_path)
    )
    outputs = [one for cell in notebook.cells if cell.cell_type == "code" for one in cell.outputs]
    shown = {kind for one in outputs for kind in one.get("data", {})}
    assert {"text/html", "application/vnd.jupyter.widget-view+json"} <= shown


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * len(code)
