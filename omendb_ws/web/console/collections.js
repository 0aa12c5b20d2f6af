/** The table of collections: found by `list` now and then, their numbers by subscription. */

import { bytes, seconds, short, whole } from "./numbers.js";

const LOOK_MS = 3000;
/** Each watched collection is one subscription. */
const MOST_WATCHED = 100;

/**
 * Fills `section`; `pick(name)` is called when one is chosen, and with null when that one is gone.
 * `evictions()`: a second, of all. `isEmpty()`: whether there is none.
 */
export function collections(db, section, address, pick) {
  const body = section.querySelector("tbody");
  const table = section.querySelector(".scroll");
  const empty = section.querySelector(".empty");
  const problem = section.querySelector(".problem");
  const rows = new Map();
  let picked = null;
  empty.querySelector("code").textContent =
    `omendb-ws create items --dim 128 --capacity 100000 --url ${address}`;

  function choose(name) {
    picked = name;
    for (const [other, { button }] of rows) {
      if (other === name) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    pick(name);
  }

  function showWhichThereAre() {
    table.hidden = rows.size === 0;
    empty.hidden = rows.size > 0;
  }

  function add(name) {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    line.append(head);
    const cells = Array.from({ length: 8 }, () => line.insertCell());
    const button = document.createElement("button");
    button.textContent = button.title = name;
    button.addEventListener("click", () => choose(name));
    const meter = document.createElement("meter");
    meter.setAttribute("aria-label", `fill of ${name}`);
    head.append(button);
    cells[0].append(meter);
    const row = { line, cells, button, meter, stats: null };
    body.append(line);
    rows.set(name, row);
    row.watch = db.watchStats(name, { every: 1000 });
    row.watch.addEventListener("data", ({ detail }) => show(row, detail));
    row.watch.addEventListener("state", ({ detail }) => detail === "ended" && remove(name));
  }

  function remove(name) {
    // A client that is closed ends everything; what was seen last stays to be read.
    if (db.state === "closed") return;
    rows.get(name)?.line.remove();
    rows.delete(name);
    showWhichThereAre();
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
    ].forEach((text, place) => { row.cells[place + 1].textContent = text; });
  }

  function found(all) {
    all.slice(0, MOST_WATCHED).forEach(({ collection }) => rows.has(collection) || add(collection));
    const more = all.length - rows.size;
    section.querySelector(".more").textContent = more > 0 ? `And ${more} more, which are not watched.` : "";
    showWhichThereAre();
    problem.textContent = "";
    if (picked !== null || !rows.size) return;
    const full = all.find(({ collection, rows: count }) => count > 0 && rows.has(collection));
    choose(full?.collection ?? rows.keys().next().value);
  }

  async function look() {
    try {
      found(await db.list());
    } catch (error) {
      // Not connected: the state above says so.
      if (error.code !== "connection_lost" && db.state !== "closed") problem.textContent = error.message;
    }
    if (db.state !== "closed") setTimeout(look, LOOK_MS);
  }

  look();
  // After a reconnect the server may have others.
  db.addEventListener("state", () => db.state === "open" && db.list().then(found, () => {}));
  const evictions = () =>
    [...rows.values()].reduce((sum, { stats }) => sum + (stats?.evictions_per_s ?? 0), 0);
  return { evictions, isEmpty: () => rows.size === 0 };
}
