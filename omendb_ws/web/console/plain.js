/** Pages that may want a token: a link sends none, so they are fetched with it and shown in a dialog. */

/** As a person reads it: JSON in lines. */
function readable(text, type) {
  return type.includes("json") ? JSON.stringify(JSON.parse(text), null, 2) : text;
}

export class Plain {
  /** Of `links`, which are for some only; `token()` is the one of now. It goes out in a header alone. */
  constructor(links, dialog, token) {
    Object.assign(this, { dialog, token, address: null });
    [this.title, this.body] = ["h2", "pre"].map((name) => dialog.querySelector(name));
    dialog.querySelector("[name=again]").addEventListener("click", () => this.show());
    this.pairs = Array.from(links, (link) => [link, this.button(link)]);
  }

  button(link) {
    const button = document.createElement("button");
    button.textContent = link.textContent;
    button.hidden = true;
    button.addEventListener("click", () => {
      this.title.textContent = link.textContent;
      this.address = link.href;
      this.dialog.showModal();
      this.show();
    });
    link.after(button);
    return button;
  }

  /** To nobody in particular as links; with a token to those who see all of the server. */
  offer(identity, isWhole) {
    for (const [link, button] of this.pairs) {
      link.hidden = identity !== null;
      button.hidden = identity === null || !isWhole;
    }
  }

  async show() {
    this.body.textContent = "…";
    const asked = this.address;
    let text;
    try {
      const headers = { Authorization: `Bearer ${this.token()}` };
      const reply = await fetch(asked, { headers, cache: "no-store" });
      text = readable(await reply.text(), reply.headers.get("Content-Type") ?? "");
    } catch (error) {
      text = `It cannot be had: ${error.message}`;
    }
    if (asked === this.address) this.body.textContent = text;
  }
}
