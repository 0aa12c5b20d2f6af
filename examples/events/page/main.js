/** Two streams of server-sent events, and what they say. */

import { api, collection } from "/server.js";

const SIDE = 8;
const FULL_INK = 16;
/** A vertical stroke: a one. */
const ASKED = Array.from({ length: SIDE * SIDE }, (_, i) => ([3, 4].includes(i % SIDE) ? FULL_INK : 0));

const find = (id) => document.getElementById(id);

function open(kind, fields) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) query.set(name, JSON.stringify(value));
  const source = new EventSource(`${api}/v1/collections/${collection}/${kind}?${query}`);
  source.addEventListener("open", () => say("open", "connected"));
  // It comes back by itself, but not behind a status other than 200: 204, or a refusal.
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) say("closed", "ended");
    else say("waiting", "reconnecting");
  });
  return source;
}

function say(state, text) {
  Object.assign(find("state"), { textContent: text }).dataset.state = state;
}

function draw(canvas, vector) {
  const most = Math.max(...vector);
  const image = new ImageData(SIDE, SIDE);
  vector.forEach((ink, i) => image.data.set([22, 32, 44, (255 * Math.max(ink, 0)) / most], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// -- live -----------------------------------------------------------------------------------------

const rows = new Map();

function show(version) {
  const sorted = [...rows.values()].sort((a, b) => b.score - a.score || b.seq - a.seq);
  find("nearest").replaceChildren(
    ...sorted.map((row) => {
      const item = document.createElement("li");
      const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `a ${row.metadata.digit}, ${row.score.toFixed(3)}`);
      draw(canvas, row.vector);
      item.append(canvas);
      return item;
    }),
  );
  find("version").value = version;
}

const live = open("live", { vector: ASKED, k: 8, include: ["metadata", "vector"], every: 250 });
live.addEventListener("snapshot", ({ data }) => {
  const { version, results } = JSON.parse(data);
  rows.clear();
  for (const row of results) rows.set(row.seq, row);
  show(version);
});
live.addEventListener("live", ({ data }) => {
  const { version, leave, enter } = JSON.parse(data);
  for (const { seq } of leave) rows.delete(seq);
  for (const row of enter) rows.set(row.seq, row);
  show(version);
});

// -- feed -----------------------------------------------------------------------------------------

const counts = Array(10).fill(0);
let missed = 0;

const feed = open("feed", { include: ["metadata"] });
feed.addEventListener("feed", ({ data }) => {
  for (const { metadata } of JSON.parse(data).rows) counts[metadata.digit] += 1;
  find("rows").value = counts.reduce((sum, count) => sum + count).toLocaleString();
  find("labels").replaceChildren(
    ...counts.map((count, digit) => {
      const item = document.createElement("li");
      item.innerHTML = `<b>${digit}</b>${count.toLocaleString()}`;
      return item;
    }),
  );
});
feed.addEventListener("gap", ({ data }) => {
  const gap = JSON.parse(data);
  missed += gap.to_seq - gap.from_seq + 1;
  find("missed").value = missed.toLocaleString();
});

draw(find("asked"), ASKED);
