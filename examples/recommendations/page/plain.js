/** What the plain query finds, to compare: the nearest, however old, seen or alike they are. */

import { ago, arrange, element } from "./elements.js";

export class Plain {
  constructor(list) {
    Object.assign(this, { list, lines: new Map() });
  }

  /** `clicked` has the ids of what was looked at. */
  show(rows, clicked) {
    this.lines = new Map(rows.map((row) => [row.seq, this.lines.get(row.seq) ?? this.line(row)]));
    for (const { seq, id, metadata: { section, released } } of rows) {
      const line = this.lines.get(seq);
      line.dataset.seen = clicked.has(id);
      line.querySelector("small").textContent =
        `${section} · ${ago(released * 1000)}${clicked.has(id) ? " · seen" : ""}`;
    }
    arrange(this.list, [...this.lines.values()]);
  }

  line({ metadata: { name } }) {
    return element("li", { dataset: { name } }, element("span", {}, name), " ", element("small"));
  }
}
