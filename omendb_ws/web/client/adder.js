/** Adds: rows become frames, each under a batch number, sent until it is in, once. */

import { fail, limits } from "./errors.js";
import { encodeFrame, KINDS, nearIds } from "./frames.js";
import {
  HALF, HALF_SAID, isSafe, known, plain, tagOf, toIds, toList, toMatrix, toMetadata,
} from "./requests.js";

const FRAME_BYTES = 256 << 10;
const NULL_CODE = 0xffffffff;
/** Of a column's section: the array, and what a value is in it. */
const COLUMNS = {
  f64: [Float64Array, (value) => (typeof value === "number" ? value : value == null ? NaN : undefined)],
  i64: [BigInt64Array, (value) => (isSafe(value) || Number.isSafeInteger(value) ? BigInt(value) : undefined)],
  bool: [Uint8Array, (value) =>
    (typeof value === "boolean" || value === 0 || value === 1 ? Number(value) : undefined)],
  str: [Uint32Array, (value, codes, wrong) => {
    if (value == null) return NULL_CODE;
    if (typeof value !== "string") return undefined;
    return codes.get(value) ?? codes.set(HALF.test(value) ? wrong(HALF_SAID) : value, codes.size).size - 1;
  }],
};
const WRONG_TYPE = "is not of the column's type (i64 and bool hold no null: leave the key out of metadata)";

function encodeAdd(rows, start, stop, types, header) {
  const { dim, ids, metadata } = rows;
  const { producer, batch } = header;
  const json = { producer, batch };
  if (rows.unlessNear) json.unless_near = rows.unlessNear;
  const sections = [rows.vectors.subarray(start * dim, stop * dim)];
  const part = ids?.slice(start, stop);
  let flags = 0;
  if (Array.isArray(part)) json.ids = part;
  else if (part) {
    flags |= 1;
    sections.unshift(part);
  }
  for (const [name, values] of rows.columns) {
    const type = types[name];
    if (!COLUMNS[type]) fail("bad_metadata", `${name}: the collection has no such column`);
    const [Section, convert] = COLUMNS[type];
    const codes = new Map();
    const toValue = (value, row) => {
      const wrong = (what) => fail("bad_metadata", `columns.${name}[${start + row}]: ${what}`, { row });
      return convert(value, codes, wrong) ?? wrong(WRONG_TYPE);
    };
    sections.push(Section.from(values.slice(start, stop), toValue));
    flags |= 2;
    (json.columns ??= []).push(name);
    if (type === "str") (json.dictionaries ??= {})[name] = [...codes.keys()];
  }
  if (metadata) {
    const toRow = (one, at) => toMetadata(one, `metadata[${start + at}]`, at);
    json.metadata = Array.from(metadata.slice(start, stop), toRow);
  }
  return encodeFrame({ ...header, kind: KINDS.ADD, flags, n: stop - start, dim, json, sections });
}

const UNKNOWN_OUTCOME = ["connection_lost", "storage_failed", "internal"];

export class Adder {
  last = Promise.resolve();

  constructor(client, collection) {
    Object.assign(this, { client, collection });
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
    // One given up in the queue lets nobody pass.
    this.last = Promise.allSettled([before, added]).then(() => {});
    return added;
  }

  call(work, options) {
    const { collection, client } = this;
    const open = async (link, limit) =>
      client.seen.note(link, collection, await work(await link.open(collection), link, limit));
    return client.call(open, { ...options, collection });
  }

  async addAll(vectors, options) {
    const rows = await this.call((description) => prepare(description, vectors, options), options);
    const { dim, capacity, count, areTexts, unlessNear } = rows;
    const most = Math.min(this.client.limits.max_rows, capacity, Math.floor(FRAME_BYTES / (4 * dim + 8)));
    let step = Math.max(1, most);
    const added = { version: 0, firstSeq: null, lastSeq: null };
    if (unlessNear) Object.assign(added, { skipped: [], near: [] });
    for (let start = 0, stop; start < count; start = stop) {
      stop = Math.min(count, start + step);
      try {
        const { version, firstSeq, lastSeq, skipped, near } = await this.addFrame(rows, start, stop, options);
        Object.assign(added, { version, firstSeq: added.firstSeq ?? firstSeq });
        added.lastSeq = lastSeq ?? (unlessNear ? added.lastSeq : null);
        if (!unlessNear || !added.skipped) continue;
        // Of a repeated frame nobody knows any more.
        added.skipped = skipped && added.skipped.concat(skipped.map((place) => start + place));
        added.near = near && added.near.concat(nearIds(near, areTexts));
      } catch (error) {
        if (error?.code === "too_large" && error.row === undefined && stop - start > 1) {
          // Metadata can outgrow a message.
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
    const work = async ({ handle, columns }, link, limit) => {
      await this.client.drained();
      // The next add would pass for a repetition.
      if (limit.isOver) return undefined;
      const { producer } = this;
      const reply = link.ask((id) => encodeAdd(rows, start, stop, columns, { id, handle, producer, batch }));
      const wasOut = isOut;
      isOut = true;
      return reply.catch((error) => {
        // What an earlier connection took with it stays unknown.
        isOut = wasOut || UNKNOWN_OUTCOME.includes(error.code);
        throw error;
      });
    };
    try {
      const added = await this.call(work, options);
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

function prepare({ dim, capacity, ids: kind }, given, { ids, columns, metadata, unlessNear }) {
  const vectors = toMatrix(given, dim);
  const count = vectors.length / dim;
  const toRows = (values, name) => {
    const list = toList(values, name, "bad_metadata");
    if (list.length !== count) fail("bad_metadata", `${name}: ${list.length} of them for ${count} rows`);
    return list;
  };
  if (columns != null && tagOf(columns) !== "Object") fail("bad_metadata", "columns: must be an object of lists");
  return {
    vectors, dim, capacity, count, areTexts: kind === "str", unlessNear: toUnlessNear(unlessNear),
    ids: ids == null ? null : toIds(ids, count),
    columns: Object.entries(columns ?? {}).map(([name, values]) => [name, toRows(values, `columns.${name}`)]),
    metadata: metadata == null ? null : toRows(metadata, "metadata"),
  };
}

function toUnlessNear(given) {
  if (given == null) return null;
  if (tagOf(given) !== "Object") fail("bad_request", "unlessNear: must be an object");
  known(given, ["score", "filter"]);
  const near = { score: plain(given.score ?? fail("bad_request", "unlessNear.score: missing"), "unlessNear.score") };
  if (given.filter != null) near.filter = plain(given.filter, "unlessNear.filter", false, "bad_filter");
  return near;
}
