/** The query panel: a vector or a stored row, a filter, and an answer that stays true. */

const ID = /^id\s+(.+)$/i;

/** What was typed: `{id}` or `{vector}`. Throws with a message for the person. */
export function parse(text, dim) {
  const typed = text.trim();
  const asId = ID.exec(typed);
  if (asId) return { id: asId[1].trim() };
  const numbers = typed.replace(/^\[|\]$/g, "").split(/[\s,;]+/).filter(Boolean).map(Number);
  if (!numbers.length) throw new Error("Type a vector, or “id” and a row's id.");
  if (numbers.some(Number.isNaN)) throw new Error("The vector holds something that is no number.");
  if (numbers.length !== dim) throw new Error(`The vector has ${numbers.length} numbers; this collection has ${dim}.`);
  return { vector: Float32Array.from(numbers) };
}

export class Query {
  /** `shown(vector, rows)` is called with what is asked and the rows of each answer. */
  constructor(section, shown) {
    this.form = section.querySelector("form");
    this.problem = section.querySelector(".problem");
    this.about = section.querySelector(".about");
    this.body = section.querySelector("tbody");
    this.shown = shown;
    this.live = null;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    this.form.elements.random.addEventListener("click", () => this.askRandom());
  }

  /** Ask this collection from now on. */
  async use(db, collection) {
    this.stop();
    this.db = db;
    this.collection = collection;
    this.form.querySelectorAll("button").forEach((button) => { button.disabled = collection === null; });
    this.description = collection === null ? null : await db.describe(collection).catch(() => null);
  }

  stop() {
    this.live?.close();
    this.live = null;
    this.body.replaceChildren();
    this.say("");
    this.about.textContent = "";
    this.shown(null, []);
  }

  /** Ask for the neighbours of the row with this id. */
  near(id) {
    this.form.elements.vector.value = `id ${id}`;
    return this.ask();
  }

  async askRandom() {
    const { db, collection } = this;
    const { first_seq: first, last_seq: last, dim } = await db.describe(collection);
    if (last < first) return this.say("The window is empty.");
    // Any row will do: the best for a random direction is one.
    const direction = Float32Array.from({ length: dim }, () => Math.random() - 0.5);
    const [row] = await db.search(collection, direction, { k: 1 });
    return row ? this.near(row.id) : this.say("The window is empty.");
  }

  async ask() {
    const { db, collection, form } = this;
    this.stop();
    if (!this.description) return;
    try {
      const options = { k: Number(form.elements.k.value), include: ["metadata", "vector"] };
      const filter = form.elements.filter.value.trim();
      if (filter) options.filter = JSON.parse(filter);
      const asked = parse(form.elements.vector.value, this.description.dim);
      const vector = asked.vector ?? (await this.vectorOf(asked.id));
      const live = (this.live = db.live(collection, vector, options));
      live.addEventListener("data", ({ detail }) => this.show(detail, vector));
      live.addEventListener("state", () => live.error && this.say(live.error.message));
    } catch (error) {
      this.say(error instanceof SyntaxError ? "The filter is no JSON." : error.message);
    }
  }

  async vectorOf(typed) {
    const id = this.description.ids === "str" ? typed : BigInt(/^\d+$/.test(typed) ? typed : -1);
    const [row] = id === -1n ? [null] : await this.db.get(this.collection, [id], { include: ["vector"] });
    if (!row) throw new Error(`No row has the id ${typed}.`);
    return Float32Array.from(row.vector);
  }

  show(answer, vector) {
    const entered = new Set(answer.changes?.enter.map((row) => row.seq));
    this.body.replaceChildren(...Array.from(answer, (row) => {
      const line = document.createElement("tr");
      line.classList.toggle("new", entered.has(row.seq));
      const metadata = JSON.stringify(row.metadata);
      for (const text of [row.score.toFixed(4), row.id, row.seq, metadata === "{}" ? "" : metadata]) {
        line.insertCell().textContent = text;
      }
      return line;
    }));
    this.about.textContent = `True at version ${answer.version}. It changes by itself.`;
    this.shown(vector, [...answer]);
  }

  say(text) {
    this.problem.textContent = text;
  }
}
