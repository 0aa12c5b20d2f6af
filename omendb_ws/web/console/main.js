/**
 * The console: one page that shows the server live, over the public client and nothing else. All
 * addresses are relative to the page's, so that it lives under any path of a proxy.
 */

import { connect } from "../client.js";
import { charts } from "./charts.js";
import { Collections } from "./collections.js";
import { Picture } from "./picture.js";
import { showWithToken } from "./plain.js";
import { Query } from "./query.js";

const find = (selector) => document.querySelector(selector);
const address = new URL("v1", document.baseURI);
address.protocol = location.protocol === "https:" ? "wss:" : "ws:";

/** A token from whoever sits there; it stays in this page's memory. */
let token = null;

/** Asked by the client where one is wanted: at the start, and when the one that was good is no more. */
async function askForToken() {
  const dialog = find("#token");
  const form = dialog.querySelector("form");
  dialog.querySelector(".problem").textContent = token === null ? "" : "That token is not known here, or not any more.";
  form.reset();
  do {
    dialog.showModal();
    await new Promise((resolve) => { dialog.addEventListener("close", resolve, { once: true }); });
  } while (!form.elements.token.value);
  token = form.elements.token.value;
  return token;
}

async function connected() {
  for (;;) {
    try {
      // What a person asks for while nobody answers is refused at once; what stands goes on by itself.
      return await connect(address.href, { getToken: askForToken, timeoutMs: 0, failFast: true });
    } catch (error) {
      if (error.code !== "unauthenticated") throw error;
    }
  }
}

const SAID = { open: "connected", waiting: "not connected; trying again" };

function showState(state, error) {
  const place = find("#state");
  if (state === "connecting" && place.dataset.state === "waiting") return;
  place.textContent = state === "closed" ? `closed: ${error?.message}` : (SAID[state] ?? state);
  place.dataset.state = state;
  // What is shown was true once.
  find("main").classList.toggle("stale", state === "waiting" || state === "closed");
}

/** Which version runs there; after a reconnect it may be another one. */
async function showServer() {
  try {
    const { version } = await (await fetch("health")).json();
    find("#server").textContent = `${version} at ${address.href}`;
  } catch {
    find("#server").textContent = address.href;
  }
}

function watchServer(db, evictions) {
  const section = find("#charts");
  const grid = section.querySelector(".grid");
  const push = charts(grid);
  const watch = db.watchStats(null, { every: 1000 });
  watch.addEventListener("data", ({ detail }) => push(detail, { evictions: evictions() }));
  watch.addEventListener("state", () => {
    if (!watch.error || db.state === "closed") return;
    grid.hidden = true;
    section.querySelector(".problem").textContent = `The server's own statistics: ${watch.error.message}`;
  });
}

function begin(db) {
  const query = new Query(find("#query"), (vector, rows) => picture.highlight(vector, rows));
  const picture = new Picture(find("#map"), (id) => query.near(id));
  const table = new Collections(db, find("#collections"), address.href, (name) => {
    for (const section of [find("#map"), find("#query")]) section.hidden = name === null && table.isEmpty;
    picture.watch(db, name);
    query.use(db, name);
  });
  watchServer(db, () => table.evictions);
}

try {
  const db = await connected();
  db.addEventListener("state", () => {
    showState(db.state, db.error);
    if (db.state === "open") showServer();
  });
  showState(db.state, db.error);
  showServer();
  if (token !== null) showWithToken(document.querySelectorAll("[data-guarded]"), find("#plain"), () => token);
  begin(db);
} catch (error) {
  showState("closed", error);
}
