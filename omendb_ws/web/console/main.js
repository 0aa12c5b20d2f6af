/** The console: one page that shows the server live, over the public client and nothing else. */

import { connect } from "/client.js";
import { charts } from "./charts.js";
import { collections } from "./collections.js";
import { Picture } from "./picture.js";
import { Query } from "./query.js";

const find = (selector) => document.querySelector(selector);
const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1`;

/** A token from whoever sits there; it stays in this page's memory. */
function askForToken(problem) {
  const dialog = find("#token");
  const form = dialog.querySelector("form");
  dialog.querySelector(".problem").textContent = problem;
  form.reset();
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(form.elements.token.value), { once: true });
  });
}

async function connected() {
  let token = null;
  for (let problem = ""; ; problem = "That token is not known here.") {
    try {
      return await connect(address, { token, timeoutMs: 0 });
    } catch (error) {
      if (error.code !== "unauthenticated") throw error;
      token = await askForToken(problem);
    }
  }
}

function showState(db) {
  const state = find("#state");
  const show = () => {
    state.textContent = { open: "connected", waiting: "reconnecting" }[db.state] ?? db.state;
    state.dataset.state = db.state;
  };
  db.addEventListener("state", show);
  show();
}

function watchServer(db, evictions) {
  const section = find("#charts");
  const push = charts(section.querySelector(".grid"));
  const watch = db.watchStats(null, { every: 1000 });
  watch.addEventListener("data", ({ detail }) => push(detail, { evictions: evictions() }));
  watch.addEventListener("state", () => {
    if (watch.error) section.querySelector(".problem").textContent = `The server's own statistics: ${watch.error.message}`;
  });
}

const db = await connected();
const { version } = await (await fetch("/health")).json();
find("#server").textContent = `${version} at ${address}`;
showState(db);
const query = new Query(find("#query"), (vector, rows) => picture.highlight(vector, rows));
const picture = new Picture(find("#map"), (id) => query.near(id));
const table = collections(db, find("#collections"), (name) => {
  picture.watch(db, name);
  query.use(db, name);
});
watchServer(db, table.evictions);
