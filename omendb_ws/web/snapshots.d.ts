/**
 * `snapshots.js`, beside `client.js`: all of a collection as bytes, and a collection made of them. Both
 * take a token with `admin`, a snapshot also `read`, a restore also `write`, on all of the collection.
 *
 *     import { connect } from "http://localhost:8765/client.js";
 *     import { restore, snapshot } from "http://localhost:8765/snapshots.js";
 *     const db = await connect("ws://localhost:8765/v1");
 *     await restore(db, "items-2", (await snapshot(db, "items")).stream());
 */

import type { CallOptions, Client, Description, Durability } from "./client.js";

/**
 * All of a collection as it was at `description.version`, read once: by iterating it, or by `stream()`.
 * It is of its connection, and goes with that (`connection_lost`). A connection reads one at a time: the
 * one before ends. What leaves the collection before it was read is kept for it, in the server's memory;
 * where that is full, it is lost (`quota`).
 */
export class Snapshot implements AsyncIterable<Uint8Array> {
  readonly description: Description;
  /** How many came so far. */
  readonly bytes: number;
  /** About 1 MiB each, asked for when they are wanted; leaving the loop ends it. */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void>;
  stream(): ReadableStream<Uint8Array>;
  /** Read it no further. Again and again. */
  end(): Promise<void>;
}

/** Rejects with `not_found`, `forbidden`, `quota`. */
export function snapshot(db: Client, collection: string, options?: CallOptions): Promise<Snapshot>;

export type Bytes = ArrayBuffer | ArrayBufferView;

/** Of one snapshot, however it is cut. A `Response` of `fetch` is read as its `body`. */
export type Source =
  | Bytes | Blob | Response | ReadableStream<Bytes> | AsyncIterable<Bytes> | Iterable<Bytes>;

export interface RestoreOptions extends CallOptions {
  /** Default: that of the snapshot. */
  durability?: Durability;
  /** How many nodes of a cluster hold it, as for `create`. */
  replicas?: number;
  /** Told how many bytes the server has taken in. */
  onBytes?: (bytes: number) => void;
}

/**
 * Make a collection of a snapshot, under any name. It is there, whole, when this resolves with what it
 * is; where it rejects (`bad_request` with the place: cut off, altered; `exists`, `quota`, `too_large`,
 * `unsupported`, `connection_lost`, or what reading the source threw) nothing is. Of the last bytes alone
 * the outcome is unknown where their connection was lost. `timeoutMs` is for each message.
 */
export function restore(
  db: Client,
  collection: string,
  source: Source,
  options?: RestoreOptions,
): Promise<Description>;
