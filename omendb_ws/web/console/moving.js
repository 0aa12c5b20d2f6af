/** What moves collections between nodes, and heals them, behind a dialog in which a name has to be typed. */

import { evacuate, heal, moveOwner } from "../cluster.js";

/** What stands for: whichever node the names draw. */
const DRAWN = "";

export class Moving {
  /** `done(text)` is told what was asked for. */
  constructor(dialog, done) {
    Object.assign(this, { dialog, done, wanted: "", act: null });
    [this.title, this.about, this.hint, this.problem] =
      ["h2", ".about", "label.typed span", ".problem"].map((name) => dialog.querySelector(name));
    this.form = dialog.querySelector("form");
    ({ to: this.to, typed: this.typed, go: this.go } = this.form.elements);
    this.typed.addEventListener("input", () => this.#weigh());
    this.form.elements.leave.addEventListener("click", () => this.leave());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#do();
    });
  }

  move(db, collection, owner, nodes) {
    this.to.replaceChildren(...nodes.map((node) => new Option(node, node)), new Option("(whichever the names draw)", DRAWN));
    this.to.value = nodes.find((node) => node !== owner) ?? DRAWN;
    this.#ask(collection, {
      title: `Move ${collection}`,
      about: "Another node reads all of it first. Changes are refused for a moment as the owner changes, which clients wait out.",
      label: "Move it",
      act: async () => {
        const to = this.to.value || null;
        await moveOwner(db, collection, to);
        return `${collection} is to be owned by ${to ?? "whichever node the names draw"}; it moves once that node has all of it.`;
      },
    });
    this.to.parentElement.hidden = false;
  }

  evacuate(db, node) {
    this.#ask(node, {
      title: `Evacuate ${node}`,
      about: "Others take over all that it owns and holds, so that it can be stopped. It can be told to stay again.",
      label: "Evacuate it",
      act: async () => {
        await evacuate(db, node);
        return `${node} is to hold nothing; it can be stopped once it holds no collection.`;
      },
    });
    this.to.parentElement.hidden = true;
  }

  heal(db, collection) {
    this.#ask(collection, {
      title: `Heal ${collection}`,
      about: "It becomes what a node kept of it, under a new epoch. A stream that is brought back from a backup of NATS later counts no more.",
      label: "Heal it",
      act: async () => `${collection} is to be healed, to version ${await heal(db, collection)}.`,
    });
    this.to.parentElement.hidden = true;
  }

  leave() {
    if (this.dialog.open) this.dialog.close();
  }

  #ask(wanted, { title, about, label, act }) {
    Object.assign(this, { wanted, act });
    this.title.textContent = title;
    this.about.textContent = about;
    this.hint.textContent = `type ${wanted} to confirm`;
    this.go.textContent = label;
    this.typed.value = this.problem.textContent = "";
    this.#weigh();
    this.dialog.showModal();
  }

  #weigh() {
    this.go.disabled = this.typed.value.trim() !== this.wanted;
  }

  async #do() {
    if (this.go.disabled) return;
    const { act } = this;
    this.go.disabled = true;
    this.problem.textContent = "";
    try {
      const told = await act();
      if (act === this.act) this.leave();
      this.done(told);
    } catch (error) {
      if (act === this.act) this.problem.textContent = error.message;
    } finally {
      if (act === this.act) this.#weigh();
    }
  }
}
