/** Pages that want a token: a link sends none, so they are fetched with it and shown in a dialog. */

/** As a person reads it: JSON in lines. */
function readable(text, type) {
  return type.includes("json") ? JSON.stringify(JSON.parse(text), null, 2) : text;
}

/** Makes buttons of `links`; `token()` is the one of now. It goes out in a header, and in no address. */
export function showWithToken(links, dialog, token) {
  const [title, body] = ["h2", "pre"].map((name) => dialog.querySelector(name));
  let address = null;

  async function show() {
    body.textContent = "…";
    const asked = address;
    let text;
    try {
      const headers = { Authorization: `Bearer ${token()}` };
      const reply = await fetch(asked, { headers, cache: "no-store" });
      text = readable(await reply.text(), reply.headers.get("Content-Type") ?? "");
    } catch (error) {
      text = `It cannot be had: ${error.message}`;
    }
    if (asked === address) body.textContent = text;
  }

  dialog.querySelector("[name=again]").addEventListener("click", show);
  for (const link of links) {
    const button = document.createElement("button");
    button.textContent = link.textContent;
    button.addEventListener("click", () => {
      title.textContent = link.textContent;
      address = link.href;
      dialog.showModal();
      show();
    });
    link.replaceWith(button);
  }
}
