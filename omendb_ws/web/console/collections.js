/** The table of collections: found by `list` now and then, their numbers by subscription. */

import { bytes, seconds, short, whole } from "./numbers.js";
import { isFiltered, may } from "./rights.js";

const LOOK_MS = 3000;
/** Each watched collection is one subscription. */
const MOST_WATCHED = 100;
const CELLS = 8;

/** In place of numbers, why there are none. */
function say(line, why) {
  const cell = line.insertCell();
  cell.colSpan = CELLS;
  cell.className = "why";
  cell.textContent = why;
}

/**
 * Fills `section`; `pick(name)` is called when one is chosen, and with null when that one is gone.
 */
export class Collections {
  constructor(section, address, pick) {
    Object.assign(this, { section, pick, rows: new Map(), picked: null, db: null });
    [this.body, this.foot, this.table, this.empty, this.problem, this.more, this.about] =
      ["tbody", "tfoot", ".scroll", ".empty", ".problem", ".more", ".about"].map((name) => section.querySelector(name));
    this.hint = this.empty.querySelector("span");
    this.hint.querySelector("code").textContent =
      `omendb-ws create items --dim 128 --capacity 100000 --url ${address}`;
  }

  /** Show those of this client from now on; the choice stays where it is there, too. */
  use(db) {
    const { rows } = this;
    const isSame = this.db === db;
    Object.assign(this, { db, rows: new Map(), wish: this.picked, picked: null });
    for (const { watch } of rows.values()) watch?.close();
    this.body.replaceChildren();
    this.foot.replaceChildren();
    this.hint.hidden = !may(db.identity, "admin", "items");
    if (isSame) return void this.look();
    this.again(db);
    // After a reconnect the server may have others.
    db.addEventListener("state", () => this.db === db && db.state === "open" && this.look());
  }

  /** Whether there is one that may be read. */
  get isReadable() {
    return [...this.rows.values()].some(({ watch }) => watch !== null);
  }

  /** A second, of all; null where it is told of none. */
  get evictions() {
    const told = [...this.rows.values()].map(({ stats }) => stats?.evictions_per_s).filter((one) => one != null);
    return told.length ? told.reduce((sum, one) => sum + one, 0) : null;
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
    this.table.hidden = !this.rows.size && !this.foot.rows.length;
    this.empty.hidden = !this.table.hidden;
    const { identity } = this.db;
    const isPartly = [...this.rows].some(([name, { watch }]) => watch && isFiltered(identity, name));
    this.about.textContent = isPartly
      ? "This token sees some rows only, and these are counted. Ages, rates and memory are not told to it." : "";
  }

  add(name) {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    const button = document.createElement("button");
    button.textContent = button.title = name;
    button.addEventListener("click", () => this.choose(name));
    head.append(button);
    line.append(head);
    const row = { line, button, watch: null, stats: null };
    this.body.append(line);
    this.rows.set(name, row);
    if (may(this.db.identity, "read", name)) this.watch(name, row);
    else this.close(row, "This token may not read it.");
  }

  watch(name, row) {
    row.cells = Array.from({ length: CELLS }, () => row.line.insertCell());
    row.meter = document.createElement("meter");
    row.meter.setAttribute("aria-label", `fill of ${name}`);
    row.cells[0].append(row.meter);
    const { db } = this;
    const watch = (row.watch = db.watchStats(name, { every: 1000 }));
    watch.addEventListener("data", ({ detail }) => this.show(row, detail));
    watch.addEventListener("state", ({ detail }) => {
      // A client that is closed ends everything; what was seen last stays to be read.
      if (detail !== "ended" || row.watch !== watch || this.rows.get(name) !== row || db.state === "closed") return;
      if (watch.error?.code === "forbidden") this.forbid(name, row, watch.error);
      else if (watch.reason === "forbidden") this.retry(name);
      else this.remove(name);
    });
  }

  /** It is there, and may not be read. */
  forbid(name, row, error) {
    this.close(row, `It cannot be read: ${error.message}`);
    this.showWhichThereAre();
    this.leave(name);
  }

  /** The key may do something else now: perhaps it sees other rows, perhaps none. */
  retry(name) {
    if (this.picked === name) {
      this.wish = name;
      this.picked = null;
    }
    this.remove(name);
    this.look();
  }

  close(row, why) {
    row.watch?.close();
    row.watch = row.stats = null;
    while (row.line.cells.length > 1) row.line.deleteCell(1);
    say(row.line, why);
    row.button.disabled = true;
  }

  remove(name) {
    this.rows.get(name)?.line.remove();
    this.rows.delete(name);
    this.showWhichThereAre();
    this.leave(name);
  }

  leave(name) {
    if (this.picked !== name) return;
    this.picked = null;
    this.pick(null);
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
      say(line, reason);
      return line;
    }));
  }

  found(all) {
    const { rows } = this;
    const there = new Set(all.map(({ collection }) => collection));
    // Those that are watched say by themselves that they are gone.
    for (const [name, { watch }] of rows) if (!watch && !there.has(name)) this.remove(name);
    all.slice(0, MOST_WATCHED).forEach(({ collection }) => rows.has(collection) || this.add(collection));
    const more = all.length - rows.size;
    this.more.textContent = more > 0 ? `And ${more} more, which are not watched.` : "";
    this.showWhichThereAre();
    this.problem.textContent = "";
    if (this.picked !== null) return;
    const readable = [...rows].filter(([, { watch }]) => watch).map(([name]) => name);
    const full = all.find(({ collection, rows: count }) => count > 0 && readable.includes(collection));
    const wish = readable.includes(this.wish) ? this.wish : null;
    const next = wish ?? full?.collection ?? readable[0];
    if (next !== undefined) this.choose(next);
    else if (this.wish != null) this.pick(null);
    this.wish = null;
  }

  async look() {
    const { db } = this;
    try {
      const [all, unavailable] = await Promise.all([db.list(), db.listUnavailable()]);
      if (db !== this.db) return;
      const lost = new Set(unavailable.map(({ collection }) => collection));
      this.lack(unavailable);
      this.found(all.filter(({ collection }) => !lost.has(collection)));
    } catch (error) {
      if (db !== this.db) return;
      const mayNothing = db.identity && !db.identity.rights.length;
      if (mayNothing) this.problem.textContent = "This token has no rights on any collection.";
      // Not connected: the state above says so.
      else if (error.code !== "connection_lost" && db.state !== "closed") this.problem.textContent = error.message;
    }
  }

  async again(db) {
    while (db === this.db && db.state !== "closed") {
      await this.look();
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
  }
}
