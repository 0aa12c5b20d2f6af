/**
 * `cluster.js`, beside `client.js`: who is in a cluster, what is to move, and to be healed. Rejects with `unsupported`
 * on a server by itself.
 *
 *     import { connect } from "http://localhost:8765/client.js";
 *     import { cluster, moveOwner } from "http://localhost:8765/cluster.js";
 *     const db = await connect("ws://localhost:8765/v1");
 *     for (const { node, state, rows } of (await cluster(db)).nodes) console.log(node, state, rows);
 *     await moveOwner(db, "items", "two");
 */

import type { CallOptions, Client, Replica, Subscription } from "./client.js";

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

/** Where a collection is. */
export interface ClusterPlace {
  tenant: string;
  collection: string;
  /** The node that takes its changes; null: none does now. */
  owner: string | null;
  /** What nodes have of it, and how far they are. */
  replicas: Replica[];
  /**
   * Null while nodes answer for it. Else its log is not what was written: it is healed soon (`due`), or when
   * an operator asks for it (`waiting`); or no node has any of it (`lost`).
   */
  healing: "due" | "waiting" | "lost" | null;
}

export interface Cluster {
  /** Who says it. */
  node: string;
  /** Whether that node is in touch with the others: else all of it is of some time ago. */
  fresh: boolean;
  collections: number;
  /** How many of them no node owns. */
  ownerless: number;
  /** How many of them wait until an operator asks for their healing. */
  waiting: number;
  nodes: ClusterNode[];
  /** The first 256: those in trouble, then by name. */
  places: ClusterPlace[];
  /** The servers known; null is what only operators are told. */
  nats: { address: string; connected: boolean }[] | null;
}

/** As the node that answers knew it a moment ago. Rejects with `forbidden`. */
export function cluster(db: Client, options?: CallOptions): Promise<Cluster>;

/**
 * The same, first of this moment, then whenever it has changed: the newest, at most each `every` ms (100 to
 * 60,000, default 1000). Ends with the error `unsupported` on a server by itself.
 */
export function watchCluster(db: Client, options?: { every?: number }): Subscription<Cluster>;

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

/**
 * Have a collection that waits to be healed become what a node kept of it, under a new epoch. Resolves with the
 * version that it will have within seconds. Rejects with `bad_request` where there is nothing to heal, or
 * nothing to heal it from; `not_found`, `forbidden`.
 */
export function heal(db: Client, collection: string, options?: CallOptions): Promise<number>;
