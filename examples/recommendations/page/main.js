/** An app store: what you click moves your interest, and with it a live query; it is all pushed. */

import { apps, clicks, connect, sections, url } from "/server.js";
import { Cards } from "./cards.js";
import { element } from "./elements.js";
import { Interest } from "./interest.js";
import { Others } from "./others.js";
import { Plain } from "./plain.js";
import { Trail } from "./trail.js";

const SHOWN = 12;
const SHOWN_PLAIN = 8;
/** A release counts half after this long. */
const HALF_LIFE_SECONDS = 120;
const OF_A_SECTION = 2;
const REFRESH_MS = 1000;
const find = (selector) => document.querySelector(selector);

const session = crypto.randomUUID();
const db = await connect(url, { timeoutMs: 0 });
const complain = (error) => { find(".problem").textContent = error?.message ?? ""; };
showState();
db.addEventListener("state", showState);
const { dim } = await db.describe(apps).catch((error) => {
  complain(error);
  throw error;
});
const interest = new Interest(dim);
const cards = new Cards(find("#cards"), (row, verdict) => pick(row, verdict).catch(complain));
const others = new Others(find("#others"), session, (id) => pickById(id).catch(complain));
const plain = new Plain(find("#plain"));
const trail = new Trail(find("#trail"), interest, () => move().catch(complain));
const chosen = new Set();
let live = null;
let plainLive = null;

function showState() {
  const state = find("#state");
  state.textContent = { open: "connected", waiting: "reconnecting" }[db.state] ?? db.state;
  state.dataset.state = db.state;
}

/** Ask anew: what is shaped stays so as long as a query stands. Who chooses sections wants to see
 * them, so these are not limited to two of each. */
function recommend() {
  live?.close();
  plainLive?.close();
  const filter = chosen.size ? { section: { $in: [...chosen] } } : undefined;
  const { vector, ...examples } = interest.target();
  live = db.live(apps, vector, {
    k: SHOWN,
    ...examples,
    decay: { half_life: HALF_LIFE_SECONDS, column: "released" },
    group: chosen.size ? null : { by: "section", size: OF_A_SECTION },
    exclude: interest.seen(),
    filter,
    include: ["metadata", "vector"],
  });
  plainLive = db.live(apps, interest.vector, { k: SHOWN_PLAIN, filter, include: ["metadata"] });
  watch(live, () => live, show);
  watch(plainLive, () => plainLive, showPlain);
}

/** Call `show` with each answer of `query`, as long as it is the one that `current()` tells. */
function watch(query, current, show) {
  query.addEventListener("data", () => {
    if (query !== current()) return;
    complain(null);
    show();
  });
  query.addEventListener("state", ({ detail: state }) => {
    if (query === current() && state === "ended") complain(query.error ?? new Error(`The query ended: ${query.reason}.`));
  });
}

/** Follow the interest and the examples, and leave out what was looked at: one move of the one query. */
async function move() {
  const query = live;
  const { vector, ...examples } = interest.target();
  const moved = [
    query.move(vector, { ...examples, exclude: interest.seen() }),
    plainLive.move(interest.vector),
  ];
  await Promise.all(moved).catch((error) => {
    // Another filter may have taken their place meanwhile, and asks for the same.
    if (query === live) throw error;
  });
}

function show() {
  if (live.answer) cards.show([...live.answer], live.answer.changes?.enter.map((row) => row.seq));
}

function showPlain() {
  if (plainLive.answer) plain.show([...plainLive.answer], interest, live?.answer);
}

/** Look at an item, or want more or less of its kind: the interest moves, the others are told. */
async function pick(row, verdict) {
  interest.judge(row, verdict);
  trail.show();
  const told = { session, item: row.id, name: row.metadata.name, at: Date.now(), verdict };
  await Promise.all([
    move(),
    db.add(clicks, [row.vector], { metadata: [told] }),
  ]);
}

async function pickById(id) {
  const [row] = await db.get(apps, [id], { include: ["metadata", "vector"] });
  if (row) await pick(row, "look");
}

function offerSections() {
  find("#sections").replaceChildren(...sections.map((section) => {
    const button = element("button", { ariaPressed: "false" }, section);
    button.addEventListener("click", () => {
      if (!chosen.delete(section)) chosen.add(section);
      button.ariaPressed = `${chosen.has(section)}`;
      recommend();
    });
    return button;
  }));
}

offerSections();
recommend();
setInterval(() => {
  // Ages.
  show();
  showPlain();
}, REFRESH_MS);
await others.follow(db, clicks);
db.watchStats(apps, { every: 1000 }).addEventListener("data", ({ detail }) => {
  find("#stock").textContent = `${detail.rows.toLocaleString()} apps, ${Math.round(detail.adds_per_s ?? 0)} releases a second`;
});
