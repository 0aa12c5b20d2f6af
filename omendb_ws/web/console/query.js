/** The query panel: a vector or a stored row, a filter, a shape, and an answer that stays true. */

import { Fault, readJson, Shape } from "./shape.js";

const ID = /^id\s+(.+)$/i;

/** What was typed: `{id}` or `{vector}`. Throws with a message for the person. */
export function parse(text, dim) {
  const typed = text.trim();
  const asId = ID.exec(typed);
  if (asId) return { id: asId[1].trim() };
  const numbers = typed.replace(/^\[|\]$/g, "").split(/[\s,;]+/).filter(Boolean).map(Number);
  const fail = (message) => { throw new Fault("vector", message); };
  if (!numbers.length) fail("Type a vector, or “id” and a row's id.");
  if (numbers.some(Number.isNaN)) fail("The vector holds something that is no number.");
  if (numbers.length !== dim) fail(`The vector has ${numbers.length} numbers; this collection has ${dim}.`);
  return { vector: Float32Array.from(numbers) };
}

/** Ranks of a decay are large and near to each other: Unix seconds in half-lives. */
const rankText = (rank) => (rank === null ? "–" : rank.toPrecision(Math.abs(rank) < 1e4 ? 6 : 13));

export class Query {
  /** `shown(vector, rows)` is called with what is asked and the rows of each answer. */
  constructor(section, shown) {
    this.form = section.querySelector("form");
    this.shape = new Shape(this.form, section.querySelector(".problem"));
    this.about = section.querySelector(".about");
    this.table = section.querySelector(".scroll");
    this.body = section.querySelector("tbody");
    this.rankTitle = section.querySelector("th.rank");
    this.shown = shown;
    this.live = null;
    this.description = null;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.turned((turn) => this.ask(turn));
    });
    this.form.elements.random.addEventListener("click", () => this.turned((turn) => this.askRandom(turn)));
  }

  /** Ask this collection from now on. */
  use(db, collection) {
    // With another token it is asked again.
    const isAsked = this.live !== null && collection === this.collection;
    Object.assign(this, { db, collection, description: null });
    this.form.querySelectorAll("button").forEach((button) => { button.disabled = collection === null; });
    return this.turned((turn) => isAsked && this.ask(turn));
  }

  /** Ask for the neighbours of the row with this id. */
  near(id) {
    this.form.elements.vector.value = `id ${id}`;
    return this.turned((turn) => this.ask(turn));
  }

  /**
   * What a person asked for ends what was asked before, and also what is still being found out for
   * that: `turn.isOver` after each wait. However fast they click, one query stands.
   */
  async turned(work) {
    this.stop();
    const turn = (this.turn = { isOver: false });
    try {
      if (this.collection !== null) await this.describe(turn);
      if (!turn.isOver) await work(turn);
    } catch (error) {
      if (!turn.isOver) this.shape.say(error);
    }
  }

  /** Anew until it is there: the first may have come while nobody answered. */
  async describe(turn) {
    const description = this.description ?? (await this.db.describe(this.collection));
    if (turn.isOver || description === this.description) return;
    this.description = description;
    this.shape.use(description);
  }

  stop() {
    if (this.turn) this.turn.isOver = true;
    this.live?.close();
    this.live = null;
    this.body.replaceChildren();
    this.table.hidden = true;
    this.shape.clear();
    this.about.textContent = "";
    this.shown(null, []);
  }

  async askRandom(turn) {
    // Any row will do: the best for a random direction is one.
    const direction = Float32Array.from({ length: this.description.dim }, () => Math.random() - 0.5);
    const [row] = await this.db.search(this.collection, direction, { k: 1 });
    if (turn.isOver) return;
    if (!row) throw new Error("The window is empty.");
    this.form.elements.vector.value = `id ${row.id}`;
    await this.ask(turn);
  }

  async ask(turn) {
    const { db, collection, form } = this;
    const shape = this.shape.options();
    const options = { k: Number(form.elements.k.value), include: ["metadata", "vector"], ...shape };
    const filter = form.elements.filter.value.trim();
    if (filter) options.filter = readJson(filter, "filter");
    const asked = parse(form.elements.vector.value, this.description.dim);
    const vector = asked.vector ?? (await this.vectorOf(asked.id));
    if (turn.isOver) return;
    const live = (this.live = db.live(collection, vector, options));
    live.addEventListener("data", ({ detail }) => live === this.live && this.show(detail, vector));
    live.addEventListener("state", () => live === this.live && this.showState(live));
  }

  async vectorOf(typed) {
    const id = this.description.ids === "str" ? typed : BigInt(/^\d+$/.test(typed) ? typed : -1);
    const isNone = typeof id === "bigint" && (id < 0n || id >= 2n ** 64n);
    const [row] = isNone ? [null] : await this.db.get(this.collection, [id], { include: ["vector"] });
    if (!row) throw new Fault("vector", `No row has the id ${typed}.`);
    return Float32Array.from(row.vector);
  }

  show(answer, vector) {
    const entered = new Set(answer.changes?.enter.map((row) => row.seq));
    this.body.replaceChildren(...Array.from(answer, (row) => {
      const line = document.createElement("tr");
      line.classList.toggle("new", entered.has(row.seq));
      const metadata = JSON.stringify(row.metadata);
      const places = [row.score.toPrecision(6), ...(answer.ranks ? [rankText(row.rank)] : []), row.id, row.seq];
      for (const text of [...places, metadata === "{}" ? "" : metadata]) {
        line.insertCell().textContent = text;
      }
      return line;
    }));
    this.rankTitle.hidden = !answer.ranks;
    this.table.hidden = answer.length === 0;
    const what = answer.length ? "True" : "No row passes";
    this.about.textContent = `${what} at version ${answer.version}. It changes by itself.`;
    this.shown(vector, [...answer]);
  }

  showState(live) {
    if (live.error && live.error.code !== "closed") this.shape.say(live.error);
    if (live.state === "live" || !live.answer) return;
    const was = live.answer.length ? "Was true" : "No row passed";
    this.about.textContent = `${was} at version ${live.answer.version}; since then nothing was heard.`;
  }
}
