/** An app store: what you click moves your interest, and with it a live query; it is all pushed. */

import { apps, clicks, connect, sections, url } from "/server.js";
import { Cards } from "./cards.js";
import { element } from "./elements.js";
import { Interest, REMEMBERED } from "./interest.js";
import { Others } from "./others.js";

const SHOWN = 12;
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
const cards = new Cards(find("#cards"), (row) => pick(row).catch(complain));
const others = new Others(find("#others"), session, (id) => pickById(id).catch(complain));
const chosen = new Set();
let live = null;

function showState() {
  const state = find("#state");
  state.textContent = { open: "connected", waiting: "reconnecting" }[db.state] ?? db.state;
  state.dataset.state = db.state;
}

/** Ask anew, as a filter is part of a query; the vector is only moved. More are asked for than are
 * shown, in place of those that were clicked. */
function recommend() {
  live?.close();
  const filter = chosen.size ? { section: { $in: [...chosen] } } : undefined;
  const query = db.live(apps, interest.vector, { k: SHOWN + REMEMBERED, filter, include: ["metadata", "vector"] });
  query.addEventListener("data", () => {
    if (query !== live) return;
    complain(null);
    show();
  });
  query.addEventListener("state", ({ detail: state }) => {
    if (query === live && state === "ended") complain(query.error ?? new Error(`The query ended: ${query.reason}.`));
  });
  live = query;
}

async function move() {
  const query = live;
  await query.move(interest.vector).catch((error) => {
    // Another filter may have taken its place meanwhile, and asks for the same vector.
    if (query === live) throw error;
  });
}

function show() {
  const fresh = [...live.answer].filter((row) => !interest.clicked.has(row.id));
  cards.show(fresh.slice(0, SHOWN), live.answer.changes?.enter.map((row) => row.seq));
}

/** Look at an item: the interest moves, the others are told. */
async function pick(row) {
  interest.click(row);
  showTrail();
  if (live.answer) show();
  const seen = { session, item: row.id, name: row.metadata.name, at: Date.now() };
  await Promise.all([
    move(),
    db.add(clicks, [row.vector], { metadata: [seen] }),
  ]);
}

async function pickById(id) {
  const [row] = await db.get(apps, [id], { include: ["metadata", "vector"] });
  if (row) await pick(row);
}

function showTrail() {
  const names = [...interest.clicked.values()].reverse();
  find("#trail ol").replaceChildren(...names.map((name) => element("li", {}, name)));
  find("#trail p").hidden = names.length > 0;
  find("#trail button").hidden = names.length === 0;
  find("#why").textContent = names.length
    ? `Because you looked at ${names.slice(0, 3).join(", ")}${names.length > 3 ? " …" : "."}`
    : "A mixed bag, to begin with: pick what you like.";
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

find("#trail button").addEventListener("click", () => {
  interest.forget();
  showTrail();
  move().catch(complain);
});
offerSections();
recommend();
await others.follow(db, clicks);
db.watchStats(apps, { every: 1000 }).addEventListener("data", ({ detail }) => {
  find("#stock").textContent = `${detail.rows.toLocaleString()} apps, ${Math.round(detail.adds_per_s ?? 0)} releases a second`;
});
