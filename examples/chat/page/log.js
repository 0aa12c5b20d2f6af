/** What was said, in order, told by a feed: the server leaves out what is not for this visitor. */

import { audience, element } from "./elements.js";

const MOST_SHOWN = 200;

export class Log {
  /** Lines go into the list of `box`; `author(name)` is called with whoever wrote one. */
  constructor(box, me, author) {
    Object.assign(this, { box, list: box.querySelector("ol"), me, author });
  }

  /** From the oldest message that is still there. */
  async follow(db, collection) {
    const { epoch, first_seq: fromSeq } = await db.describe(collection);
    const feed = db.feed(collection, { epoch, fromSeq, include: ["metadata"] });
    feed.addEventListener("data", ({ detail }) => {
      for (const row of detail.rows) this.add(row);
    });
    return feed;
  }

  add({ id, metadata }) {
    const { author, text } = metadata;
    const isMine = author === this.me;
    const line = element(
      "li", { className: isMine ? "mine new" : "new", id: `message-${id}` },
      element("b", {}, author), " ", element("small", {}, audience(metadata, this.me)),
      element("p", {}, text),
    );
    const { box, list } = this;
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    list.append(line);
    while (list.children.length > MOST_SHOWN) list.firstChild.remove();
    if (isAtEnd || isMine) box.scrollTop = box.scrollHeight;
    this.author(author);
  }
}
