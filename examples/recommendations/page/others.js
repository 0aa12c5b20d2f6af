/**
 * What other windows click, told by a feed of the collection of clicks, whose rows pass by
 * themselves. A window knows its own by the session, a column, and is not told of them.
 */

import { ago, arrange, element, lightUp } from "./elements.js";

const SHOWN = 8;
const REFRESH_MS = 1000;

export class Others {
  constructor(section, session, picked) {
    Object.assign(this, { section, session, picked, clicks: [], ttlMs: 0 });
    setInterval(() => this.show(), REFRESH_MS);
  }

  /** Follow the clicks, from the oldest that is still there. */
  async follow(db, collection) {
    const { ttl, epoch, first_seq: fromSeq } = await db.describe(collection);
    this.ttlMs = ttl * 1000;
    const filter = { session: { $ne: this.session } };
    const feed = db.feed(collection, { filter, include: ["metadata"], epoch, fromSeq });
    feed.addEventListener("data", ({ detail }) => {
      for (const { metadata } of detail.rows) this.add(metadata);
      this.show();
    });
    return feed;
  }

  add({ item, name, at, verdict }) {
    if (verdict === "less") return;
    this.clicks = [{ item, name, at }, ...this.clicks.filter((one) => one.item !== item)].slice(0, SHOWN);
  }

  show() {
    const now = Date.now();
    this.clicks = this.clicks.filter(({ at }) => now - at < this.ttlMs);
    const list = this.section.querySelector("ul");
    const known = new Map(Array.from(list.children, (line) => [line.dataset.click, line]));
    const lines = this.clicks.map(({ item, name, at }) => {
      const line = known.get(`${item}-${at}`) ?? this.line(item, name, at);
      line.querySelector("small").textContent = ago(at);
      return line;
    });
    arrange(list, lines);
    this.section.querySelector("p").hidden = lines.length > 0;
  }

  line(item, name, at) {
    const button = element("button", {}, name);
    button.addEventListener("click", () => this.picked(item));
    const made = element("li", { dataset: { click: `${item}-${at}` } }, element("small", { ariaHidden: "true" }), button);
    lightUp(made);
    return made;
  }
}
