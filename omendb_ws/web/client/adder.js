/** Adds: rows become frames, which go out one by one until each is in, once. */

import { fail, limits } from "./errors.js";
import { encodeFrame, KINDS } from "./frames.js";
import { HALF, HALF_SAID, isSafe, tagOf, toIds, toList, toMatrix, toMetadata } from "./requests.js";

const NULL_CODE = 0xffffffff;
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

const FRAME_BYTES = 256 << 10;

/** Errors after which a change may have been made, or not: PROTOCOL section 2. */
const UNKNOWN_OUTCOME = new Set(["connection_lost", "storage_failed", "internal"]);

/** Adds of one collection: frames one after the other, each under a batch number of its own. */
export class Adder {
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
