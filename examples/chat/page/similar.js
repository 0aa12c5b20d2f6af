/** Messages like the one that is being written: a live query that follows every keystroke. */

import { audience, element } from "./elements.js";
import { embed } from "./embedding.js";

const SHOWN = 4;
const LEAST_SCORE = 0.15;

export class Similar {
  constructor(section, db, { collection, dim, me, complain }) {
    Object.assign(this, { db, collection, dim, me, complain, live: null });
    [this.list, this.none] = ["ul", "p"].map((name) => section.querySelector(name));
    this.show();
  }

  /** Follow this text; the empty one has none like it. */
  follow(text) {
    if (!text.trim()) {
      this.live?.close();
      this.live = null;
      this.show();
      return;
    }
    const vector = embed(text, this.dim);
    if (this.live) {
      const { live } = this;
      live.move(vector).catch((error) => live === this.live && this.complain(error));
      return;
    }
    const live = (this.live = this.db.live(this.collection, vector, {
      k: SHOWN, minScore: LEAST_SCORE, include: ["metadata"],
    }));
    live.addEventListener("data", () => live === this.live && this.show());
    live.addEventListener("state", () => live === this.live && live.error && this.complain(live.error));
  }

  show() {
    const rows = [...(this.live?.answer ?? [])];
    this.list.replaceChildren(...rows.map(({ metadata }) => element(
      "li", {}, element("b", {}, metadata.author), " ", metadata.text, " ",
      element("small", {}, audience(metadata, this.me)),
    )));
    this.none.hidden = rows.length > 0;
    this.none.textContent = this.live ? "Nobody said anything like it." : "Begin to write.";
  }
}
