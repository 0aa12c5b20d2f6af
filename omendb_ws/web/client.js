/**
 * The browser's client of OmenDB-WS: one module, nothing to build, nothing else needed.
 *
 *     import { connect } from "http://localhost:8765/client.js";
 *     const db = await connect("ws://localhost:8765/v1");
 *     const live = db.live("items", new Float32Array([…]), { k: 10 });
 *     for await (const answer of live) show(answer);
 *
 * Speaks `omendb.v1` (PROTOCOL.md). Works in Node too, with the global `WebSocket` or one passed in.
 * Parts, in order: errors; frames (bytes <-> typed arrays, no I/O); answers; links (one WebSocket);
 * the client (reconnects, calls, adds); subscriptions.
 *
 * Ids of `u64` and `auto` collections are numbers up to 2^53 - 1 and BigInts above; both are taken
 * where an id is asked for. `Answer.ids` is a BigUint64Array for them, and strings for `str`.
 */

// -- errors -----------------------------------------------------------------------------------

/** An error of the protocol, by its `code`; `retry`: the same request may succeed later. */
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
const fromWire = ({ code, message, ...details }) => new OmenError(code, message, details);

// -- frames: PROTOCOL section 7 ---------------------------------------------------------------

const HEADER_BYTES = 32;
const KINDS = { ADD: 1, ADDED: 2, SEARCH: 3, RESULTS: 4, LIVE: 5, ROWS: 6, SUBSCRIBE: 7, MOVE: 8 };
const REASONS = ["displaced", "evicted", "expired", "replaced", "deleted", "filtered", "updated"];
const NULL_CODE = 0xffffffff;
const padded = (bytes) => (bytes + 7) & ~7;
const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder();

/** One binary message. `sections` are typed arrays, written behind the JSON in this order. */
export function encodeFrame({ kind, flags = 0, id, handle = 0, n, dim = 0, k = 0, json, sections }) {
  const text = json && Object.keys(json).length ? utf8.encode(stringify(json)) : new Uint8Array(0);
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

/** JSON text; BigInts as the decimal strings that the protocol takes for large ids. */
function stringify(value) {
  return JSON.stringify(value, (_, one) => (typeof one === "bigint" ? wireId(one) : one));
}

const isSafe = (id) => typeof id === "bigint" && id <= Number.MAX_SAFE_INTEGER;
const wireId = (id) => (typeof id !== "bigint" ? id : isSafe(id) ? Number(id) : `${id}`);
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

/**
 * Rows, best first: `ids` (BigUint64Array or strings), `seqs` (Float64Array), `scores`
 * (Float32Array; null in a feed), `vectors` (Float32Array, `dim` each; null unless included) and
 * `metadata` (objects; null unless included). Iterating gives each row as an object.
 */
export class Answer {
  constructor({ ids, seqs, scores, vectors, metadata, dim }, version, tookUs = 0) {
    Object.assign(this, { version, tookUs, ids, seqs, scores, vectors, metadata, dim });
  }
  get length() {
    return this.seqs.length;
  }
  /** Row `place` as `{id, seq, score?, metadata?, vector?}`. */
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

function toVector(vector) {
  if (vector instanceof Float32Array) return vector;
  if (!vector || typeof vector === "string" || typeof vector.length !== "number") {
    fail("bad_vector", "vector: must be a Float32Array or a list of numbers");
  }
  for (const one of vector) if (typeof one !== "number") fail("bad_vector", "vector: must be numbers");
  return Float32Array.from(vector);
}

/** `vectors` as one Float32Array (n * dim): a flat one, or a list of vectors. */
function toMatrix(vectors, dim) {
  if (vectors instanceof Float32Array) {
    if (!vectors.length || vectors.length % dim) {
      fail("dim_mismatch", `vectors: ${vectors.length} numbers are no rows of ${dim}`);
    }
    return vectors;
  }
  const matrix = new Float32Array(vectors.length * dim);
  vectors.forEach((one, row) => {
    const vector = toVector(one);
    if (vector.length !== dim) fail("dim_mismatch", `${vector.length} dimensions, not ${dim}`, { row });
    matrix.set(vector, row * dim);
  });
  return matrix;
}

function toIds(ids, count) {
  if (ids.length !== count) fail("bad_id", `ids: ${ids.length} of them for ${count} rows`);
  if (ids instanceof BigUint64Array) return ids;
  if (typeof ids[0] === "string") return Array.from(ids);
  return BigUint64Array.from(ids, (id, row) => {
    const isRight = typeof id === "bigint" ? id >= 0n && id < 1n << 64n : Number.isSafeInteger(id) && id >= 0;
    return isRight ? BigInt(id) : fail("bad_id", "ids: an integer from 0 to 2^64 - 1; above 2^53 a BigInt", { row });
  });
}

/** The section of one column, and what belongs into `dictionaries` for it. */
const COLUMN_WRITERS = {
  f64: (values, wrong) => [Float64Array.from(values, (value, row) =>
    value == null ? NaN : typeof value === "number" ? value : wrong(row))],
  i64: (values, wrong) => [BigInt64Array.from(values, (value, row) =>
    typeof value === "bigint" || Number.isSafeInteger(value) ? BigInt(value) : wrong(row))],
  bool: (values, wrong) => [Uint8Array.from(values, (value, row) =>
    typeof value === "boolean" || value === 0 || value === 1 ? Number(value) : wrong(row))],
  str: (values, wrong) => {
    const codes = new Map();
    const code = (value) => codes.get(value) ?? (codes.set(value, codes.size), codes.size - 1);
    return [Uint32Array.from(values, (value, row) =>
      value == null ? NULL_CODE : typeof value === "string" ? code(value) : wrong(row)), codes];
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
  for (const [name, values] of Object.entries(rows.columns ?? {})) {
    const writer = COLUMN_WRITERS[types[name]];
    if (!writer) fail("bad_metadata", `${name}: the collection has no such column`);
    const hint = "is not of the column's type (i64 and bool hold no null: leave the key out of metadata)";
    const wrong = (row) => fail("bad_metadata", `${name}: ${hint}`, { row });
    const [section, codes] = writer(values.slice(start, stop), wrong);
    flags |= 2;
    sections.push(section);
    (json.columns ??= []).push(name);
    if (codes) (json.dictionaries ??= {})[name] = [...codes.keys()];
  }
  if (rows.metadata) json.metadata = Array.from(rows.metadata).slice(start, stop);
  const n = stop - start;
  return encodeFrame({ kind: KINDS.ADD, flags, id, handle, n, dim: rows.dim, json, sections });
}

/** Fields of the wire from the options of a call; absent ones stay away. */
function fields(options) {
  const { filter, minScore: min_score, include, last, every, epoch, fromSeq: from_seq, sample } = options;
  const all = { filter, min_score, include, last, every, epoch, from_seq, sample };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value != null));
}

// -- links: one WebSocket ---------------------------------------------------------------------

/** One connection from its hello to its end: ids, replies, pushes by `sub`, open handles. */
class Link {
  constructor(socket) {
    this.socket = socket;
    this.limits = {};
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
    if (typeof data !== "string") return this.take(decodeFrame(data));
    const message = JSON.parse(data);
    if (message.id !== undefined) return this.answer(message.id, message);
    if (message.event === "hello") return this.greeted.resolve(message);
    if (message.event === "error") {
      // Only this one says why the connection ends; after others it lives on.
      if (message.code === "unauthenticated") this.refusal = fromWire(message);
      return undefined;
    }
    this.subs.get(message.sub)?.pushed(message);
    if (message.event === "ended") this.subs.delete(message.sub);
    return undefined;
  }

  take(frame) {
    if (frame.type === "added" || frame.type === "results") this.answer(frame.id, { ok: frame });
    else if (frame.type !== "unknown") this.subs.get(frame.sub)?.pushed(frame);
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
      this.calls.set(id, { resolve, reject, accept });
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

  op(op, body = {}, accept) {
    return this.ask((id) => stringify({ id, op, ...body }), accept);
  }

  /** The description and handle of a collection, asked for once. */
  open(collection) {
    let opening = this.opened.get(collection);
    if (!opening) {
      opening = this.op("open", { collection });
      this.opened.set(collection, opening);
      opening.catch(() => this.opened.delete(collection));
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
  retryMs: 250, maxRetryMs: 10_000, highWaterBytes: 1 << 20,
};

/**
 * A client that stays connected. Events: `state` ("connecting", "open", "waiting", "closed").
 * Reads are repeated after a reconnect, adds too (under a producer and batch number, so they go in
 * once); other changes reject with `connection_lost`, as their outcome is not known.
 */
export class Client extends EventTarget {
  #link = null;
  #ready = null;
  #adders = new Map();
  #attempt = 0;
  #refusals = 0;
  #wake = () => {};
  #closing = new AbortController();
  #refresh;
  #check;

  constructor(url, options = {}) {
    super();
    this.url = url;
    this.options = { WebSocket: globalThis.WebSocket, ...DEFAULTS, ...options };
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

  /** Connect, and stay so until `close`. The first connection has `timeoutMs` to stand. */
  async start() {
    const { signal, timeoutMs } = this.options;
    const limit = limits(signal, timeoutMs);
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

  /** End the connection and everything on it. */
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

  /** Bytes handed to the WebSocket that are not sent yet. */
  get bufferedAmount() {
    return this.#link?.socket.bufferedAmount ?? 0;
  }

  /** Resolves when at most `bytes` wait to be sent: what a producer awaits between messages. */
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
  /** `definition`: as the protocol's `create`, e.g. `{dim, capacity, metric, ids, columns}`. */
  create(collection, definition, options) {
    return this.#ask("create", { collection, ...definition }, { repeat: false, ...options });
  }
  drop(collection, options) {
    return this.#ask("drop", { collection }, { repeat: false, ...options }).then(() => {});
  }
  /** How many of the rows were there. */
  delete(collection, ids, options) {
    return this.#ask("delete", { collection, ids: Array.from(ids) }, { repeat: false, ...options })
      .then((ok) => ok.deleted);
  }
  /** `rows`: `[{id, metadata}]`. The version. */
  update(collection, rows, options) {
    return this.#ask("update", { collection, rows }, { repeat: false, ...options })
      .then((ok) => ok.version);
  }
  /** Each row as an object, null where it is not there. */
  get(collection, ids, options = {}) {
    const body = { collection, ids: Array.from(ids), ...fields(options) };
    return this.call(async (link) => {
      const { ids: kind } = await link.open(collection);
      const { rows } = await link.op("get", body);
      return rows.map((row) => row && { ...row, id: readId(row.id, kind) });
    }, { collection, ...options });
  }
  count(collection, options = {}) {
    return this.#ask("count", { collection, ...fields(options) }, options).then((ok) => ok.count);
  }
  stats(collection, options) {
    return this.#ask("stats", collection == null ? {} : { collection }, options);
  }

  /**
   * The nearest rows to `vector` (Float32Array or numbers): an Answer; to a list of vectors: a list
   * of Answers. Options: `k`, `filter`, `minScore`, `last`, `include`; or `like`, a row's id.
   */
  async search(collection, vector, { k = 10, like, ...options } = {}) {
    if (like !== undefined) return this.#searchLike(collection, { k, like, ...options }, options);
    const isMany = Array.isArray(vector) && typeof vector[0] === "object";
    const vectors = (isMany ? vector : [vector]).map(toVector);
    return this.call(async (link) => {
      const { handle } = await link.open(collection);
      const dim = vectors[0].length;
      const sections = [toMatrix(vectors, dim)];
      const json = fields(options);
      const { answers } = await link.ask((id) =>
        encodeFrame({ kind: KINDS.SEARCH, id, handle, n: vectors.length, dim, k, json, sections }));
      return isMany ? answers : answers[0];
    }, { collection, ...options });
  }

  async #searchLike(collection, { k, like, ...options }, callOptions) {
    return this.call(async (link) => {
      const { ids } = await link.open(collection);
      const ok = await link.op("search", { collection, like: wireId(like), k, ...fields(options) });
      return Answer.fromRows(ok.results, ok.version, { hasStringIds: ids === "str", tookUs: ok.took_us });
    }, { collection, ...callOptions });
  }

  /**
   * Add rows; resolves when all are as safe as the collection's durability says. `vectors`: a flat
   * Float32Array (n * dim) or a list of vectors. Options: `ids`, `metadata` (objects or nulls),
   * `columns` ({name: values}). Calls for one collection go in, in order, one after the other.
   */
  add(collection, vectors, options = {}) {
    let adder = this.#adders.get(collection);
    if (!adder) this.#adders.set(collection, (adder = new Adder(this, collection)));
    return adder.add(vectors, options);
  }

  // -- subscriptions: PROTOCOL section 6 ------------------------------------------------------

  /** The standing top-k. Options: `k`, `filter`, `minScore`, `include`, `every` (ms). */
  live(collection, vector, options) {
    return new Live(this, collection, toVector(vector), options);
  }
  /** Every added row that scores at least `minScore`. Options as `feed`. */
  match(collection, vector, minScore, options) {
    return new Feed(this, "match", collection, { ...options, minScore, vector: toVector(vector) });
  }
  /** Every added row. Options: `filter`, `include`, `fromSeq` with `epoch`. */
  feed(collection, options) {
    return new Feed(this, "feed", collection, options);
  }
  /** Statistics of a collection, or of the server (null). Option: `every` (ms). */
  watchStats(collection = null, options) {
    return new Newest(this, "stats", collection, options);
  }
  /** A picture of the window in two dimensions. Options: `sample`, `every` (ms). */
  map(collection, options) {
    return new WindowMap(this, "map", collection, options);
  }

  // -- inside ---------------------------------------------------------------------------------

  /** Do `work(link, limit)`; again after a reconnect unless `repeat` is false. Used by subscriptions. */
  async call(work, { repeat = true, collection, signal, timeoutMs = this.options.timeoutMs } = {}) {
    const limit = limits(signal, timeoutMs);
    try {
      for (let attempt = 0; ; attempt++) {
        if (this.state === "closed") throw this.error;
        const link = await limit.race(this.#ready.promise);
        try {
          return await limit.race(work(link, limit));
        } catch (error) {
          if (!this.#mayRepeat(error, link, collection, attempt, repeat)) throw error;
        }
      }
    } finally {
      limit.clear();
    }
  }

  #mayRepeat(error, link, collection, attempt, repeat) {
    if (error?.code === "connection_lost") return repeat;
    // A handle dies with its collection; there may be a new one of that name.
    if (error?.code === "not_found" && collection && link.opened.delete(collection)) return attempt === 0;
    return false;
  }

  #ask(op, body, options) {
    return this.call((link) => link.op(op, body), options);
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
      }
      clearTimeout(this.#refresh);
      this.#link = null;
      if (this.state === "closed") return;
      // With `getToken` a refused token is replaced; a fixed one stays refused.
      const isRefused = end.error?.code === "unauthenticated";
      if (isRefused && !(this.options.getToken && this.#refusals++ < 3)) return this.close(end.error);
      await this.#pause();
    }
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
    const { WebSocket } = this.options;
    // One attempt always has a limit, also where calls and the wait for the first connection have none.
    const limitMs = this.options.timeoutMs || DEFAULTS.timeoutMs;
    const limit = limits(this.#closing.signal, limitMs);
    const token = await limit.race(this.#token()).finally(limit.clear);
    if (this.state === "closed") throw this.error;
    const link = (this.#link = new Link(new WebSocket(this.url, "omendb.v1")));
    const timer = setTimeout(() => link.close(), limitMs);
    try {
      const hello = await link.hello;
      this.limits = link.limits = hello.limits;
      if (hello.auth === "required") {
        if (token == null) throw new OmenError("unauthenticated", "the server asks for a token");
        await this.#authenticate(link, token);
      }
    } catch (error) {
      link.close();
      throw link.refusal ?? error;
    } finally {
      clearTimeout(timer);
    }
    this.#attempt = this.#refusals = 0;
    this.#set("open");
    this.#ready.resolve(link);
    return link;
  }

  async #token() {
    const { token, getToken } = this.options;
    return getToken ? getToken() : token;
  }

  async #authenticate(link, token) {
    const { expires_in_s: seconds } = await link.op("auth", { token });
    clearTimeout(this.#refresh);
    if (seconds == null || !this.options.getToken) return;
    const renew = () => this.#renew(link).catch(() => {});
    this.#refresh = setTimeout(renew, Math.min(seconds * 800, 2 ** 31 - 1));
    this.#refresh.unref?.();
  }

  /** A fresh token before the old one expires. If it cannot be had, the server ends the link. */
  async #renew(link) {
    const token = await this.#token();
    if (link.isOpen) await this.#authenticate(link, token);
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

/** Connect to `url` ("ws://host:8765/v1"). See `Client` for the options, README for examples. */
export function connect(url, options) {
  return new Client(url, options).start();
}

/** An id as JSON has it, which writes numbers above 2^53 - 1 as strings. */
const readId = (id, kind) => (kind !== "str" && typeof id === "string" ? BigInt(id) : id);

/** Races promises against an AbortSignal and a time-out (0 or null: none). */
function limits(signal, timeoutMs) {
  let stop;
  const limit = { isOver: false };
  const stopped = new Promise((_, reject) => {
    stop = (reason) => ((limit.isOver = true), reject(reason));
  });
  stopped.catch(() => {});
  const abort = () => stop(signal.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  const late = () => stop(new OmenError("timeout", `no answer within ${timeoutMs} ms`, { retry: true }));
  const timer = timeoutMs ? setTimeout(late, timeoutMs) : null;
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
    const { dim, capacity } = await this.client.call((link) => link.open(this.collection), options);
    const matrix = toMatrix(vectors, dim);
    const count = matrix.length / dim;
    const ids = options.ids == null ? null : toIds(options.ids, count);
    const { columns = {}, metadata } = options;
    for (const [name, { length }] of Object.entries(metadata ? { ...columns, metadata } : (columns ?? {}))) {
      if (length !== count) fail("bad_metadata", `${name}: ${length} of them for ${count} rows`);
    }
    const rows = { ...options, vectors: matrix, dim, ids };
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

const MOST_QUEUED = 256;

/**
 * A stream of pushes that lives through reconnects: an async iterator, and an EventTarget with the
 * events `data` (its `detail` is what an iteration yields), `gap` (`{fromSeq, toSeq, reason}`) and
 * `state`. `state`: "starting", "live", "lost" (reconnecting) or "ended"; then `error` or `reason`
 * says why. Leaving an iteration ends nothing; `close` does.
 */
export class Subscription extends EventTarget {
  constructor(client, kind, collection, options = {}) {
    super();
    Object.assign(this, { client, kind, collection, options, state: "starting", error: null, reason: null });
    this.link = null;
    this.sub = 0;
    this.queue = [];
    this.readers = 0;
    this.waking = [];
    this.attempt = 0;
    /** The attempt to subscribe that is under way; a reply to an earlier one is too late. */
    this.attaching = null;
    this.timer = null;
    client.subscriptions.add(this);
    queueMicrotask(() => this.attach());
  }

  /** End it; iterations end too. */
  close() {
    if (this.state === "ended") return;
    this.detach();
    this.finish("closed");
  }

  async *[Symbol.asyncIterator]() {
    this.readers += 1;
    this.begun();
    try {
      for (;;) {
        while (this.queue.length) yield this.queue.shift();
        if (this.state === "ended") {
          if (this.error) throw this.error;
          return;
        }
        this.drainedQueue();
        await new Promise((resolve) => this.waking.push(resolve));
      }
    } finally {
      this.readers -= 1;
      if (!this.readers) {
        this.queue.length = 0;
        this.drainedQueue();
      }
    }
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
  /** Queue an item for iterations. */
  keep(item) {
    this.queue.push(item);
  }

  async attach() {
    if (this.state === "ended" || this.link || this.attaching) return;
    const attempt = (this.attaching = {});
    try {
      const ask = this.request();
      const { collection } = this;
      await this.client.call((link) => ask(link, (ok) => this.accept(link, ok, attempt)), { collection });
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
    this.timer = setTimeout(() => this.attach(), error.details?.retry_after_ms ?? Math.random() * bound);
  }

  lost() {
    this.link = null;
    if (this.state === "ended") return;
    if (this.client.state === "closed") return void this.finish(null, this.client.error);
    this.set("lost");
    this.attach();
  }

  pushed(message) {
    if (message.event === "ended") {
      this.link = null;
      const refusal = new OmenError("forbidden", "the right to read was taken");
      this.finish(message.reason, message.reason === "forbidden" ? refusal : null);
    } else if (message.event === "gap") {
      this.skipped({ fromSeq: message.from_seq, toSeq: message.to_seq, reason: message.reason });
    } else if ((message.event ?? message.type) === this.kind) {
      this.take(message);
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

  item(item) {
    if (this.readers) {
      this.keep(item);
      this.wake();
    }
    this.emit("data", item);
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
    this.queue[0] = item;
  }
  take(message) {
    this.item(message);
  }
}

/**
 * A standing top-k: each item is the whole answer (an Answer), as `search` gives it at `version`.
 * `answer` is the newest; its `changes` are what entered and left since the one before, or null.
 */
class Live extends Newest {
  constructor(client, collection, vector, options = {}) {
    super(client, "live", collection, options);
    this.vector = vector.slice();
    this.answer = null;
    this.rows = new Map();
    this.isMoving = false;
    this.waiting = [];
  }

  /**
   * Ask for another vector's neighbours. At pointer speed only one request is under way, and the
   * last vector always gets its turn; resolves with the answer of this vector or of a later one.
   */
  move(vector) {
    const call = {};
    call.promise = new Promise((resolve, reject) => {
      if (this.state === "ended") throw this.error ?? new OmenError("closed", "the subscription has ended");
      // A copy: the caller may fill the same array anew for the next move.
      this.vector = toVector(vector).slice();
      this.waiting.push(Object.assign(call, { vector: this.vector, resolve, reject }));
      this.pump();
    });
    return call.promise;
  }

  request() {
    // After a reconnect the vector that was accepted last; a move goes on from there.
    const vector = (this.asked = this.answer ? this.asked : this.vector);
    const { k = 10, every, ...options } = this.options;
    const json = { kind: "live", encoding: "binary", ...fields(options), ...(every && { every }) };
    return async (link, accept) => {
      const { handle } = await link.open(this.collection);
      return link.ask((id) => encodeFrame({
        kind: KINDS.SUBSCRIBE, id, handle, n: 1, dim: vector.length, k, json, sections: [vector],
      }), accept);
    };
  }

  begin({ answers }) {
    this.shown(answers[0], this.asked);
    queueMicrotask(() => this.pump());
  }

  /** An iteration that starts later starts with the answer that stands. */
  begun() {
    if (this.answer && this.state !== "ended") this.queue[0] = this.answer;
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
    const hasStringIds = typeof rows[0]?.id === "string";
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

/**
 * Added rows in seq order, each at most once: items are `{version, toSeq, rows}`, `rows` an Answer.
 * Goes on after a reconnect where it stopped; what cannot be had any more is a `gap`. A reader that
 * is too slow makes it pause: the server's window is the buffer.
 */
class Feed extends Subscription {
  constructor(client, kind, collection, options = {}) {
    super(client, kind, collection, options);
    this.epoch = options.epoch ?? null;
    this.toSeq = options.fromSeq != null ? options.fromSeq - 1 : null;
  }

  request() {
    const { kind, collection, epoch } = this;
    const { vector, ...options } = this.options;
    const fromSeq = this.toSeq === null ? undefined : this.toSeq + 1;
    const body = { kind, collection, encoding: "binary", ...fields({ ...options, epoch: null, fromSeq: null }) };
    if (vector) body.vector = Array.from(vector);
    if (fromSeq !== undefined) Object.assign(body, { from_seq: fromSeq, epoch: epoch ?? undefined });
    return (link, accept) => link.op("subscribe", body, accept);
  }

  begin({ epoch, to_seq: toSeq }) {
    this.epoch = epoch;
    this.toSeq = toSeq;
  }

  refused(error) {
    if (error.code !== "wrong_epoch") return super.refused(error);
    // Another stream under the same name: its numbers mean other rows.
    this.skipped({ fromSeq: this.toSeq + 1, toSeq: null, reason: "epoch" });
    this.epoch = this.toSeq = null;
    return this.attach();
  }

  skipped(gap) {
    if (gap.toSeq !== null) this.toSeq = gap.toSeq;
    super.skipped(gap);
  }

  take({ version, toSeq, rows }) {
    this.toSeq = toSeq;
    if (rows.length) this.item({ version, toSeq, rows });
    if (this.queue.length > MOST_QUEUED) this.detach();
  }

  drainedQueue() {
    if (!this.link && this.state === "live") this.attach();
  }
}

/**
 * A picture of the window: items are the pushes, `points` (by seq: `{id, seq, x, y}`) what to show.
 * A push with a new `basis` replaces everything.
 */
class WindowMap extends Newest {
  points = new Map();
  basis = null;

  request() {
    const ask = super.request();
    return async (link, accept) => {
      this.idKind = (await link.open(this.collection)).ids;
      return ask(link, accept);
    };
  }

  keep(item) {
    this.queue.push(item);
    // An iteration that is slow finds all in `points`.
    if (this.queue.length > MOST_QUEUED) this.queue.shift();
  }

  begin() {
    this.basis = null;
  }

  take(push) {
    if (push.basis !== this.basis) this.points.clear();
    this.basis = push.basis;
    for (const row of push.rows) {
      row.id = readId(row.id, this.idKind);
      this.points.set(row.seq, row);
    }
    for (const seq of this.points.keys()) {
      if (seq >= push.first_seq) break;
      this.points.delete(seq);
    }
    this.item(push);
  }
}
