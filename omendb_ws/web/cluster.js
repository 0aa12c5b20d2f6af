/** What operators do in a cluster of nodes, beside client.js; cluster.d.ts says what there is. */

import { known, OPTIONS } from "./client/requests.js";
import { Newest } from "./client/subscription.js";

class ClusterWatch extends Newest {
  take({ event, sub, ...cluster }) {
    this.item(cluster);
  }
}

export function cluster(db, options) {
  return ask(db, "cluster", {}, options);
}

export function watchCluster(db, options) {
  known(options, ["every"]);
  return new ClusterWatch(db, "cluster", null, options);
}

export async function moveOwner(db, collection, to, options) {
  return (await ask(db, "move_owner", { collection, to: to ?? undefined }, options)).owner;
}

export async function evacuate(db, node, options) {
  known(options, [...OPTIONS.call, "state"]);
  const { state, ...call } = options ?? {};
  return (await ask(db, "evacuate", { node, state }, call)).collections;
}

export async function heal(db, collection, options) {
  return (await ask(db, "heal", { collection }, options)).version;
}

function ask(db, op, body, options) {
  known(options, OPTIONS.call);
  return db.call((link) => link.op(op, body), options);
}
