/** Frames and their answers; no I/O. */

import { fail } from "./errors.js";
import { asId } from "./requests.js";

const HEADER_BYTES = 32;
export const KINDS = { ADD: 1, ADDED: 2, SEARCH: 3, RESULTS: 4, LIVE: 5, ROWS: 6, SUBSCRIBE: 7, MOVE: 8 };
const REASONS = ["displaced", "evicted", "expired", "replaced", "deleted", "filtered", "updated"];
const padded = (bytes) => (bytes + 7) & ~7;
export const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder();

export function encodeFrame({ kind, flags = 0, id, handle = 0, n, dim = 0, k = 0, json = {}, sections }) {
  const text = utf8.encode(Object.keys(json).length ? JSON.stringify(json) : "");
  const parts = [text, ...sections];
  const length = parts.reduce((sum, part) => sum + padded(part.byteLength), HEADER_BYTES);
  const buffer = new ArrayBuffer(length);
  const view = new DataView(buffer);
  const first = 0xdb | (1 << 8) | (kind << 16) | (flags << 24);
  [first, id, handle, n, dim, k, text.length].forEach((word, place) => view.setUint32(4 * place, word, true));
  let offset = HEADER_BYTES;
  for (const part of parts) {
    new Uint8Array(buffer, offset).set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    offset += padded(part.byteLength);
  }
  return buffer;
}

/** `next` lays typed arrays over sections. */
function openFrame(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < HEADER_BYTES || view.getUint16(0, true) !== 0x01db) {
    fail("bad_frame", "the server sent a frame of another protocol");
  }
  const at = (offset) => view.getUint32(offset, true);
  let offset = HEADER_BYTES;
  const next = (Type, count) => {
    const array = new Type(buffer, offset, count);
    offset += padded(array.byteLength);
    return array;
  };
  const numbers = (count) => {
    const list = new Float64Array(count);
    // Faster than from.
    next(BigUint64Array, count).forEach((value, place) => (list[place] = Number(value)));
    return list;
  };
  const text = next(Uint8Array, at(24));
  return {
    kind: view.getUint8(2), flags: view.getUint8(3), id: at(4), n: at(12), dim: at(16), k: at(20), tookUs: at(28),
    json: text.length ? JSON.parse(fromUtf8.decode(text)) : {},
    next,
    numbers,
  };
}

function readHits(frame, count, isScored = true) {
  const { json, dim, next } = frame;
  const ids = json.ids ?? next(BigUint64Array, count);
  const seqs = frame.numbers(count);
  const scores = isScored ? next(Float32Array, count) : null;
  const ranks = frame.flags & 4 ? next(Float64Array, count) : null;
  const vectors = frame.flags & 2 ? next(Float32Array, count * dim) : null;
  const { at = null, weights = null, metadata = null, versions = null } = json;
  const near = json.near ? nearIds(json.near, Array.isArray(ids)) : null;
  return { ids, seqs, scores, near, ranks, weights, at, vectors, metadata, dim, versions };
}

export const nearIds = (near, areTexts) => (areTexts ? near : near.map((id) => (id === null ? null : asId(BigInt(id)))));

export function decodeFrame(buffer) {
  const frame = openFrame(buffer);
  const { kind, id, n, k } = frame;
  const isFlagged = (frame.flags & 1) === 1;
  if (kind === KINDS.ADDED) {
    const [version, firstSeq, lastSeq] = frame.numbers(3);
    const seqs = firstSeq ? { firstSeq, lastSeq } : { firstSeq: null, lastSeq: null };
    const { skipped, near } = frame.json;
    return { type: "added", id, version, ...seqs, duplicate: isFlagged, ...(frame.flags & 2 ? { skipped, near } : {}) };
  }
  if (kind === KINDS.RESULTS) {
    const [version] = frame.numbers(1);
    const counts = frame.next(Uint32Array, n);
    const hits = readHits(frame, k);
    let start = 0;
    const answers = Array.from(counts, (count) => {
      start += count;
      return new Answer(slice(hits, start - count, start), version, frame.tookUs);
    });
    return { type: "results", id, version, answers, subs: frame.json.subs ?? null };
  }
  if (kind === KINDS.LIVE) {
    const [version] = frame.numbers(1);
    const enter = new Answer(readHits(frame, n), version);
    const leaveSeqs = frame.numbers(k);
    const reasons = Array.from(frame.next(Uint8Array, k), (code) => REASONS[code] ?? "displaced");
    return { type: "live", sub: id, version, versions: enter.versions, enter: [...enter], leaveSeqs, reasons };
  }
  if (kind === KINDS.ROWS) {
    const [version, toSeq] = frame.numbers(2);
    const rows = new Answer(readHits(frame, n, isFlagged), version);
    const type = rows.near ? "novel" : isFlagged ? "match" : "feed";
    return { type, sub: id, version, toSeq, rows };
  }
  return { type: "unknown", id, frame };
}

function slice(hits, start, stop) {
  const { ids, seqs, scores, ranks, weights, vectors, metadata } = hits;
  const cut = (array, width = 1) =>
    array && (array.subarray ?? array.slice).call(array, start * width, stop * width);
  return {
    ...hits, ids: cut(ids), seqs: cut(seqs), scores: cut(scores), ranks: cut(ranks), weights: cut(weights),
    vectors: cut(vectors, hits.dim), metadata: cut(metadata),
  };
}

export class Answer {
  constructor(hits, version, tookUs = 0) {
    Object.assign(this, { version, tookUs, near: null, ranks: null, weights: null, at: null }, hits);
  }
  get length() {
    return this.seqs.length;
  }
  row(place) {
    const row = { id: asId(this.ids[place]), seq: this.seqs[place] };
    if (this.scores) row.score = this.scores[place];
    if (this.near) row.near = this.near[place];
    if (this.ranks) row.rank = Number.isNaN(this.ranks[place]) ? null : this.ranks[place];
    if (this.weights) row.weight = this.weights[place];
    if (this.metadata) row.metadata = this.metadata[place];
    if (this.vectors) row.vector = this.vectors.subarray(place * this.dim, (place + 1) * this.dim);
    return row;
  }
  *[Symbol.iterator]() {
    for (let place = 0; place < this.length; place++) yield this.row(place);
  }
  /** `rest`: what no rows cannot tell. */
  static fromRows(rows, version, hasStringIds = false, rest = {}) {
    const { isRanked, isWeighted, at = null, tookUs = 0, versions = null } = rest;
    const has = (name) => rows[0]?.[name] !== undefined;
    const dim = rows[0]?.vector?.length ?? 0;
    const vectors = has("vector") ? new Float32Array(rows.length * dim) : null;
    if (vectors) rows.forEach((row, place) => vectors.set(row.vector, place * dim));
    const all = (name) => rows.map((row) => row[name]);
    return new Answer({
      ids: hasStringIds ? all("id") : BigUint64Array.from(all("id"), BigInt),
      seqs: Float64Array.from(all("seq")),
      scores: !rows.length || has("score") ? Float32Array.from(all("score")) : null,
      ranks: isRanked ? Float64Array.from(all("rank"), (rank) => rank ?? NaN) : null,
      weights: isWeighted ? all("weight") : null,
      at,
      metadata: has("metadata") ? all("metadata") : null,
      vectors, dim, versions,
    }, version, tookUs);
  }
}
