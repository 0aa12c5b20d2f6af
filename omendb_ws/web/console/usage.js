/**
 * What one's tenant uses of what it may use, in a line for each limit that is set; asked for while
 * somebody looks. No part of it is read out by itself: numbers that move would be read out for ever.
 */

import { say } from "./lines.js";
import { bytes, whole } from "./numbers.js";

const EVERY_MS = 2000;
const ANSWER_MS = 10_000;

const rate = (value) => (value == null ? "–" : whole(Number(value.toPrecision(3))));

/** By names of use: what it is called, how use and limit are written, the unit, whether it is always told. */
const LINES = {
  memory_bytes: ["memory", bytes, bytes, "", true],
  connections: ["connections", whole, whole, "", true],
  collections: ["collections", whole, whole, "", true],
  subscriptions: ["subscriptions", whole, whole, "", true],
  rows_per_second: ["rows written", rate, whole, " a second", false],
  queries_per_second: ["query vectors", rate, whole, " a second", false],
  messages_per_second: ["messages", rate, whole, " a second", false],
  engine_ms_per_second: ["engine time", rate, whole, " ms a second", false],
};

/** Pairs of a name and "use of limit". */
function told({ use, limits }) {
  const lines = [];
  for (const [name, [label, used, most, unit, isAlways]] of Object.entries(LINES)) {
    const limit = limits[name] ?? limits[`max_${name}`] ?? null;
    if (limit !== null) lines.push([label, `${used(use[name])} of ${most(limit)}${unit}`]);
    else if (isAlways) lines.push([label, `${used(use[name])}, no limit set`]);
  }
  return lines;
}

function line([label, value]) {
  const made = document.createElement("div");
  const [name, said] = ["dt", "dd"].map((kind) => made.appendChild(document.createElement(kind)));
  name.textContent = label;
  said.textContent = value;
  return made;
}

export class Usage {
  /** Shows in `place`, a part of `details`, while these are open. */
  constructor(details, place) {
    Object.assign(this, { details, db: null, asked: null, found: null, timer: null });
    [this.title, this.list, this.about, this.problem] =
      ["h2", "dl", ".about", ".problem"].map((name) => place.querySelector(name));
    details.addEventListener("toggle", () => {
      clearInterval(this.timer);
      if (!details.open) return;
      this.timer = setInterval(() => this.ask(), EVERY_MS);
      this.turn();
    });
  }

  /** `db` is another one, or what its token may. */
  use(db) {
    if (db !== this.db) db.addEventListener("state", () => db === this.db && this.turn());
    // Of another tenant these are other numbers.
    if (db.identity?.tenant !== this.tenant) this.show(null);
    this.db = db;
    this.tenant = db.identity?.tenant;
    this.asked = null;
    this.turn();
  }

  /** Somebody begins to look, or the connection is another. */
  turn() {
    // What was heard before is of then, until there is an answer of now.
    this.mark(null);
    this.ask();
  }

  async ask() {
    const { db, details } = this;
    if (!details.open || this.asked || db?.state !== "open") return;
    const asked = (this.asked = {});
    try {
      const found = await db.usage({ timeoutMs: ANSWER_MS });
      if (asked !== this.asked) return;
      this.show(found);
      this.mark("");
    } catch (error) {
      if (asked !== this.asked) return;
      if (error.code === "forbidden") this.show(null);
      this.mark(db.state === "open" ? error.message : null);
    } finally {
      if (asked === this.asked) this.asked = null;
    }
  }

  show(found) {
    this.found = found;
    const lines = found ? told(found) : [];
    const labels = [...this.list.querySelectorAll("dt")].map((one) => one.textContent);
    if (labels.join() !== lines.map(([label]) => label).join()) this.list.replaceChildren(...lines.map(line));
    else lines.forEach(([, value], at) => say(this.list.children[at].lastChild, value));
    const about = [];
    if (lines.length > 4) about.push("Rates are means of the last 10 seconds.");
    if (found?.use.memory_bytes === null) {
      about.push("A “–” stands for what this token is not told, as it sees some rows or collections only.");
    }
    say(this.about, about.join(" "));
  }

  /** `problem` is why nothing newer is known; empty: what is shown is of now; null: not heard yet. */
  mark(problem) {
    const { found } = this;
    const isOld = problem !== "";
    this.list.classList.toggle("stale", isOld);
    const when = isOld ? "used, when last heard," : "uses";
    say(this.title, found ? `What the tenant ${found.tenant} ${when} over all its connections` : "");
    say(this.problem, problem ?? "");
  }
}
