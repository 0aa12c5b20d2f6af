/**
 * The console: one page that shows the server live, over the public client and nothing else. All
 * addresses are relative to the page's, so that it lives under any path of a proxy.
 */

import { connect } from "../client.js";
import { ClusterView } from "./cluster.js";
import { Collections } from "./collections.js";
import { Copies } from "./copies.js";
import { Door } from "./door.js";
import { Picture } from "./picture.js";
import { Plain } from "./plain.js";
import { Query } from "./query.js";
import { ServerNumbers } from "./server.js";
import { Usage } from "./usage.js";
import { Who } from "./who.js";

const find = (selector) => document.querySelector(selector);
const address = new URL("v1", document.baseURI);
address.protocol = location.protocol === "https:" ? "wss:" : "ws:";

let db = null;
/** Where the client waits for a token: takes it. */
let wanted = null;
let asking = null;

const door = new Door(find("#token"), address.href);
const who = new Who(find("#who"), find("#notice"), () => ask(true));
const usage = new Usage(find("#who"), find("#usage"));
const plain = new Plain(document.querySelectorAll("[data-guarded]"), find("#plain"), () => door.token);
const picture = new Picture(find("#map"), (id) => query.near(id));
const query = new Query(find("#query"), (vector, rows) => picture.highlight(vector, rows));
const table = new Collections(find("#collections"), address.href, (name) => {
  for (const section of [find("#map"), find("#query")]) section.hidden = name === null && !table.isReadable;
  picture.watch(db, name);
  query.use(db, name);
  copies.pick(name);
});
const copies = new Copies(find("#copies"), () => table.look());
const cluster = new ClusterView(find("#cluster"), find("#moving"));
const numbers = new ServerNumbers(find("#charts"), () => table.evictions, (isWhole) => plain.offer(db.identity, isWhole));

/** Have a token typed; one who may leave goes on as before. */
function ask(mayLeave) {
  const hasEnded = db?.identity && !mayLeave;
  const title = mayLeave ? "Another token" : hasEnded ? "The token is not good any more" : "This server asks for a token";
  const about = hasEnded ? "What is shown here stays, and goes on with another one." : "";
  if (!mayLeave) find("#state").textContent = "waiting for a token";
  const typed = door.ask(title, about, mayLeave);
  asking ??= typed.then((given) => given && take(given)).finally(() => { asking = null; });
}

/** Of the same tenant, a token that is waited for takes the place of the one before; else all begins anew. */
function take({ token, identity }) {
  if (wanted && (!db || identity?.tenant === db.identity?.tenant)) give(token);
  else begin(token);
}

function give(token) {
  const taken = wanted;
  wanted = null;
  who.want(false);
  taken?.(token);
}

/** What the client asks for a token, at first of the one that it has been begun for. */
function source(token) {
  let first = token;
  return () => {
    const given = first;
    first = null;
    if (given) return given;
    return new Promise((resolve) => {
      wanted = resolve;
      // As long as the connection stands there is time.
      if (db?.state === "open") who.want(true);
      else ask(false);
    });
  };
}

async function begin(token = null) {
  give(null);
  let made;
  try {
    // What a person asks for while nobody answers is refused at once; what stands goes on by itself.
    made = await connect(address.href, { getToken: source(token), timeoutMs: 0, failFast: true });
  } catch (error) {
    if (error.code === "unauthenticated") return begin();
    return showState("closed", error);
  }
  const before = db;
  db = made;
  made.addEventListener("state", () => made === db && changed());
  made.addEventListener("identity", () => made === db && become());
  who.show(db.identity);
  copies.use(db);
  table.use(db);
  cluster.use(db);
  numbers.use(db);
  usage.use(db);
  before?.close();
  showState(db.state, db.error);
  showServer();
}

/** The state of the connection is another. */
function changed() {
  const { state, error } = db;
  showState(state, error);
  if (state === "open") showServer();
  else if (state === "closed" && error.code === "unauthenticated") begin();
  // The token of now may still do.
  else if (wanted && who.leftSeconds > 1) give(door.token);
  else if (wanted) ask(false);
}

/** The token is a newer one; what it may can be another thing. */
function become() {
  const before = JSON.stringify(who.identity?.grants);
  who.show(db.identity);
  if (JSON.stringify(db.identity.grants) === before) return;
  copies.use(db);
  table.use(db);
  cluster.use(db);
  numbers.use(db);
  usage.use(db);
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

await begin();
