/** A chat: visitors read and write the vector server themselves, as far as their tokens reach. */

import { collection, connect, dim, url } from "/server.js";
import { element } from "./elements.js";
import { embed } from "./embedding.js";
import { Log } from "./log.js";
import { Similar } from "./similar.js";
import { Visitor } from "./visitor.js";

const find = (selector) => document.querySelector(selector);
const complain = (error) => { find(".problem").textContent = error?.message ?? ""; };

function showState(db) {
  const state = find("#state");
  state.textContent = { open: "connected", waiting: "reconnecting" }[db.state] ?? db.state;
  state.dataset.state = db.state;
}

/** How long the token of now lasts, and how often a newer one took its place. */
function watchToken(db) {
  let renewals = 0;
  const show = () => {
    const left = Math.max(0, Math.round((db.identity.expiresAt - Date.now()) / 1000));
    find("#ends").textContent = `${left} s`;
    find("#renewals").textContent = `${renewals}`;
  };
  db.addEventListener("identity", () => {
    renewals += 1;
    complain(null);
    show();
  });
  db.addEventListener("error", ({ detail }) => complain(detail));
  setInterval(show, 1000);
  show();
}

/** Offer to write to whoever was heard. */
function offer(name, me) {
  const { to } = find("#write").elements;
  if (name !== me && ![...to.options].some(({ value }) => value === name)) to.append(new Option(`to ${name}`, name));
}

async function begin(visitor) {
  const db = await connect(url, { getToken: visitor.getToken });
  const me = visitor.name;
  for (const section of document.querySelectorAll("[data-inside]")) section.hidden = false;
  find("#enter").hidden = true;
  find("#me").textContent = me;
  find("#grants").replaceChildren(...db.identity.grants.map(({ rights, filter }) =>
    element("li", {}, element("b", {}, rights.join(", ")), " ", element("code", {}, JSON.stringify(filter)))));
  showState(db);
  db.addEventListener("state", () => showState(db));
  watchToken(db);
  const similar = new Similar(find("#similar"), db, { collection, dim, me, complain });
  const form = find("#write");
  form.elements.text.addEventListener("input", () => similar.follow(form.elements.text.value));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    write(db, me).then(() => similar.follow(form.elements.text.value)).catch(complain);
  });
  await new Log(find("#log"), me, (name) => offer(name, me)).follow(db, collection);
  form.elements.text.focus();
}

/** Who wrote it is not said here: the server stamps that on the row. */
async function write(db, me) {
  const { text: field, to: choice } = find("#write").elements;
  const text = field.value.trim();
  if (!text) return;
  field.value = "";
  const to = choice.value;
  const metadata = { text, public: to === "", to: to === "me" ? me : to || null };
  try {
    await db.add(collection, [embed(text, dim)], { metadata: [metadata] });
    complain(null);
  } catch (error) {
    field.value ||= text;
    throw error;
  }
}

find("#enter form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, go } = event.target.elements;
  go.disabled = true;
  try {
    await begin(await Visitor.enter(name.value.trim()));
    complain(null);
  } catch (error) {
    complain(error);
  } finally {
    go.disabled = false;
  }
});
