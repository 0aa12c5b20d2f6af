/** What you looked at, and what you want more and less of; why the recommendations are what they are. */

import { element } from "./elements.js";

const SAYS = { more: "more like it", less: "less like it" };

export class Trail {
  /** `changed()` is called when examples of the interest were taken back, or all was forgotten. */
  constructor(section, interest, changed) {
    Object.assign(this, { section, interest, changed });
    section.querySelector("#forget").addEventListener("click", () => {
      interest.forget();
      this.show();
      changed();
    });
  }

  show() {
    const { clicked, more, less } = this.interest;
    const lines = [...less].map(([id, name]) => this.line(id, name, "less"));
    for (const [id, name] of clicked) lines.push(this.line(id, name, more.has(id) ? "more" : "look"));
    lines.reverse();
    this.section.querySelector("ol").replaceChildren(...lines);
    this.section.querySelector("p").hidden = lines.length > 0;
    this.section.querySelector("#forget").hidden = lines.length === 0;
    document.querySelector("#why").textContent = this.why();
  }

  line(id, name, verdict) {
    const made = element("li", { dataset: { verdict } }, element("span", {}, name));
    if (verdict === "look") return made;
    const button = element("button", { ariaLabel: `Take back: ${SAYS[verdict]}: ${name}` }, "×");
    button.addEventListener("click", () => {
      this.interest.takeBack(id);
      this.show();
      this.changed();
    });
    made.append(element("small", {}, SAYS[verdict]), button);
    return made;
  }

  why() {
    const { clicked, more, less } = this.interest;
    const said = [];
    if (clicked.size) said.push(`you looked at ${listed(clicked)}`);
    if (more.size) said.push(`want more like ${listed(more)}`);
    if (less.size) said.push(`${clicked.size ? "" : "you want "}less like ${listed(less)}`);
    if (!said.length) return "A mixed bag, to begin with: pick what you like.";
    const text = `Because ${said.join("; ")}`;
    return text.endsWith("…") ? text : `${text}.`;
  }
}

/** The newest three names. */
function listed(names) {
  const newest = [...names.values()].reverse();
  return `${newest.slice(0, 3).join(", ")}${newest.length > 3 ? " …" : ""}`;
}
