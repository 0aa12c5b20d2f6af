/** Frames (PROTOCOL section 7) and the answers in them: bytes <-> typed arrays, no I/O. */

import { fail } from "./errors.js";
import { asId } from "./requests.js";

const HEADER_BYTES = 32;
export const KINDS = { ADD: 1, ADDED: 2, SEARCH: 3, RESULTS: 4, LIVE: 5, ROWS: 6, SUBSCRIBE: 7, MOVE: 8 };
const REASONS = ["displaced", "evicted", "expired", "replaced", "deleted", "filtered", "updated"];
const padded = (bytes) => (bytes + 7) & ~7;
export const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder();

/** One binary message: `json` as `plain` gives it; `sections` are typed arrays, in this order. */
export function encodeFrame({ kind, flags = 0, id, handle = 0, n, dim = 0, k = 0, json, sections }) {
  const text = json && Object.keys(json).length ? utf8.encode(JSON.stringify(json)) : new Uint8Array(0);
  const parts = [text, ...sections];
  const length = parts.reduce((sum, part) => sum + padded(part.byteLength), HEADER_BYTES);
  const buffer = new ArrayBuffer(length);
  const view = new DataView(buffer);
  view.setUint32(0, (0xdb | (1 << 8) | (kind << 16) | (flags << 24)) >>> 0, true);
  [id, handle, n, dim, k, text.byteLength, 0].forEach((value, place) =>
    view.setUint32(4 + 4 * place, value, true),
  );
  let offset = HEADER_BYTES;
  for (const part of parts) {
    new Uint8Array(buffer, offset).set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    offset += padded(part.byteLength);
  }
  return buffer;
}

/** Header and JSON of a received frame, and `next`, which lays typed arrays over its sections. */
function openFrame(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < HEADER_BYTES || view.getUint16(0, true) !== 0x01db) {
    fail("bad_frame", "the server sent a frame of another protocol");
  }
  const at = (offset) => view.getUint32(offset, true);
  const frame = {
    kind: view.getUint8(2), flags: view.getUint8(3), id: at(4), n: at(12), dim: at(16), k: at(20),
    tookUs: at(28), json: {},
  };
  let offset = HEADER_BYTES;
  frame.next = (Type, count) => {
    const array = new Type(buffer, offset, count);
    offset += padded(array.byteLength);
    return array;
  };
  const text = frame.next(Uint8Array, at(24));
  if (text.length) frame.json = JSON.parse(fromUtf8.decode(text));
  return frame;
}

/** The arrays of hits in the order of RESULTS, LIVE and ROWS. */
function readHits(frame, count, { scored }) {
  const ids = frame.json.ids ?? frame.next(BigUint64Array, count);
  const seqs = Float64Array.from(frame.next(BigUint64Array, count), Number);
  const scores = scored ? frame.next(Float32Array, count) : null;
  const vectors = frame.flags & 2 ? frame.next(Float32Array, count * frame.dim) : null;
  return { ids, seqs, scores, vectors, metadata: frame.json.metadata ?? null, dim: frame.dim };
}

/** A received frame, read. `type` is "added", "results", "live", "feed", "match" or "unknown". */
export function decodeFrame(buffer) {
  const frame = openFrame(buffer);
  const { kind, id, n, k } = frame;
  if (kind === KINDS.ADDED) {
    const [version, firstSeq, lastSeq] = [0, 1, 2].map(() => Number(frame.next(BigUint64Array, 1)[0]));
    const known = firstSeq > 0;
    return {
      type: "added", id, version, firstSeq: known ? firstSeq : null,
      lastSeq: known ? lastSeq : null, duplicate: (frame.flags & 1) === 1,
    };
  }
  if (kind === KINDS.RESULTS) {
    const version = Number(frame.next(BigUint64Array, 1)[0]);
    const counts = frame.next(Uint32Array, n);
    const hits = readHits(frame, k, { scored: true });
    let start = 0;
    const answers = Array.from(counts, (count) => {
      start += count;
      return new Answer(slice(hits, start - count, start), version, frame.tookUs);
    });
    return { type: "results", id, version, answers, subs: frame.json.subs ?? null };
  }
  if (kind === KINDS.LIVE) {
    const version = Number(frame.next(BigUint64Array, 1)[0]);
    // The vectors stand between the entering rows' scores and the leaving rows.
    const enter = new Answer(readHits(frame, n, { scored: true }), version);
    const leaveSeqs = Float64Array.from(frame.next(BigUint64Array, k), Number);
    const reasons = Array.from(frame.next(Uint8Array, k), (code) => REASONS[code] ?? "displaced");
    return { type: "live", sub: id, version, enter: [...enter], leaveSeqs, reasons };
  }
  if (kind === KINDS.ROWS) {
    const [version, toSeq] = [0, 1].map(() => Number(frame.next(BigUint64Array, 1)[0]));
    const isMatch = (frame.flags & 1) === 1;
    const rows = new Answer(readHits(frame, n, { scored: isMatch }), version);
    return { type: isMatch ? "match" : "feed", sub: id, version, toSeq, rows };
  }
  // A kind that is not known is passed over, as events are.
  return { type: "unknown", id };
}

export function slice(hits, start, stop) {
  const cut = (array, width = 1) =>
    array === null ? null
    : Array.isArray(array) ? array.slice(start, stop)
    : array.subarray(start * width, stop * width);
  return {
    ids: cut(hits.ids), seqs: cut(hits.seqs), scores: cut(hits.scores),
    vectors: cut(hits.vectors, hits.dim), metadata: cut(hits.metadata), dim: hits.dim,
  };
}

export class Answer {
  constructor({ ids, seqs, scores, vectors, metadata, dim }, version, tookUs = 0) {
    Object.assign(this, { version, tookUs, ids, seqs, scores, vectors, metadata, dim });
  }
  get length() {
    return this.seqs.length;
  }
  row(place) {
    const row = { id: asId(this.ids[place]), seq: this.seqs[place] };
    if (this.scores) row.score = this.scores[place];
    if (this.metadata) row.metadata = this.metadata[place];
    if (this.vectors) row.vector = this.vectors.subarray(place * this.dim, (place + 1) * this.dim);
    return row;
  }
  *[Symbol.iterator]() {
    for (let place = 0; place < this.length; place++) yield this.row(place);
  }
  /** From row objects, as JSON replies and live views have them. */
  static fromRows(rows, version, { hasStringIds, tookUs = 0 }) {
    const has = (name) => rows.length > 0 && rows[0][name] !== undefined;
    const dim = has("vector") ? rows[0].vector.length : 0;
    const vectors = has("vector") ? new Float32Array(rows.length * dim) : null;
    if (vectors) rows.forEach((row, place) => vectors.set(row.vector, place * dim));
    const ids = rows.map((row) => row.id);
    return new Answer({
      ids: hasStringIds ? ids : BigUint64Array.from(ids, BigInt),
      seqs: Float64Array.from(rows, (row) => row.seq),
      scores: !rows.length || has("score") ? Float32Array.from(rows, (row) => row.score) : null,
      metadata: has("metadata") ? rows.map((row) => row.metadata) : null,
      vectors, dim,
    }, version, tookUs);
  }
}
