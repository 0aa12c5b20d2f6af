/**
 * `cluster.js`, beside `client.js`: who is in a cluster, and what is to move. Rejects with `unsupported`
 * on a server by itself.
 *
 *     import { connect } from "http://localhost:8765/client.js";
 *     import { cluster, moveOwner } from "http://localhost:8765/cluster.js";
 *     const db = await connect("ws://localhost:8765/v1");
 *     for (const { node, state, rows } of (await cluster(db)).nodes) console.log(node, state, rows);
 *     await moveOwner(db, "items", "two");
 */

import type { CallOptions, Client } from "./client.js";

/** One node; null is what only operators are told. */
export interface ClusterNode {
  node: string;
  address: string | null;
  /** Of its software. */
  version: string;
  /** `leaving`: it is to hold nothing. */
  state: "up" | "leaving" | "gone";
  /** How many it holds, and owns of these. */
  collections: number;
  owned: number;
  rows: number;
  /** When it started: Unix seconds. */
  since: number;
}

export interface Cluster {
  /** Who says it. */
  node: string;
  collections: number;
  /** How many of them no node owns. */
  ownerless: number;
  nodes: ClusterNode[];
  /** The servers known; null is what only operators are told. */
  nats: { address: string; connected: boolean }[] | null;
}

/** As the node that answers knew it a moment ago. Rejects with `forbidden`. */
export function cluster(db: Client, options?: CallOptions): Promise<Cluster>;

/**
 * Have the node `to` own a collection; null leaves it to the cluster again. Resolves with who owns it now:
 * that changes once the other node has all of it. Rejects with `bad_request` (`to`), `not_found`, `forbidden`.
 */
export function moveOwner(
  db: Client,
  collection: string,
  to?: string | null,
  options?: CallOptions,
): Promise<string | null>;

export interface EvacuateOptions extends CallOptions {
  /** `up` has it stay, and hold its part again. Default: `leaving`. */
  state?: "leaving" | "up";
}

/**
 * Have a node hold nothing, so that it can be stopped. Resolves with how many collections it holds still;
 * `cluster` says when nothing is left. Rejects with `bad_request` (`node`), `forbidden`.
 */
export function evacuate(db: Client, node: string, options?: EvacuateOptions): Promise<number>;
