/** What operators do in a cluster of nodes, beside client.js; cluster.d.ts says what there is. */

import { known, OPTIONS } from "./client/requests.js";

export function cluster(db, options) {
  return ask(db, "cluster", {}, options);
}

export async function moveOwner(db, collection, to, options) {
  return (await ask(db, "move_owner", { collection, to: to ?? undefined }, options)).owner;
}

export async function evacuate(db, node, options) {
  known(options, [...OPTIONS.call, "state"]);
  const { state, ...call } = options ?? {};
  return (await ask(db, "evacuate", { node, state }, call)).collections;
}

function ask(db, op, body, options) {
  known(options, OPTIONS.call);
  return db.call((link) => link.op(op, body), options);
}
