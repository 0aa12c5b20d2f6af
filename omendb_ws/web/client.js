/**
 * The browser's client of OmenDB-WS: one module, nothing to build, nothing else needed. What everything takes, gives and promises stands in client.d.ts. Speaks `omendb.v1` (PROTOCOL.md).
 * Parts, in order: errors; frames (bytes <-> typed arrays, no I/O); answers; what goes into requests;
 * links (one WebSocket); the client (reconnects, calls, adds); subscriptions.
 */

// -- errors -----------------------------------------------------------------------------------

export class OmenError extends Error {
  constructor(code, message, details = {}) {
    super(`${code}: ${message}`);
    this.name = "OmenError";
    this.code = code;
    this.retry = details.retry === true;
    this.row = details.row;
    this.details = details;
  }
}

const fail = (code, message, details) => {
  throw new OmenError(code, message, details);
};
const lost = (message) => new OmenError("connection_lost", message, { retry: true });
/** Why the server ended a subscription, where that is an error. */
const ENDS = {
  forbidden: "the right to read was taken",
  unavailable: "the collection needs repair",
};
const fromWire = ({ code, message, ...details }) =>
  Object.assign(new OmenError(code, message, details), { isReply: true });

// -- frames: PROTOCOL section 7 ---------------------------------------------------------------

const HEADER_BYTES = 32;
const KINDS = { ADD: 1, ADDED: 2, SEARCH: 3, RESULTS: 4, LIVE: 5, ROWS: 6, SUBSCRIBE: 7, MOVE: 8 };
const REASONS = ["displaced", "evicted", "expired", "replaced", "deleted", "filtered", "updated"];
const NULL_CODE = 0xffffffff;
const padded = (bytes) => (bytes + 7) & ~7;
const utf8 = new TextEncoder();
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

const isSafe = (id) => typeof id === "bigint" && Number.isSafeInteger(Number(id));
const asId = (id) => (isSafe(id) ? Number(id) : id);

// -- answers ----------------------------------------------------------------------------------

function slice(hits, start, stop) {
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

// -- what goes into requests ------------------------------------------------------------------

/** Half of a surrogate pair: not to be had in UTF-8, so that nobody could read the message. */
const HALF = /\p{Surrogate}/u;
/** What a server's JSON parser takes, less what stands around a value. */
const MOST_NESTED = 1000;
const tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
const isNumbers = (value) => ArrayBuffer.isView(value) && !(value instanceof DataView);
/** What is refused otherwise than as `bad_request`, by the name of its argument. */
const REFUSALS = { filter: "bad_filter", collection: "bad_name" };
const HALF_SAID = "half a character (a lone surrogate)";

/**
 * A copy of `value` as JSON has it. What `JSON.stringify` would drop or change without a word is
 * refused under its name; `isLax` passes over keys whose value is undefined.
 */
function plain(value, name, isLax = false, code = REFUSALS[name] ?? "bad_request", depth = 0) {
  const notJson = (where, what) => fail(code, `${where}: ${what} is no value of JSON`);
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "string") return HALF.test(value) ? notJson(name, HALF_SAID) : value;
  if (typeof value === "number") return Number.isFinite(value) ? value : notJson(name, value);
  if (typeof value === "bigint") return isSafe(value) ? Number(value) : notJson(name, "an integer beyond 2^53 - 1");
  if (typeof value !== "object" || ArrayBuffer.isView(value)) return notJson(name, tagOf(value));
  if (depth > MOST_NESTED) return notJson(name.slice(0, 60), "nested too deep, or in a circle");
  if (typeof value.toJSON === "function") {
    // Of an invalid date it is null.
    return plain(value.toJSON() ?? undefined, name, isLax, code, depth + 1);
  }
  if (Array.isArray(value)) {
    // Holes are refused; and `Array.from` takes twice as long.
    const list = [];
    for (let at = 0; at < value.length; at++) list.push(plain(value[at], `${name}[${at}]`, isLax, code, depth + 1));
    return list;
  }
  const tag = Object.getPrototypeOf(value) === Object.prototype ? "Object" : tagOf(value);
  if (/^(Number|String|Boolean)$/.test(tag)) return plain(value.valueOf(), name, isLax, code);
  if (tag !== "Object") return notJson(name, tag);
  const copy = {};
  for (const key of Object.keys(value)) {
    const one = value[key];
    if (one === undefined && isLax) continue;
    if (HALF.test(key)) notJson(`a key of ${name}`, HALF_SAID);
    const own = plain(one, `${name}.${key}`, isLax, code, depth + 1);
    if (key === "__proto__") Object.defineProperty(copy, key, { value: own, enumerable: true });
    else copy[key] = own;
  }
  return copy;
}

/** `list` as an array or typed array; a text is no list of its letters. */
function toList(list, name, code = "bad_request") {
  if (Array.isArray(list) || isNumbers(list)) return list;
  const isIterable = typeof list === "object" && list?.[Symbol.iterator];
  return isIterable ? Array.from(list) : fail(code, `${name}: must be a list`);
}

function toVector(vector, name = "vector", details) {
  const wrong = (where, what) => fail("bad_vector", `${where}: ${what}`, details);
  const isArray = isNumbers(vector) || Array.isArray(vector);
  if (!isArray || !vector.length) wrong(name, "must be a typed array or a list of numbers, and not empty");
  if (vector instanceof Float32Array) return vector;
  // By index: holes and BigInts are no numbers.
  for (let at = 0; at < vector.length; at++) {
    if (typeof vector[at] !== "number") wrong(`${name}[${at}]`, "must be a number");
  }
  return Float32Array.from(vector);
}

/** `vectors` as one Float32Array (n * dim): a flat typed array, or a list of vectors. */
function toMatrix(vectors, dim) {
  if (isNumbers(vectors)) {
    const matrix = toVector(vectors, "vectors");
    if (matrix.length % dim) fail("dim_mismatch", `vectors: ${matrix.length} numbers are no rows of ${dim}`);
    return matrix;
  }
  const list = toList(vectors, "vectors", "bad_vector");
  if (!list.length) fail("bad_vector", "vectors: none");
  const matrix = new Float32Array(list.length * dim);
  for (let row = 0; row < list.length; row++) {
    const vector = toVector(list[row], `vectors[${row}]`, { row });
    if (vector.length !== dim) {
      fail("dim_mismatch", `vectors[${row}]: ${vector.length} dimensions, not ${dim}`, { row });
    }
    matrix.set(vector, row * dim);
  }
  return matrix;
}

/** An id as JSON has it: integers beyond 2^53 - 1 are texts there. */
function toId(id, name, details) {
  if (typeof id === "string") return HALF.test(id) ? fail("bad_id", `${name}: ${HALF_SAID}`, details) : id;
  const isRight = typeof id === "bigint" ? id >= 0n && id < 1n << 64n : Number.isSafeInteger(id) && id >= 0;
  const hint = "must be a text or an integer from 0 to 2^64 - 1, above 2^53 - 1 a BigInt";
  if (!isRight) fail("bad_id", `${name}: ${hint}`, details);
  return typeof id === "bigint" && !isSafe(id) ? `${id}` : Number(id);
}

const toIdList = (ids) => Array.from(toList(ids, "ids", "bad_id"), (id, at) => toId(id, `ids[${at}]`, { row: at }));

function toIds(given, count) {
  const ids = toList(given, "ids", "bad_id");
  if (ids.length !== count) fail("bad_id", `ids: ${ids.length} of them for ${count} rows`);
  if (ids instanceof BigUint64Array) return ids;
  const kind = typeof ids[0] === "string";
  const all = toIdList(ids);
  const other = all.findIndex((_, row) => (typeof ids[row] === "string") !== kind);
  if (other >= 0) fail("bad_id", `ids[${other}]: texts and numbers together`, { row: other });
  return kind ? all : BigUint64Array.from(all, BigInt);
}

/** `k` of a header, which would hold another number instead of none. */
function toCount(k, name) {
  return Number.isInteger(k) && k > 0 && k < 2 ** 32 ? k : fail("bad_k", `${name}: must be a whole number from 1`);
}

/** The section of one column, and what belongs into `dictionaries` for it. */
const COLUMN_WRITERS = {
  f64: (values, wrong) => [Float64Array.from(values, (value, row) =>
    value == null ? NaN : typeof value === "number" ? value : wrong(row))],
  i64: (values, wrong) => [BigInt64Array.from(values, (value, row) =>
    isSafe(value) || Number.isSafeInteger(value) ? BigInt(value) : wrong(row))],
  bool: (values, wrong) => [Uint8Array.from(values, (value, row) =>
    typeof value === "boolean" || value === 0 || value === 1 ? Number(value) : wrong(row))],
  str: (values, wrong) => {
    const codes = new Map();
    const code = (value, row) => codes.get(value)
      ?? (HALF.test(value) ? wrong(row, HALF_SAID) : (codes.set(value, codes.size), codes.size - 1));
    return [Uint32Array.from(values, (value, row) =>
      value == null ? NULL_CODE : typeof value === "string" ? code(value, row) : wrong(row)), codes];
  },
};

/** One ADD frame of rows `start … stop - 1`. */
function encodeAdd(id, handle, rows, start, stop, types, producer, batch) {
  const json = { producer, batch };
  const sections = [];
  let flags = 0;
  if (Array.isArray(rows.ids)) json.ids = rows.ids.slice(start, stop);
  else if (rows.ids) {
    flags |= 1;
    sections.push(rows.ids.subarray(start, stop));
  }
  sections.push(rows.vectors.subarray(start * rows.dim, stop * rows.dim));
  for (const [name, values] of Object.entries(rows.columns)) {
    const writer = COLUMN_WRITERS[types[name]];
    if (!writer) fail("bad_metadata", `${name}: the collection has no such column`);
    const hint = "is not of the column's type (i64 and bool hold no null: leave the key out of metadata)";
    const wrong = (row, what = hint) => fail("bad_metadata", `columns.${name}[${start + row}]: ${what}`, { row });
    const [section, codes] = writer(values.slice(start, stop), wrong);
    flags |= 2;
    sections.push(section);
    (json.columns ??= []).push(name);
    if (codes) (json.dictionaries ??= {})[name] = [...codes.keys()];
  }
  if (rows.metadata) {
    json.metadata = Array.from(rows.metadata.slice(start, stop), (one, at) =>
      toMetadata(one, `metadata[${start + at}]`, at));
  }
  const n = stop - start;
  return encodeFrame({ kind: KINDS.ADD, flags, id, handle, n, dim: rows.dim, json, sections });
}

/** A row's metadata; what is wrong in it is wrong with its row. */
function toMetadata(value, name, row) {
  if (value == null) return value;
  try {
    const made = plain(value, name, true, "bad_metadata");
    return tagOf(made) === "Object" ? made : fail("bad_metadata", `${name}: must be an object`);
  } catch (error) {
    throw Object.assign(error, { row });
  }
}

/** What calls take, all but subscriptions `call` too. An option that there is not would be passed over without a word. */
const OPTIONS = {
  call: ["signal", "timeoutMs", "failFast"],
  get: ["include"],
  count: ["filter"],
  search: ["k", "filter", "include", "minScore", "last", "like"],
  add: ["ids", "metadata", "columns"],
  live: ["k", "filter", "include", "minScore", "every"],
  feed: ["filter", "include", "fromSeq", "epoch"],
  stats: ["every"],
  map: ["sample", "every"],
  definition: ["dim", "capacity", "metric", "ids", "columns", "ttl", "durability", "if_exists"],
};

function known(options, names) {
  if (options == null) return;
  if (typeof options !== "object" || Array.isArray(options)) fail("bad_request", "options: must be an object");
  for (const name in options) {
    if (!names.includes(name)) fail("bad_request", `${name}: there is no such option (but ${names.join(", ")})`);
  }
}

const FIELDS = {
  __proto__: null, filter: "filter", minScore: "min_score", include: "include", last: "last", every: "every",
  epoch: "epoch", fromSeq: "from_seq", sample: "sample",
};

/** Fields of the wire from the options of a call; absent ones stay away. */
function fields(options) {
  const body = {};
  for (const name in options) {
    if (options[name] == null || !(name in FIELDS)) continue;
    body[FIELDS[name]] = plain(options[name], name);
  }
  return body;
}

// -- links: one WebSocket ---------------------------------------------------------------------

/** One connection from its hello to its end: ids, replies, pushes by `sub`, open handles. */
class Link {
  /** `complain(error)` hears of errors that name no request. */
  constructor(socket, complain) {
    Object.assign(this, { socket, complain, limits: {} });
    this.calls = new Map();
    this.subs = new Map();
    this.opened = new Map();
    this.nextId = 1;
    this.heardAt = Date.now();
    this.refusal = null;
    socket.binaryType = "arraybuffer";
    this.hello = new Promise((resolve, reject) => (this.greeted = { resolve, reject }));
    this.ended = new Promise((resolve) => (this.end = resolve));
    socket.onmessage = (event) => this.hear(event.data);
    // A close follows by the standard, but not in Node 20 where a connection could not be made.
    socket.onerror = () => this.lose(1006);
    socket.onclose = (event) => this.lose(event.code);
  }

  get isOpen() {
    return this.socket.readyState === 1;
  }

  lose(why) {
    const error = lost(`the connection closed (${why})`);
    this.socket.onmessage = this.socket.onclose = null;
    // Packages of WebSockets throw where nobody hears an error.
    this.socket.onerror = () => {};
    this.greeted.reject(error);
    for (const call of this.calls.values()) call.reject(error);
    this.calls.clear();
    for (const sub of this.subs.values()) sub.lost();
    this.subs.clear();
    this.end({ error: this.refusal ?? error });
  }

  close(code = 1000, why = code) {
    this.socket.close(code);
    // A peer that is gone answers no close: the link is over now, whatever becomes of the socket.
    this.lose(why);
  }

  hear(data) {
    this.heardAt = Date.now();
    try {
      this.receive(data);
    } catch (error) {
      // After what cannot be read nothing on this connection can be trusted; the next one starts anew.
      this.close(1000, error.message);
    }
  }

  receive(data) {
    if (typeof data !== "string") return this.take(decodeFrame(data), data.byteLength);
    const message = JSON.parse(data);
    if (message.id !== undefined) return this.answer(message.id, message);
    if (message.event === "hello") return this.greeted.resolve(message);
    if (message.event === "error") return this.blamed(fromWire(message));
    this.subs.get(message.sub)?.pushed(message, data.length);
    if (message.event === "ended") this.subs.delete(message.sub);
    return undefined;
  }

  take(frame, bytes) {
    if (frame.type === "added" || frame.type === "results") this.answer(frame.id, { ok: frame });
    else if (frame.type !== "unknown") this.subs.get(frame.sub)?.pushed(frame, bytes);
  }

  /** An error that names no request: a text under way could not be read, and gets no reply. */
  blamed(error) {
    // Only this one says why the connection ends; after others it lives on.
    if (error.code === "unauthenticated") return void (this.refusal = error);
    const texts = [...this.calls.values()].filter((call) => call.isText);
    const unsure = `the server could not read one of ${texts.length} requests: ${error.message}`;
    for (const call of texts) {
      call.isText = false;
      call.reject(texts.length > 1 ? new OmenError("connection_lost", unsure) : error);
    }
    return this.complain(error);
  }

  answer(id, { ok, error }) {
    const call = this.calls.get(id);
    if (!call) return;
    // Pushes come right behind the reply: whoever takes them is told before the next message.
    if (!error) call.accept?.(ok);
    this.calls.delete(id);
    if (error) call.reject(fromWire(error));
    else call.resolve(ok);
  }

  /** Send what `encode(id)` makes; its reply. `accept` hears an ok before any later message. */
  ask(encode, accept) {
    return new Promise((resolve, reject) => {
      while (this.calls.has(this.nextId)) this.nextId = (this.nextId % 0xffffffff) + 1;
      const id = this.nextId;
      this.nextId = (id % 0xffffffff) + 1;
      const message = encode(id);
      this.checkSize(message);
      if (!this.isOpen) {
        // The server's close is here, the socket's end is not: whoever tries again shall find the next link.
        this.close();
        throw lost("the connection is closed");
      }
      this.calls.set(id, { resolve, reject, accept, isText: typeof message === "string" });
      this.socket.send(message);
    });
  }

  /** The server reads nothing that is larger, so that there would be no reply, or no connection. */
  checkSize(message) {
    const isText = typeof message === "string";
    const most = isText ? this.limits.max_text_bytes : this.limits.max_message_bytes;
    // At most 3 bytes a UTF-16 unit: most texts need not be encoded to know.
    const isLarge = isText
      ? message.length * 3 > most && utf8.encode(message).length > most
      : message.byteLength > most;
    if (isLarge) fail("too_large", `the message is over ${most} bytes`);
  }

  op(op, body, accept) {
    const json = {};
    for (const [name, value] of Object.entries(body ?? {})) {
      if (value !== undefined) json[name] = plain(value, name, name === "rows");
    }
    return this.ask((id) => JSON.stringify({ ...json, id, op }), accept);
  }

  /** The description and handle of a collection, asked for once unless `isFresh`. */
  open(collection, isFresh = false) {
    let opening = this.opened.get(collection);
    if (!opening || isFresh) {
      opening = this.op("open", { collection });
      this.opened.set(collection, opening);
      opening.catch(() => this.opened.get(collection) === opening && this.opened.delete(collection));
    }
    return opening;
  }
}

// -- the client -------------------------------------------------------------------------------

const FRAME_BYTES = 256 << 10;
const QUIET_MS = 25_000;
const CHECK_MS = 5_000;
const DEFAULTS = {
  token: null, getToken: null, timeoutMs: 30_000, signal: null,
  retryMs: 250, maxRetryMs: 10_000, highWaterBytes: 1 << 20, failFast: false,
};
/** The longest that a timer can wait. */
const MOST_MS = 2 ** 31 - 1;
/** Refusals of our own that a description may be to blame for, as the collection was made anew. */
const BY_DESCRIPTION = new Set(["dim_mismatch", "bad_metadata"]);

/** Reads are repeated after a reconnect, adds too (under a producer and batch number), others not. */
export class Client extends EventTarget {
  #link = null;
  #ready = null;
  #adders = new Map();
  #attempt = 0;
  #refusals = 0;
  #trouble = "no answer yet";
  /** The token that is good, until when; the call of `getToken` under way, how many in a row, when the next may be. */
  #known = null;
  #knownUntil = 0;
  #asking = null;
  #asks = 0;
  #askAt = 0;
  /** Of the first connection: the question under way, and how often something answered. */
  #inquiring = null;
  #answers = 0;
  #wake = () => {};
  #closing = new AbortController();
  #refresh;
  #check;

  constructor(url, options = {}) {
    super();
    known(options, ["WebSocket", ...Object.keys(DEFAULTS)]);
    const isAddress = (typeof url === "string" && url) || tagOf(url) === "URL";
    if (!isAddress) fail("bad_request", "url: must be the address of a server, as ws://HOST:8765/v1");
    this.url = `${url}`;
    const given = Object.entries(options ?? {}).filter(([, value]) => value !== undefined);
    this.options = { WebSocket: globalThis.WebSocket, ...DEFAULTS, ...Object.fromEntries(given) };
    this.state = "connecting";
    this.limits = null;
    this.error = null;
    this.subscriptions = new Set();
    this.#await();
    this.#check = setInterval(() => this.#checkQuiet(), CHECK_MS);
    this.#check.unref?.();
    this.online = () => this.#wake();
    globalThis.addEventListener?.("online", this.online);
  }

  async start() {
    const { signal, timeoutMs } = this.options;
    const limit = limits(signal, timeoutMs, () => this.#hint());
    const first = this.#ready.promise;
    this.#run();
    try {
      await limit.race(first);
    } catch (error) {
      this.close(error);
      throw error;
    } finally {
      limit.clear();
    }
    return this;
  }

  close(reason = new OmenError("closed", "the client is closed")) {
    if (this.state === "closed") return;
    this.error = reason;
    this.#set("closed");
    this.#closing.abort(reason);
    clearInterval(this.#check);
    clearTimeout(this.#refresh);
    globalThis.removeEventListener?.("online", this.online);
    this.#ready.reject(reason);
    this.#wake();
    this.#link?.close();
    for (const subscription of this.subscriptions) subscription.finish(null, reason);
  }

  get bufferedAmount() {
    return this.#link?.socket.bufferedAmount ?? 0;
  }

  async drained(bytes = this.options.highWaterBytes) {
    while (this.bufferedAmount > bytes) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  // -- operations: PROTOCOL section 2 ---------------------------------------------------------

  ping(options) {
    return this.#ask("ping", {}, options);
  }
  list(options) {
    return this.#ask("list", {}, options).then((ok) => ok.collections);
  }
  describe(collection, options) {
    return this.#ask("describe", { collection }, options);
  }
  create(collection, definition, options) {
    const body = () => {
      known(definition, OPTIONS.definition);
      return { ...definition, collection };
    };
    return this.#ask("create", body, options, { repeat: false });
  }
  drop(collection, options) {
    return this.#ask("drop", { collection }, options, { repeat: false }).then(() => {});
  }
  delete(collection, ids, options) {
    return this.#ask("delete", () => ({ collection, ids: toIdList(ids) }), options, { repeat: false })
      .then((ok) => ok.deleted);
  }
  update(collection, rows, options) {
    const toRow = (row, at) => ({
      ...row,
      id: toId(row?.id, `rows[${at}].id`, { row: at }),
      metadata: toMetadata(row.metadata, `rows[${at}].metadata`, at),
    });
    const body = () => ({ collection, rows: Array.from(toList(rows, "rows"), toRow) });
    return this.#ask("update", body, options, { repeat: false }).then((ok) => ok.version);
  }
  async get(collection, ids, options) {
    known(options, [...OPTIONS.call, ...OPTIONS.get]);
    return this.call(async (link) => {
      const { rows } = await link.op("get", { collection, ids: toIdList(ids), ...fields(options) });
      await readIds(link, collection, rows);
      return rows;
    }, options);
  }
  count(collection, options) {
    return this.#ask("count", () => ({ collection, ...fields(options) }), options, {}, OPTIONS.count)
      .then((ok) => ok.count);
  }
  stats(collection, options) {
    return this.#ask("stats", collection == null ? {} : { collection }, options);
  }

  async search(collection, vector, options) {
    known(options, [...OPTIONS.call, ...OPTIONS.search]);
    const { k, like } = options ?? {};
    const most = toCount(k ?? 10, "k");
    if (like != null) return this.#searchLike(collection, most, options);
    const isMany = Array.isArray(vector) && typeof vector[0] === "object";
    const vectors = isMany ? vector.map((one, row) => toVector(one, `vector[${row}]`)) : [toVector(vector)];
    const dim = vectors[0].length;
    // A copy: the caller may fill the array anew while this waits for a connection.
    const sections = [isMany ? toMatrix(vectors, dim) : vectors[0].slice()];
    const json = fields(options);
    return this.call(async (link) => {
      const { handle } = await link.open(collection);
      const { answers } = await link.ask((id) =>
        encodeFrame({ kind: KINDS.SEARCH, id, handle, n: vectors.length, dim, k: most, json, sections }));
      return isMany ? answers : answers[0];
    }, { ...options, collection });
  }

  async #searchLike(collection, k, options) {
    const like = toId(options.like, "like");
    return this.call(async (link) => {
      const ok = await link.op("search", { collection, like, k, ...fields(options) });
      const hasStringIds = await readIds(link, collection, [{ id: like }, ...ok.results]);
      return Answer.fromRows(ok.results, ok.version, { hasStringIds, tookUs: ok.took_us });
    }, options);
  }

  async add(collection, vectors, options) {
    known(options, [...OPTIONS.call, ...OPTIONS.add]);
    let adder = this.#adders.get(collection);
    if (!adder) this.#adders.set(collection, (adder = new Adder(this, collection)));
    return adder.add(vectors, options ?? {});
  }

  // -- subscriptions: PROTOCOL section 6 ------------------------------------------------------

  live(collection, vector, options) {
    known(options, OPTIONS.live);
    return new Live(this, collection, toVector(vector), options);
  }
  match(collection, vector, minScore, options) {
    known(options, OPTIONS.feed);
    return new Feed(this, "match", collection, { ...options, minScore, vector: toVector(vector) });
  }
  feed(collection, options) {
    known(options, OPTIONS.feed);
    return new Feed(this, "feed", collection, options);
  }
  watchStats(collection = null, options) {
    known(options, OPTIONS.stats);
    return new Newest(this, "stats", collection, options);
  }
  map(collection, options) {
    known(options, OPTIONS.map);
    return new WindowMap(this, "map", collection, options);
  }

  // -- inside ---------------------------------------------------------------------------------

  /** Do `work(link, limit)`; again after a reconnect unless `repeat` is false. Used by subscriptions. */
  async call(work, options) {
    const { repeat = true, collection, signal, timeoutMs, failFast } = options ?? {};
    const limit = limits(signal, timeoutMs ?? this.options.timeoutMs, () => this.#hint());
    let isStale = false;
    try {
      for (;;) {
        if (this.state === "closed") throw this.error;
        if ((failFast ?? this.options.failFast) && this.state !== "open") throw lost(this.#hint());
        const link = await limit.race(this.#ready.promise);
        try {
          return await limit.race(work(link, limit));
        } catch (error) {
          if (error?.code === "connection_lost") {
            if (!repeat || !error.retry) throw error;
            continue;
          }
          // A handle dies with its collection, and there may be another one of that name.
          const isSuspect = error?.isReply ? error.code === "not_found" : BY_DESCRIPTION.has(error?.code);
          if (isStale || !isSuspect || !collection || !link.opened.delete(collection)) throw error;
          isStale = true;
        }
      }
    } finally {
      limit.clear();
    }
  }

  #hint() {
    return this.state === "open" ? "" : `not connected: ${this.#trouble}`;
  }

  /** `body`: fields, or what makes them (and throws where they cannot be). */
  async #ask(op, body, options, how, names = []) {
    known(options, [...OPTIONS.call, ...names]);
    return this.call((link) => link.op(op, typeof body === "function" ? body() : body), { ...options, ...how });
  }

  #set(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  /** A new promise for the next link; nobody need listen to it. */
  #await() {
    const ready = {};
    ready.promise = new Promise((resolve, reject) => Object.assign(ready, { resolve, reject }));
    ready.promise.catch(() => {});
    this.#ready = ready;
  }

  async #run() {
    while (this.state !== "closed") {
      let end;
      try {
        const link = await this.#connect();
        end = await link.ended;
        this.#await();
      } catch (error) {
        end = { error };
        if (error?.isUnheard && !this.limits) this.#inquire();
      }
      clearTimeout(this.#refresh);
      this.#link = null;
      if (this.state === "closed") return;
      if (!this.#mayReconnect(end.error)) return this.close(end.error);
      this.#trouble = end.error.message;
      await this.#pause();
    }
  }

  /** Whether another connection may fare better than one that ended with `error`. */
  #mayReconnect(error) {
    if (error?.code !== "unauthenticated" || !this.options.getToken) return error?.retry === true;
    this.#known = null;
    // What `getToken` throws is said at once; a page that has been connected waits until it is well again.
    if (error.isOurs) return this.limits !== null;
    return this.#refusals++ < 3;
  }

  /** Browsers do not say how an upgrade was refused: ask the address, and give up where that is final. */
  async #inquire() {
    if (this.#inquiring || typeof fetch !== "function") return;
    const url = new URL(this.url.replace(/^ws/, "http"), globalThis.location?.href);
    const isForeign = globalThis.location && url.origin !== location.origin;
    const options = { mode: isForeign ? "no-cors" : "cors", cache: "no-store", signal: this.#closing.signal };
    this.#inquiring = fetch(url, options)
      .then(async (reply) => refused(this.url, reply, reply.type === "opaque" ? "" : await reply.text()));
    const error = await this.#inquiring.catch(() => null);
    this.#inquiring = null;
    // Of a foreign address a page learns only that it answers: that may be a server that is full.
    this.#answers = error?.isVague ? this.#answers + 1 : 0;
    if (error && (!error.isVague || this.#answers >= 3) && !this.limits) this.close(error);
  }

  /** Full jitter: anything up to a bound that doubles, so that a thousand clients spread out. */
  async #pause() {
    this.#set("waiting");
    const { retryMs, maxRetryMs } = this.options;
    const bound = Math.min(maxRetryMs, retryMs * 2 ** Math.min(this.#attempt++, 20));
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.random() * bound);
      this.#wake = () => (clearTimeout(timer), resolve());
    });
  }

  async #connect() {
    this.#set("connecting");
    // One attempt always has a limit, also where calls and the wait for the first connection have none.
    const limit = limits(this.#closing.signal, this.options.timeoutMs || DEFAULTS.timeoutMs);
    let link;
    let isSent = false;
    try {
      // The server waits seconds for a token, whoever gives it may take longer: that goes before.
      if (this.#asking) await limit.race(this.#asking);
      link = this.#link = new Link(this.#socket(), (error) => this.dispatchEvent(new CustomEvent("error", { detail: error })));
      const hello = await limit.race(link.hello.catch((error) => {
        throw Object.assign(error, { isUnheard: true });
      }));
      if (hello.auth === "required") {
        const late = link.ended.then(() => { throw lost("the server did not wait for the token"); });
        const token = await limit.race(Promise.race([this.#token(), late]));
        if (token == null) throw new OmenError("unauthenticated", "the server asks for a token");
        isSent = true;
        await limit.race(this.#authenticate(link, token));
      }
      this.limits = link.limits = hello.limits;
    } catch (error) {
      link?.close();
      throw (isSent && link.refusal) || error;
    } finally {
      limit.clear();
    }
    this.#attempt = this.#refusals = 0;
    this.#set("open");
    this.#ready.resolve(link);
    return link;
  }

  #socket() {
    const { WebSocket } = this.options;
    if (typeof WebSocket !== "function") {
      fail("unsupported", "there is no WebSocket here (Node has one from version 22 on): pass one as the option WebSocket");
    }
    try {
      return new WebSocket(this.url, "omendb.v1");
    } catch (error) {
      return fail("bad_request", `url: ${error.message}`);
    }
  }

  /** The token that is good still, or a fresh one: one call of `getToken` at a time, and paced. */
  #token() {
    const { token, getToken } = this.options;
    if (!getToken) return token;
    if (this.#known !== null && performance.now() < this.#knownUntil) return this.#known;
    this.#asking ??= this.#askToken(getToken).finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #askToken(getToken) {
    const { retryMs, maxRetryMs } = this.options;
    const wait = limits(this.#closing.signal, Math.max(1, this.#askAt - performance.now()));
    if (this.#askAt) await wait.race(new Promise(() => {})).catch(() => {});
    wait.clear();
    if (this.state === "closed") throw this.error;
    this.#askAt = performance.now() + Math.min(maxRetryMs, retryMs * 2 ** this.#asks);
    this.#asks = Math.min(20, this.#asks + 1);
    this.#trouble = "getToken has not answered";
    try {
      this.#known = await getToken();
      this.#knownUntil = Infinity;
      return this.#known;
    } catch (error) {
      const said = new OmenError("unauthenticated", `getToken: ${error?.message ?? error}`);
      throw Object.assign(said, { cause: error, isOurs: true });
    }
  }

  async #authenticate(link, token) {
    const { expires_in_s: seconds } = await link.op("auth", { token });
    this.#asks = 0;
    this.#known = token;
    const freshMs = Math.min((seconds ?? Infinity) * 800, MOST_MS);
    this.#knownUntil = performance.now() + freshMs;
    if (seconds != null && this.options.getToken) this.#renewIn(link, freshMs);
  }

  /** Again, as long as it cannot be had. */
  #renewIn(link, ms) {
    clearTimeout(this.#refresh);
    const renew = async () => {
      this.#known = null;
      const token = await this.#token();
      if (link.isOpen) await this.#authenticate(link, token);
    };
    this.#refresh = setTimeout(() => renew().catch(() => link.isOpen && this.#renewIn(link, 0)), ms);
    this.#refresh.unref?.();
  }

  /** A peer that vanished sends no close: what stays silent is asked, and then given up. */
  async #checkQuiet() {
    const link = this.#link;
    if (this.state !== "open" || !link || Date.now() - link.heardAt < QUIET_MS) return;
    const asked = Date.now();
    link.op("ping").catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, CHECK_MS - 100).unref?.());
    if (link.isOpen && link.heardAt < asked) link.close();
  }
}

export async function connect(url, options) {
  return new Client(url, options).start();
}

/** What a refused upgrade means, by what the same address says to `fetch`; null: it may pass. */
function refused(url, { status, type }, text) {
  if (type === "opaque") {
    const why = "its path is wrong, or this page's origin is not among the server's allow_origins";
    const error = new OmenError("unsupported", `${url} answers, and takes no WebSocket: ${why}`);
    return Object.assign(error, { isVague: true });
  }
  if (status >= 500 || [408, 425, 426, 429].includes(status)) return null;
  const said = `(HTTP ${status})`;
  if (status === 401) return new OmenError("unauthenticated", `${url} refused the credentials ${said}`);
  if (status === 403) return new OmenError("forbidden", `${url} refused the connection ${said}: ${text.trim().slice(0, 200)}`);
  return new OmenError("unsupported", `${url} is no endpoint of omendb.v1 ${said}`);
}

const isLargeId = (id) => /^[1-9]\d{15,19}$/.test(id) && !Number.isSafeInteger(Number(id));

/**
 * The ids of `rows` as their collection has them, and whether these are texts: JSON writes integers
 * above 2^53 - 1 as texts too. Where nothing else tells them apart, the collection is asked.
 */
async function readIds(link, collection, rows) {
  const found = rows.filter(Boolean);
  const texts = found.filter(({ id }) => typeof id === "string");
  if (texts.length < found.length) texts.forEach((row) => { row.id = BigInt(row.id); });
  if (!texts.length || texts.length < found.length) return false;
  if (!texts.every(({ id }) => isLargeId(id)) || (await link.open(collection, true)).ids === "str") return true;
  for (const row of texts) row.id = BigInt(row.id);
  return false;
}

/** Races promises against an AbortSignal and a time-out (0: none); `hint` says more of a late one. */
function limits(signal, timeoutMs, hint) {
  if (timeoutMs != null && !(timeoutMs >= 0)) fail("bad_request", `timeoutMs: ${timeoutMs} is no time`);
  let stop;
  const limit = { isOver: false };
  const stopped = new Promise((_, reject) => {
    stop = (reason) => ((limit.isOver = true), reject(reason));
  });
  stopped.catch(() => {});
  const abort = () => stop(signal.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  const late = () => {
    const why = hint?.();
    stop(new OmenError("timeout", `no answer within ${timeoutMs} ms${why ? ` (${why})` : ""}`, { retry: true }));
  };
  const timer = timeoutMs > 0 && timeoutMs <= MOST_MS ? setTimeout(late, timeoutMs) : null;
  return Object.assign(limit, {
    race: (promise) => Promise.race([stopped, promise]),
    clear: () => (clearTimeout(timer), signal?.removeEventListener("abort", abort)),
  });
}

/** Errors after which a change may have been made, or not: PROTOCOL section 2. */
const UNKNOWN_OUTCOME = new Set(["connection_lost", "storage_failed", "internal"]);

/** Adds of one collection: frames one after the other, each under a batch number of its own. */
class Adder {
  constructor(client, collection) {
    this.client = client;
    this.collection = collection;
    this.last = Promise.resolve();
    this.rename();
  }

  rename() {
    const random = crypto.getRandomValues(new Uint32Array(4));
    this.producer = `js-${Array.from(random, (word) => word.toString(16)).join("")}`;
    this.batch = 0;
  }

  add(vectors, options) {
    const before = this.last;
    const limit = limits(options.signal);
    const added = limit.race(before).finally(limit.clear).then(() => this.addAll(vectors, options));
    // One that is given up in the queue lets nobody pass those before it.
    this.last = Promise.allSettled([before, added]).then(() => {});
    return added;
  }

  async addAll(vectors, options) {
    const work = async (link) => this.prepare(await link.open(this.collection), vectors, options);
    const rows = await this.client.call(work, { ...options, collection: this.collection });
    const { dim, capacity, count } = rows;
    const most = Math.min(this.client.limits.max_rows, capacity);
    let step = Math.max(1, Math.min(most, Math.floor(FRAME_BYTES / (4 * dim + 8))));
    const added = { version: 0, firstSeq: null, lastSeq: null };
    for (let start = 0, stop; start < count; start = stop) {
      stop = Math.min(count, start + step);
      try {
        const frame = await this.addFrame(rows, start, stop, options);
        added.version = frame.version;
        added.firstSeq ??= frame.firstSeq;
        added.lastSeq = frame.lastSeq;
      } catch (error) {
        if (error?.code === "too_large" && error.row === undefined && stop - start > 1) {
          // Metadata can outgrow a message: fewer rows, from the same one on.
          step = Math.ceil((stop - start) / 2);
          stop = start;
          continue;
        }
        if (error?.row !== undefined) error.row += start;
        if (error?.details) error.details.rows_added = start;
        throw error;
      }
    }
    return added;
  }

  prepare({ dim, capacity }, given, options) {
    const vectors = toMatrix(given, dim);
    const count = vectors.length / dim;
    const ids = options.ids == null ? null : toIds(options.ids, count);
    const toRows = (values, name) => {
      const list = toList(values, name, "bad_metadata");
      return list.length === count ? list : fail("bad_metadata", `${name}: ${list.length} of them for ${count} rows`);
    };
    const { columns, metadata } = options;
    if (columns != null && tagOf(columns) !== "Object") fail("bad_metadata", "columns: must be an object of lists");
    const named = Object.entries(columns ?? {}).map(([name, values]) => [name, toRows(values, `columns.${name}`)]);
    return {
      vectors, dim, capacity, count, ids, columns: Object.fromEntries(named),
      metadata: metadata == null ? null : toRows(metadata, "metadata"),
    };
  }

  async addFrame(rows, start, stop, options) {
    const batch = this.batch + 1;
    let isOut = false;
    const work = async (link, limit) => {
      const { handle, columns } = await link.open(this.collection);
      await this.client.drained();
      // Given up meanwhile: the next add has this batch number, and would pass for a repetition.
      if (limit.isOver) return undefined;
      const encode = (id) => encodeAdd(id, handle, rows, start, stop, columns, this.producer, batch);
      const reply = link.ask(encode);
      const wasOut = isOut;
      isOut = true;
      return reply.catch((error) => {
        // A refusal is an answer; but what an earlier connection took with it stays unknown.
        isOut = wasOut || UNKNOWN_OUTCOME.has(error.code);
        throw error;
      });
    };
    try {
      const added = await this.client.call(work, { ...options, collection: this.collection });
      this.batch = batch;
      return added;
    } catch (error) {
      const isForgotten = error?.code === "out_of_order";
      if (isOut || isForgotten) this.rename();
      if (isForgotten && !isOut) return this.addFrame(rows, start, stop, options);
      if (isForgotten) fail("connection_lost", "the server forgot this producer: the rows may be in");
      throw error;
    }
  }
}

// -- subscriptions ----------------------------------------------------------------------------

/** What may wait for iterations, as in Python; an item's objects beside its message take as much as: */
const BUFFER_BYTES = 4 << 20;
const ITEM_BYTES = 1 << 10;

/** A stream of pushes that lives through reconnects. */
export class Subscription extends EventTarget {
  constructor(client, kind, collection, options = {}) {
    super();
    Object.assign(this, { client, kind, collection, options, state: "starting", error: null, reason: null });
    this.link = null;
    this.sub = 0;
    this.queue = [];
    this.queuedBytes = 0;
    this.readers = 0;
    this.waking = [];
    this.isHeard = false;
    /** Since when it is refused without a break, by `performance.now()`. */
    this.refusedAt = null;
    this.attempt = 0;
    /** The attempt to subscribe that is under way; a reply to an earlier one is too late. */
    this.attaching = null;
    this.timer = null;
    client.subscriptions.add(this);
    queueMicrotask(() => this.attach());
  }

  close() {
    if (this.state === "ended") return;
    this.detach();
    this.finish("closed");
  }

  [Symbol.asyncIterator]() {
    const turn = { isBegun: false, isOver: false };
    const reading = this.read(turn);
    const end = reading.return.bind(reading);
    // A generator that waits for an item would end with the next one.
    reading.return = (value) => {
      turn.isOver = true;
      this.wake();
      if (!turn.isBegun) this.left();
      return end(value);
    };
    return reading;
  }

  async *read(turn) {
    turn.isBegun = true;
    this.readers += 1;
    this.again();
    this.begun();
    try {
      while (!turn.isOver) {
        if (this.queue.length) yield this.shift();
        else if (this.state === "ended") {
          if (this.error) throw this.error;
          return;
        } else {
          this.drainedQueue();
          await new Promise((resolve) => this.waking.push(resolve));
        }
      }
    } finally {
      this.readers -= 1;
      this.left();
    }
  }

  /** The last iteration is over: end, unless listeners follow it too. */
  left() {
    if (this.readers) return;
    if (!this.isHeard && this.state !== "ended") {
      this.detach();
      this.finish("left");
    }
    if (this.isHeard || !this.isKept) this.queue.length = this.queuedBytes = 0;
    this.drainedQueue();
  }

  /** What was left begins again with whoever comes back. */
  again() {
    if (this.reason !== "left") return;
    if (this.client.state === "closed") this.finish(null, this.client.error);
    else this.revive();
  }

  revive() {
    Object.assign(this, { error: null, reason: null });
    this.client.subscriptions.add(this);
    this.set("starting");
    this.attach();
  }

  addEventListener(name, ...rest) {
    super.addEventListener(name, ...rest);
    if (name !== "data" && name !== "gap") return;
    this.isHeard = true;
    this.again();
  }

  wake() {
    this.waking.splice(0).forEach((resolve) => resolve());
  }

  // What kinds do differently.
  request() {
    const { kind, collection } = this;
    const body = { kind, collection: collection ?? undefined, ...fields(this.options) };
    return (link, accept) => link.op("subscribe", body, accept);
  }
  begin() {}
  begun() {}
  drainedQueue() {}
  /** Queue an item for iterations; `bytes`: of its message. */
  keep(item, bytes) {
    this.queue.push([item, bytes + ITEM_BYTES]);
    this.queuedBytes += bytes + ITEM_BYTES;
  }
  shift() {
    const [item, bytes] = this.queue.shift();
    this.queuedBytes -= bytes;
    return item;
  }

  async attach() {
    if (this.state === "ended" || this.link || this.attaching) return;
    const attempt = (this.attaching = {});
    try {
      const ask = this.request();
      const { collection } = this;
      const work = (link) => ask(link, (ok) => this.accept(link, ok, attempt));
      await this.client.call(work, { collection, failFast: false });
      this.attempt = 0;
    } catch (error) {
      this.attaching = null;
      this.refused(error);
    }
  }

  accept(link, ok, attempt) {
    const sub = ok.sub ?? ok.subs[0];
    if (this.attaching !== attempt) return void link.op("unsubscribe", { sub }).catch(() => {});
    this.attaching = null;
    this.refusedAt = null;
    this.link = link;
    this.sub = sub;
    link.subs.set(sub, this);
    this.begin(ok);
    this.set("live");
  }

  refused(error) {
    if (this.state === "ended") return;
    if (!error?.retry || this.client.state === "closed") return void this.finish(null, error);
    const bound = Math.min(10_000, 250 * 2 ** Math.min(this.attempt++, 20));
    let wait = error.details?.retry_after_ms ?? Math.random() * bound;
    // Refusals have the time of a call; a connection is waited for as long as it takes.
    const { state, options } = this.client;
    if (state !== "open" || error.code === "connection_lost") this.refusedAt = null;
    else if (options.timeoutMs > 0) {
      this.refusedAt ??= performance.now();
      const left = this.refusedAt + options.timeoutMs - performance.now();
      if (left <= 0) return void this.finish(null, error);
      wait = Math.min(wait, left + 1);
    }
    this.timer = setTimeout(() => this.attach(), wait);
  }

  lost() {
    this.link = null;
    if (this.state === "ended") return;
    if (this.client.state === "closed") return void this.finish(null, this.client.error);
    this.set("lost");
    this.attach();
  }

  pushed(message, bytes) {
    if (message.event === "ended") {
      this.link = null;
      const why = ENDS[message.reason];
      this.finish(message.reason, why ? new OmenError(message.reason, why) : null);
    } else if (message.event === "gap") {
      this.skipped({ fromSeq: message.from_seq, toSeq: message.to_seq, reason: message.reason });
    } else if ((message.event ?? message.type) === this.kind) {
      this.take(message, bytes);
    }
  }

  skipped(gap) {
    this.emit("gap", gap);
  }

  detach() {
    const { link, sub } = this;
    this.link = null;
    if (!link) return;
    link.subs.delete(sub);
    link.op("unsubscribe", { sub }).catch(() => {});
  }

  finish(reason, error = null) {
    clearTimeout(this.timer);
    this.client.subscriptions.delete(this);
    Object.assign(this, { reason, error, attaching: null });
    this.set("ended");
    this.wake();
  }

  /** What iterations yield, and listeners to `name` are told (as `detail`). */
  item(item, bytes, name = "data", detail = item) {
    if (this.readers) {
      this.keep(item, bytes);
      this.wake();
    }
    this.emit(name, detail);
  }

  set(state) {
    if (this.state === state) return;
    this.state = state;
    this.emit("state", state);
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** A subscription of which only the newest item matters; a slow iteration skips the others. */
class Newest extends Subscription {
  keep(item) {
    this.queue[0] = [item, 0];
  }
  take(message) {
    this.item(message);
  }
}

class Live extends Newest {
  constructor(client, collection, vector, options = {}) {
    super(client, "live", collection, options);
    this.vector = vector.slice();
    /** Whether the server has taken `asked`, the vector that it was last sent. */
    this.isAccepted = false;
    this.answer = null;
    this.rows = new Map();
    this.isMoving = false;
    this.waiting = [];
  }

  /** One request is under way, the last vector always gets its turn, a refused query begins again. */
  move(vector) {
    const call = {};
    call.promise = new Promise((resolve, reject) => {
      const isOver = this.state === "ended" && (!/^left$/.test(this.reason ?? "left") || this.client.state === "closed");
      if (isOver) throw this.error ?? new OmenError("closed", "the subscription has ended");
      // A copy: the caller may fill the same array anew for the next move.
      this.vector = toVector(vector).slice();
      this.waiting.push(Object.assign(call, { vector: this.vector, resolve, reject }));
      if (this.state === "ended") this.revive();
      else this.pump();
    });
    return call.promise;
  }

  revive() {
    Object.assign(this, { answer: null, isAccepted: false });
    super.revive();
  }

  /** A move that came after the vector that was refused has its turn. */
  refused(error) {
    if (error?.retry || this.state === "ended" || this.asked === this.vector) return super.refused(error);
    this.isAccepted = false;
    this.unmoved(this.asked, error);
    return this.attach();
  }

  request() {
    // After a reconnect the vector that was accepted last; a move goes on from there.
    const vector = (this.asked = this.isAccepted ? this.asked : this.vector);
    const k = toCount(this.options?.k ?? 10, "k");
    const json = { kind: "live", encoding: "binary", ...fields(this.options) };
    return async (link, accept) => {
      const { handle } = await link.open(this.collection);
      return link.ask((id) => encodeFrame({
        kind: KINDS.SUBSCRIBE, id, handle, n: 1, dim: vector.length, k, json, sections: [vector],
      }), accept);
    };
  }

  begin({ answers }) {
    this.isAccepted = true;
    this.shown(answers[0], this.asked);
    queueMicrotask(() => this.pump());
  }

  /** An iteration that starts later starts with the answer that stands. */
  begun() {
    if (this.answer && this.state !== "ended") this.keep(this.answer);
  }

  async pump() {
    if (this.isMoving || !this.link || this.asked === this.vector) return;
    this.isMoving = true;
    const { link, sub, vector } = this;
    const frame = { kind: KINDS.MOVE, handle: sub, n: 1, dim: vector.length, sections: [vector] };
    try {
      await link.ask((id) => encodeFrame({ ...frame, id }), ({ answers }) => {
        if (this.link !== link || this.sub !== sub) return;
        this.asked = vector;
        this.shown(answers[0], vector);
      });
    } catch (error) {
      // A connection that is lost asks for the last vector when it is back.
      if (error.code !== "connection_lost") this.unmoved(vector, error);
    }
    this.isMoving = false;
    this.pump();
  }

  unmoved(vector, error) {
    if (this.vector === vector) this.vector = this.asked;
    this.settle(vector, (call) => call.reject(error));
  }

  /** Settle the calls up to the one of `vector`: a later vector answers earlier calls. */
  settle(vector, settle) {
    const last = this.waiting.findLastIndex((call) => call.vector === vector);
    this.waiting.splice(0, last + 1).forEach(settle);
  }

  shown(answer, vector) {
    this.rows = new Map(Array.from(answer, (row) => [row.seq, row]));
    this.publish(answer, null);
    this.settle(vector, (call) => call.resolve(answer));
  }

  take({ version, enter, leaveSeqs, reasons }) {
    const leave = [];
    leaveSeqs.forEach((seq, place) => {
      const row = this.rows.get(seq);
      if (this.rows.delete(seq)) leave.push({ id: row.id, seq, reason: reasons[place] });
    });
    for (const row of enter) this.rows.set(row.seq, row);
    const rows = [...this.rows.values()].sort((a, b) => b.score - a.score || b.seq - a.seq);
    const hasStringIds = Array.isArray(this.answer.ids);
    this.publish(Answer.fromRows(rows, version, { hasStringIds }), { enter, leave });
  }

  publish(answer, changes) {
    this.answer = Object.assign(answer, { changes });
    this.item(answer);
  }

  finish(reason, error) {
    const why = error ?? new OmenError("closed", `the subscription ended: ${reason}`);
    for (const call of this.waiting.splice(0)) {
      // At pointer speed nobody awaits each move; an end is no reason for "unhandled rejection".
      call.promise.catch(() => {});
      call.reject(why);
    }
    super.finish(reason, error);
  }
}

/** A cursor. An iteration that is too slow makes it pause: then the server's window is the buffer. */
class Feed extends Subscription {
  /** What came in and was not taken waits for who comes back. */
  isKept = true;

  constructor(client, kind, collection, options = {}) {
    const fromSeq = options?.fromSeq == null ? null : Number(plain(options.fromSeq, "fromSeq"));
    if (fromSeq !== null && !(Number.isInteger(fromSeq) && fromSeq > 0)) fail("bad_request", "fromSeq: no sequence number");
    super(client, kind, collection, options);
    Object.assign(this, { epoch: options?.epoch ?? null, toSeq: fromSeq === null ? null : fromSeq - 1, version: 0 });
  }

  request() {
    const { kind, collection, epoch } = this;
    const { vector, ...options } = this.options;
    const body = { kind, collection, encoding: "binary", ...fields({ ...options, epoch: null, fromSeq: null }) };
    if (vector) body.vector = Array.from(vector);
    if (this.toSeq !== null) Object.assign(body, { from_seq: this.toSeq + 1, epoch: epoch ?? undefined });
    return (link, accept) => link.op("subscribe", body, accept);
  }

  begin({ epoch, version, to_seq: toSeq }) {
    Object.assign(this, { epoch, version, toSeq });
  }

  refused(error) {
    const epoch = error?.details?.epoch;
    const isAnother = error?.code === "wrong_epoch" && typeof epoch === "string" && epoch !== this.epoch;
    if (!isAnother || this.state === "ended") return super.refused(error);
    // Another stream under the same name: its numbers mean other rows, from the first on.
    const fromSeq = this.toSeq + 1;
    Object.assign(this, { epoch, version: 0, toSeq: 0 });
    this.skipped({ fromSeq, toSeq: null, reason: "epoch" });
    return this.attach();
  }

  skipped(gap) {
    this.toSeq = gap.toSeq ?? this.toSeq;
    const { version, toSeq, epoch } = this;
    const rows = Answer.fromRows([], version, { hasStringIds: false });
    this.item({ version, toSeq, epoch, rows, gap }, 0, "gap", gap);
  }

  take({ version, toSeq, rows }, bytes) {
    Object.assign(this, { version, toSeq });
    if (rows.length) this.item({ version, toSeq, epoch: this.epoch, rows, gap: null }, bytes);
    if (this.queuedBytes > BUFFER_BYTES) this.detach();
  }

  drainedQueue() {
    if (!this.link && this.state === "live") this.attach();
  }
}

/** `points` (by seq) are what to show; a push with a new `basis` replaces everything. */
class WindowMap extends Subscription {
  points = new Map();
  basis = null;

  request() {
    const ask = super.request();
    return async (link, accept) => {
      this.idKind = (await link.open(this.collection, true)).ids;
      return ask(link, accept);
    };
  }

  keep(item, bytes) {
    super.keep(item, bytes);
    // An iteration that is slow finds all in `points`.
    while (this.queue.length > 1 && this.queuedBytes > BUFFER_BYTES) this.shift();
  }

  begin() {
    this.basis = null;
  }

  take(push, bytes) {
    if (push.basis !== this.basis) this.points.clear();
    this.basis = push.basis;
    for (const row of push.rows) {
      if (this.idKind !== "str") row.id = asId(BigInt(row.id));
      this.points.set(row.seq, row);
    }
    for (const seq of this.points.keys()) {
      if (seq >= push.first_seq) break;
      this.points.delete(seq);
    }
    this.item(push, bytes);
  }
}
