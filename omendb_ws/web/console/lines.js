/** A table whose lines have keys and are changed in place: what says the same stays, with the focus in it. */

export class Lines {
  /** `numbers`: which cells hold some. */
  constructor(body, numbers) {
    Object.assign(this, { body, numbers, lines: new Map() });
  }

  /**
   * Show these from now on, in this order: `{ key, cells, acts }`, the texts of a line, its head first, and
   * buttons in a last cell: `[label, what it is about, act]`.
   */
  show(items) {
    const keys = new Set(items.map(({ key }) => key));
    for (const [key, line] of this.lines) {
      if (keys.has(key)) continue;
      line.remove();
      this.lines.delete(key);
    }
    items.forEach((item, at) => {
      const line = this.lines.get(item.key) ?? this.#made(item);
      item.cells.forEach((text, cell) => say(line.cells[cell], text));
      this.#offer(line.cells[item.cells.length], item.acts);
      // To put what is there in its place again would take the focus from it.
      if (this.body.rows[at] !== line) this.body.insertBefore(line, this.body.rows[at] ?? null);
    });
  }

  #made({ key, cells }) {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    line.append(head);
    for (let cell = 1; cell <= cells.length; cell++) line.insertCell().className = this.numbers.includes(cell) ? "number" : "";
    this.lines.set(key, line);
    return line;
  }

  #offer(cell, acts) {
    const labels = [...cell.children].map((button) => button.textContent);
    if (labels.join() !== acts.map(([label]) => label).join()) {
      cell.replaceChildren(...acts.map(() => Object.assign(document.createElement("button"), { type: "button" })));
    }
    acts.forEach(([label, about, act], at) => {
      const button = cell.children[at];
      say(button, label);
      button.setAttribute("aria-label", `${label} ${about}`);
      button.onclick = act;
    });
  }
}

/** What says the same already is left alone, with what a person has marked or reads there. */
export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
