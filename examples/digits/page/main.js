/** Draw a digit: strokes become a vector, the vector moves a live query, its answers are shown. */

import { collection, connect, url } from "/server.js";
import { Figures } from "./figures.js";
import { Paper } from "./paper.js";
import { samples } from "./samples.js";
import { paint, View } from "./view.js";

const NEIGHBOURS = 16;
const SAMPLE_MS = 500;
const find = (selector) => document.querySelector(selector);

const db = await connect(url, { timeoutMs: 0 });
const figures = new Figures(find("#figures"));
const view = new View(find("#answer"), find("#neighbours"));
let live = null;

function showState() {
  const state = find("#state");
  state.textContent = { open: "connected", waiting: "reconnecting" }[db.state] ?? db.state;
  state.dataset.state = db.state;
}

const complain = (error) => { find(".problem").textContent = error?.message ?? ""; };

/** A query that stands for the drawing; it begins with the first stroke and ends when cleared. */
function begin(vector) {
  complain(null);
  const query = db.live(collection, vector, { k: NEIGHBOURS, include: ["metadata", "vector"] });
  query.addEventListener("data", ({ detail: answer }) => {
    if (query !== live) return;
    complain(null);
    if (answer.changes) figures.pushed();
    view.show(answer);
  });
  query.addEventListener("state", ({ detail: state }) => {
    if (query === live && state === "ended") complain(query.error ?? new Error(`The query ended: ${query.reason}.`));
  });
  return query;
}

function ask(vector) {
  paint(find("#seen"), vector);
  if (!vector) {
    const ended = live;
    live = null;
    ended?.close();
    view.show(null);
  } else if (!live || live.state === "ended") {
    live = begin(vector);
  } else {
    const query = live;
    const asked = performance.now();
    query.move(vector).then(
      () => figures.moved(performance.now() - asked),
      (error) => query === live && complain(error),
    );
  }
}

const paper = new Paper(find("#paper"), ask);

function offerSamples() {
  const buttons = samples.map((_, digit) => {
    const button = document.createElement("button");
    button.textContent = digit;
    button.setAttribute("aria-label", `Draw a ${digit}`);
    button.addEventListener("click", () => paper.replay(samples[digit], SAMPLE_MS));
    return button;
  });
  find("#samples").replaceChildren(...buttons);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^[0-9]$/.test(event.key)) paper.replay(samples[event.key], SAMPLE_MS);
  else if (["Escape", "Delete", "Backspace"].includes(event.key)) paper.clear();
});
find("#clear").addEventListener("click", () => paper.clear());
db.addEventListener("state", showState);
showState();
offerSamples();
const stats = db.watchStats(collection, { every: 500 });
stats.addEventListener("data", ({ detail }) => figures.window(detail));
