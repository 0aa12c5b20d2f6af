/**
 * Tokens from whoever sits there. One that is typed is tried on a connection of its own first: a wrong
 * one is said at once, where it was typed, and harms nothing that stands. It stays in this page's
 * memory, and in no address.
 */

import { connect } from "../client.js";

const TRY_MS = 10_000;

function why(error) {
  if (error.code !== "unauthenticated") return `It could not be tried: ${error.message}`;
  return "That token is not known here, or not any more.";
}

export class Door {
  /** `dialog` asks; `address` is the server's. */
  constructor(dialog, address) {
    Object.assign(this, { dialog, address, token: null, asking: null, mayLeave: false });
    this.form = dialog.querySelector("form");
    [this.title, this.about, this.problem] =
      ["h2", ".about", ".problem"].map((name) => dialog.querySelector(name));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.try();
    });
    this.form.elements.leave.addEventListener("click", () => dialog.close());
    // No way past it where nothing goes on without a token.
    dialog.addEventListener("close", () => {
      if (!this.asking || dialog.open) return;
      if (this.mayLeave) this.end(null);
      else dialog.showModal();
    });
  }

  /** `{ token, identity }` of a good token; null from one who may leave and does. */
  ask(title, about, mayLeave) {
    this.mayLeave = mayLeave;
    this.title.textContent = title;
    this.about.textContent = about;
    this.form.elements.leave.hidden = !mayLeave;
    this.asking ??= deferred();
    if (!this.dialog.open) {
      this.form.reset();
      this.problem.textContent = "";
      this.dialog.showModal();
    }
    return this.asking.promise;
  }

  end(answer) {
    const { asking } = this;
    this.asking = null;
    this.form.reset();
    this.dialog.close();
    asking?.resolve(answer);
  }

  async try() {
    const { token: field, try: button } = this.form.elements;
    const token = field.value.trim();
    if (!token || button.disabled) return;
    const { asking } = this;
    button.disabled = true;
    this.problem.textContent = "";
    try {
      const probe = await connect(this.address, { token, timeoutMs: TRY_MS });
      probe.close();
      if (this.asking !== asking) return;
      this.token = token;
      this.end({ token, identity: probe.identity });
    } catch (error) {
      if (this.asking !== asking) return;
      this.problem.textContent = why(error);
      field.select();
      field.focus();
    } finally {
      button.disabled = false;
    }
  }
}

function deferred() {
  const one = {};
  one.promise = new Promise((resolve) => (one.resolve = resolve));
  return one;
}
