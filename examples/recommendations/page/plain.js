/** What the plain query finds, to compare: the nearest, however old, seen or alike they are. */

import { ago, arrange, element } from "./elements.js";

export class Plain {
  constructor(section) {
    Object.assign(this, { section, list: section.querySelector("ol"), lines: new Map() });
  }

  /** `shaped`: what is recommended, null if it is not known yet. */
  show(rows, { clicked, less }, shaped) {
    const shown = new Set(Array.from(shaped ?? [], (row) => row.id));
    this.lines = new Map(rows.map((row) => [row.seq, this.lines.get(row.seq) ?? this.line(row)]));
    for (const { seq, id, metadata: { section, released } } of rows) {
      const line = this.lines.get(seq);
      line.dataset.seen = clicked.has(id) || less.has(id);
      line.dataset.shown = shown.has(id);
      const mark = less.has(id) ? " · less" : clicked.has(id) ? " · seen" : "";
      line.querySelector("small").textContent = `${section} · ${ago(released * 1000)}${mark}`;
    }
    arrange(this.list, [...this.lines.values()]);
    const both = rows.filter(({ id }) => shown.has(id)).length;
    this.section.querySelector("#difference").textContent = shaped
      ? `${both || "None"} of these ${rows.length} ${both === 1 ? "is" : "are"} recommended to you.` : "";
  }

  line({ metadata: { name } }) {
    return element("li", { dataset: { name } }, element("span", {}, name), " ", element("small"));
  }
}
