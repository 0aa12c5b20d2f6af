/** Whole collections out of a server, and in, beside client.js; snapshots.d.ts says what there is. */

import { fail, lost } from "./client/errors.js";
import { encodeFrame } from "./client/frames.js";
import { known, OPTIONS } from "./client/requests.js";

const RESTORE = 10;
/** What goes into one message; limits may say less. */
const PIECE_BYTES = 1 << 20;
const FRAME_BYTES = 40;

/** A snapshot or restore is its connection's: there is none of that number on the next. */
function within(db, own, work, options) {
  const check = (link) => {
    if (link !== own || !link.isOpen) throw lost("the connection closed that it was begun on");
    return link;
  };
  return db.call((link) => work(check(link)), { ...options, repeat: false, failFast: !own.isOpen });
}

export class Snapshot {
  bytes = 0;
  #db;
  #link;
  #number;
  #options;
  #isOver = false;

  constructor(db, link, begun, options) {
    const { snapshot, ...description } = begun;
    this.description = description;
    [this.#db, this.#link, this.#number, this.#options] = [db, link, snapshot, options];
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (let data; (data = await this.#next()); ) yield data;
    } finally {
      await this.end();
    }
  }

  stream() {
    return new ReadableStream({
      pull: async (controller) => {
        const data = await this.#next();
        if (data) controller.enqueue(data);
        else controller.close();
      },
      cancel: () => this.end(),
    }, { highWaterMark: 0 });
  }

  async end() {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#link.isOpen) await this.#link.op("snapshot", { end: this.#number }).catch(() => {});
  }

  async #next() {
    if (this.#isOver) return null;
    const ask = (link) => link.op("snapshot", { snapshot: this.#number });
    const { frame } = await within(this.#db, this.#link, ask, this.#options);
    this.#isOver = (frame.flags & 1) === 1;
    this.bytes += frame.n;
    return frame.next(Uint8Array, frame.n);
  }
}

export async function snapshot(db, collection, options) {
  known(options, OPTIONS.call);
  const begin = async (link) => [link, await link.op("snapshot", { collection })];
  const [link, begun] = await db.call(begin, options);
  return new Snapshot(db, link, begun, options);
}

export async function restore(db, collection, source, options) {
  known(options, [...OPTIONS.call, "durability", "replicas", "onBytes"]);
  const { durability, replicas, onBytes, ...call } = options ?? {};
  const body = { collection, durability: durability ?? undefined, replicas: replicas ?? undefined };
  const read = readerOf(source);
  const begin = async (link) => [link, await link.op("restore", body)];
  const [link, { restore: handle }] = await db.call(begin, { ...call, repeat: false });
  let bytes = 0;
  try {
    const most = Math.min(PIECE_BYTES, link.limits.max_message_bytes - FRAME_BYTES);
    for await (const data of inPieces(read(), most)) {
      const encode = (id) => encodeFrame({ kind: RESTORE, id, handle, n: data.length, sections: [data] });
      const told = await within(db, link, (own) => own.ask(encode), call);
      bytes += data.length;
      onBytes?.(bytes);
      if (told.collection !== undefined) return told;
    }
    return fail("bad_request", `source: it is cut off behind ${bytes} bytes`);
  } catch (error) {
    if (link.isOpen) await link.op("restore", { end: handle }).catch(() => {});
    throw error;
  }
}

/** What reads a source from its beginning, as far as one can tell without reading. */
function readerOf(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return () => [source];
  const stream = source?.body ?? (typeof source?.stream === "function" ? source.stream() : source);
  if (stream?.[Symbol.asyncIterator] || stream?.[Symbol.iterator]) return () => stream;
  if (typeof stream?.getReader === "function") return () => chunksOf(stream);
  return fail("bad_request", "source: must be bytes, a Blob, a ReadableStream, or an iterable of bytes");
}

/** Not every browser iterates streams. */
async function* chunksOf(stream) {
  const reader = stream.getReader();
  let isOver = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      isOver = done;
      if (done) return;
      yield value;
    }
  } finally {
    if (!isOver) await reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}

/** `chunks` cut anew: small ones go together, large ones apart. */
async function* inPieces(chunks, most) {
  let piece = new Uint8Array(most);
  let length = 0;
  for await (const chunk of chunks) {
    const data = toBytes(chunk);
    for (let start = 0; start < data.length; ) {
      const some = data.subarray(start, start + most - length);
      piece.set(some, length);
      length += some.length;
      start += some.length;
      if (length < most) continue;
      yield piece;
      piece = new Uint8Array(most);
      length = 0;
    }
  }
  if (length) yield piece.subarray(0, length);
}

function toBytes(chunk) {
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk);
  if (!ArrayBuffer.isView(chunk)) fail("bad_request", "source: must give bytes");
  return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}
