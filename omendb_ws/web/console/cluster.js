/**
 * The cluster as the node of this page sees it: who is there, who owns and follows what, servers of NATS;
 * and what operators have it do. Hidden on a server by itself, and from tokens that are not told of it.
 */

import { evacuate, watchCluster } from "../cluster.js";
import { Lines, say } from "./lines.js";
import { Moving } from "./moving.js";
import { whole } from "./numbers.js";
import { may, mayEverywhere } from "./rights.js";

const TROUBLES = {
  due: "its log is not what was written; healed soon",
  waiting: "its log is not what was written; waits to be healed",
  lost: "its log is not what was written, and no node has any of it",
};

const many = (count, one, more = `${one}s`) => `${whole(count)} ${count === 1 ? one : more}`;
const time = (since) => new Date(since * 1000).toISOString().slice(0, 16).replace("T", " ");

/** By what nodes said of late, how many changes each lacks. */
function behind({ owner, replicas }) {
  const newest = Math.max(0, ...replicas.filter(({ node }) => node === owner || owner === null).map(({ version }) => version));
  return replicas.map((one) => ({ ...one, behind: Math.max(0, newest - one.version) }));
}

function follower({ node, state, behind: lacks }) {
  if (state !== "follower") return `${node} (${state})`;
  return lacks ? `${node} (${whole(lacks)} behind)` : node;
}

export class ClusterView {
  constructor(section, dialog) {
    Object.assign(this, { section, db: null, watch: null, seen: null });
    [this.about, this.servers, this.more, this.said, this.problem] =
      [".about", ".servers", ".more", ".said", ".problem"].map((name) => section.querySelector(name));
    this.tables = section.querySelectorAll(".scroll");
    const [nodes, places] = section.querySelectorAll("tbody");
    this.nodes = new Lines(nodes, [2, 3, 4]);
    this.places = new Lines(places, [3]);
    this.moving = new Moving(dialog, (text) => this.tell(text));
  }

  /** `db` is another one, or what its token may. */
  use(db) {
    // A server that is another one now may be a node.
    if (db !== this.db) db.addEventListener("state", () => db === this.db && db.state === "open" && !this.watch && this.use(db));
    this.watch?.close();
    this.watch = null;
    this.db = db;
    this.hide();
    const { identity } = db;
    if (identity && !identity.rights.includes("operator") && !mayEverywhere(identity, "admin")) return;
    const watch = (this.watch = watchCluster(db, { every: 500 }));
    watch.addEventListener("data", ({ detail }) => watch === this.watch && this.show(detail));
    watch.addEventListener("state", () => watch === this.watch && watch.state === "ended" && this.ended(watch));
  }

  ended(watch) {
    // What was seen last stays to be read.
    if (this.db.state === "closed") return;
    this.watch = null;
    if (watch.reason === "forbidden") this.use(this.db);
    else if (["unsupported", "forbidden"].includes(watch.error?.code)) this.hide();
    else say(this.problem, watch.error?.message ?? "");
  }

  hide() {
    this.seen = null;
    this.section.hidden = true;
    this.tell("");
    this.moving.leave();
  }

  /** What came of what was asked, or why nothing did. */
  tell(text, error) {
    say(this.said, text);
    say(this.problem, error?.message ?? "");
  }

  show(seen) {
    this.seen = seen;
    this.section.hidden = false;
    const { node, fresh, collections, ownerless, waiting, places, nats } = seen;
    const troubles = [
      ownerless && `${whole(ownerless)} without an owner`,
      waiting && `${whole(waiting)} waiting to be healed`,
    ].filter(Boolean);
    const of = [many(collections, "collection"), ...troubles].join(", ");
    say(this.about, fresh ? `As ${node} sees it: ${of}.` : `${node} cannot reach NATS: this is of some time ago.`);
    for (const table of this.tables) table.classList.toggle("stale", !fresh);
    this.nodes.show(seen.nodes.map((one) => this.#node(one)));
    this.places.show(places.map((one) => this.#place(one)));
    this.tables[1].hidden = !places.length;
    const servers = nats?.map(({ address, connected }) => (connected ? `${address} (which ${node} uses)` : address));
    say(this.servers, servers ? `NATS at ${servers.join(", ")}.` : "");
    const more = collections - places.length;
    say(this.more, more > 0 ? `And ${many(more, "more collection", "more collections")}.` : "");
  }

  #node(one) {
    const { node, state, owned, collections, rows, since, version, address } = one;
    const cells = [node, state, whole(owned), whole(collections), whole(rows), time(since), version, address ?? "–"];
    return { key: node, cells, acts: this.#nodeActs(one) };
  }

  #nodeActs({ node, state }) {
    const { identity } = this.db;
    const mayIt = !identity || (identity.rights.includes("operator") && mayEverywhere(identity, "admin"));
    if (!mayIt || state === "gone") return [];
    if (state === "leaving") return [["Let it stay", node, () => this.#stay(node)]];
    return [["Evacuate", node, () => this.moving.evacuate(this.db, node)]];
  }

  #place(place) {
    const { tenant, collection, owner, healing } = place;
    const all = behind(place);
    const others = all.filter(({ node }) => node !== owner);
    const lag = Math.max(0, ...others.filter(({ state }) => state === "follower").map((one) => one.behind));
    const trouble = TROUBLES[healing] ?? healing ?? (owner === null ? "no node owns it now" : "");
    const cells = [
      this.#called(tenant, collection), owner ?? "–", others.map(follower).join(", ") || "–", whole(lag), trouble,
    ];
    return { key: `${tenant}/${collection}`, cells, acts: this.#placeActs(place) };
  }

  #placeActs({ tenant, collection, owner, healing }) {
    const { identity } = this.db;
    // Those of other tenants are told of, and are not in reach.
    if ((identity && identity.tenant !== tenant) || !may(identity, "admin", collection)) return [];
    if (healing === "waiting") return [["Heal", collection, () => this.moving.heal(this.db, collection)]];
    if (healing) return [];
    const nodes = this.seen.nodes.filter(({ state }) => state === "up").map(({ node }) => node);
    return [["Move", collection, () => this.moving.move(this.db, collection, owner, nodes)]];
  }

  #called(tenant, collection) {
    const own = this.db.identity?.tenant ?? "default";
    return tenant === own ? collection : `${collection} of ${tenant}`;
  }

  async #stay(node) {
    try {
      await evacuate(this.db, node, { state: "up" });
      this.tell(`${node} stays, and takes its part again.`);
    } catch (error) {
      this.tell("", error);
    }
  }
}
