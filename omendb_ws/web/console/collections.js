/** The table of collections: found by `list` now and then, their numbers by subscription. */

import { bytes, seconds, short, whole } from "./numbers.js";

const LOOK_MS = 3000;
/** Each watched collection is one subscription. */
const MOST_WATCHED = 100;

/**
 * Fills `section`; `pick(name)` is called when one is chosen, and with null when that one is gone.
 */
export class Collections {
  constructor(db, section, address, pick) {
    Object.assign(this, { db, section, pick, rows: new Map(), picked: null });
    [this.body, this.foot, this.table, this.empty, this.problem, this.more] =
      ["tbody", "tfoot", ".scroll", ".empty", ".problem", ".more"].map((name) => section.querySelector(name));
    this.empty.querySelector("code").textContent =
      `omendb-ws create items --dim 128 --capacity 100000 --url ${address}`;
    this.look();
    // After a reconnect the server may have others.
    db.addEventListener("state", () =>
      db.state === "open" && this.find().catch(() => {}));
  }

  /** Whether there is none. */
  get isEmpty() {
    return this.rows.size === 0;
  }

  /** A second, of all. */
  get evictions() {
    return [...this.rows.values()].reduce((sum, { stats }) => sum + (stats?.evictions_per_s ?? 0), 0);
  }

  choose(name) {
    this.picked = name;
    for (const [other, { button }] of this.rows) {
      if (other === name) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    this.pick(name);
  }

  showWhichThereAre() {
    this.table.hidden = this.isEmpty && !this.foot.rows.length;
    this.empty.hidden = !this.table.hidden;
  }

  add(name) {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    line.append(head);
    const cells = Array.from({ length: 8 }, () => line.insertCell());
    const button = document.createElement("button");
    button.textContent = button.title = name;
    button.addEventListener("click", () => this.choose(name));
    const meter = document.createElement("meter");
    meter.setAttribute("aria-label", `fill of ${name}`);
    head.append(button);
    cells[0].append(meter);
    const row = { line, cells, button, meter, stats: null };
    this.body.append(line);
    this.rows.set(name, row);
    row.watch = this.db.watchStats(name, { every: 1000 });
    row.watch.addEventListener("data", ({ detail }) => this.show(row, detail));
    row.watch.addEventListener("state", ({ detail }) => detail === "ended" && this.remove(name));
  }

  remove(name) {
    // A client that is closed ends everything; what was seen last stays to be read.
    if (this.db.state === "closed") return;
    this.rows.get(name)?.line.remove();
    this.rows.delete(name);
    this.showWhichThereAre();
    if (this.picked === name) {
      this.picked = null;
      this.pick(null);
    }
  }

  show(row, stats) {
    row.stats = stats;
    row.meter.max = stats.capacity;
    row.meter.value = stats.rows;
    [
      `${whole(stats.rows)} × ${stats.dim}`, seconds(stats.oldest_age_s), short(stats.adds_per_s),
      short(stats.searches_per_s), short(stats.pushes_per_s), short(stats.evictions_per_s),
      bytes(stats.bytes),
    ].forEach((text, place) => { row.cells[place + 1].textContent = text; });
  }

  /** Those that cannot be used stand below the others, with the reason. */
  lack(unavailable) {
    this.foot.replaceChildren(...unavailable.map(({ collection, reason }) => {
      const line = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = collection;
      line.append(head);
      const cell = line.insertCell();
      cell.colSpan = 8;
      cell.textContent = reason;
      return line;
    }));
  }

  async find() {
    const [all, unavailable] = await Promise.all([this.db.list(), this.db.listUnavailable()]);
    const lost = new Set(unavailable.map(({ collection }) => collection));
    this.lack(unavailable);
    this.found(all.filter(({ collection }) => !lost.has(collection)));
  }

  found(all) {
    const { rows } = this;
    all.slice(0, MOST_WATCHED).forEach(({ collection }) => rows.has(collection) || this.add(collection));
    const more = all.length - rows.size;
    this.more.textContent = more > 0 ? `And ${more} more, which are not watched.` : "";
    this.showWhichThereAre();
    this.problem.textContent = "";
    if (this.picked !== null || !rows.size) return;
    const full = all.find(({ collection, rows: count }) => count > 0 && rows.has(collection));
    this.choose(full?.collection ?? rows.keys().next().value);
  }

  async look() {
    const { db } = this;
    try {
      await this.find();
    } catch (error) {
      // Not connected: the state above says so.
      if (error.code !== "connection_lost" && db.state !== "closed") this.problem.textContent = error.message;
    }
    if (db.state !== "closed") setTimeout(() => this.look(), LOOK_MS);
  }
}
