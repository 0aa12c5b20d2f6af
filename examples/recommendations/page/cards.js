/** The recommended items. A card stays the same element while its row is the same. */

const VERDICTS = { more: "More like this", less: "Less like that" };

import { ago, arrange, element, lightUp } from "./elements.js";

export class Cards {
  /** `picked(row, verdict)` is called with the row of a card that is clicked: to `look` at it, or for
   * `more` or `less` of its kind. */
  constructor(list, picked) {
    Object.assign(this, { list, picked, cards: new Map(), rows: null, pushed: new Set() });
  }

  /** Show these rows, at the next frame; those that were pushed (`seq`s) light up. */
  show(rows, pushed = []) {
    const isDue = this.rows !== null;
    this.rows = rows;
    for (const seq of pushed) this.pushed.add(seq);
    if (!isDue) requestAnimationFrame(() => this.draw());
  }

  draw() {
    const { list, rows } = this;
    this.rows = null;
    const focused = [...list.children].indexOf(document.activeElement?.closest("li"));
    this.cards = new Map(rows.map((row) => [row.seq, this.cards.get(row.seq) ?? this.card(row)]));
    this.pushed.clear();
    for (const { seq, score, metadata: { section, released } } of rows) {
      const card = this.cards.get(seq);
      card.querySelector("small span").textContent = `${section} · ${ago(released * 1000)}`;
      card.querySelector("i").textContent = `${Math.round(100 * score)} % match`;
    }
    const lines = [...this.cards.values()];
    arrange(list, lines);
    // Who goes by keyboard stays with a card, and where that has left at its place.
    if (focused >= 0 && !list.contains(document.activeElement)) {
      list.children[Math.min(focused, lines.length - 1)]?.firstChild.focus();
    }
  }

  card(row) {
    const { name, section, about } = row.metadata;
    const look = element(
      "button", { className: "look" },
      element("b", {}, name), element("span", {}, about),
      element("small", {}, element("span"), element("i")),
    );
    look.addEventListener("click", () => this.picked(row, "look"));
    if (this.pushed.has(row.seq)) lightUp(look);
    const verdicts = Object.entries(VERDICTS).map(([verdict, text]) => {
      const button = element("button", { className: verdict, title: `${text}: ${name}` }, text);
      button.addEventListener("click", () => this.picked(row, verdict));
      return button;
    });
    const group = element("div", { role: "group", ariaLabel: name }, ...verdicts);
    return element("li", { dataset: { name, section } }, look, group);
  }
}
