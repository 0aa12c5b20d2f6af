/** The table of collections: found by `list` now and then, their numbers by subscription. */

import { bytes, seconds, short, whole } from "./numbers.js";

const LOOK_MS = 3000;
/** Each watched collection is one subscription. */
const MOST_WATCHED = 100;

/** Fills `section`; `pick(name)` is called when one is chosen. `evictions()`: a second, of all. */
export function collections(db, section, pick) {
  const body = section.querySelector("tbody");
  const empty = section.querySelector(".empty");
  const rows = new Map();
  let picked = null;

  function choose(name) {
    picked = name;
    for (const [other, { line }] of rows) line.setAttribute("aria-selected", String(other === name));
    pick(name);
  }

  function add(name) {
    const line = document.createElement("tr");
    const cells = Array.from({ length: 9 }, () => line.insertCell());
    const button = document.createElement("button");
    button.textContent = name;
    button.addEventListener("click", () => choose(name));
    const meter = document.createElement("meter");
    meter.setAttribute("aria-label", `fill of ${name}`);
    cells[0].append(button);
    cells[1].append(meter);
    const row = { line, cells, meter, stats: null };
    body.append(line);
    rows.set(name, row);
    row.watch = db.watchStats(name, { every: 1000 });
    row.watch.addEventListener("data", ({ detail }) => show(row, detail));
    row.watch.addEventListener("state", ({ detail }) => detail === "ended" && remove(name));
  }

  function remove(name) {
    rows.get(name)?.line.remove();
    rows.delete(name);
    empty.hidden = rows.size > 0;
    if (picked === name) {
      picked = null;
      pick(null);
    }
  }

  function show(row, stats) {
    row.stats = stats;
    row.meter.max = stats.capacity;
    row.meter.value = stats.rows;
    [
      `${whole(stats.rows)} × ${stats.dim}`, seconds(stats.oldest_age_s), short(stats.adds_per_s),
      short(stats.searches_per_s), short(stats.pushes_per_s), short(stats.evictions_per_s),
      bytes(stats.bytes),
    ].forEach((text, place) => { row.cells[place + 2].textContent = text; });
  }

  async function look() {
    try {
      const found = await db.list();
      found.slice(0, MOST_WATCHED).forEach(({ collection }) => rows.has(collection) || add(collection));
      empty.hidden = rows.size > 0;
      if (picked === null && rows.size) choose(rows.keys().next().value);
    } catch {
      // Not connected, or not allowed: the state above says so.
    }
    if (db.state !== "closed") setTimeout(look, LOOK_MS);
  }

  look();
  const evictions = () =>
    [...rows.values()].reduce((sum, { stats }) => sum + (stats?.evictions_per_s ?? 0), 0);
  return { evictions };
}
