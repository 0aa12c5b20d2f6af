/** The operations. */

import { Adder } from "./adder.js";
import { Connection } from "./connection.js";
import { fail } from "./errors.js";
import { Feed } from "./feed.js";
import { Answer, encodeFrame, KINDS } from "./frames.js";
import { Live } from "./live.js";
import {
  fields, known, OPTIONS, readIds, toCount, toId, toIdList, toList, toMatrix, toMetadata, toTarget,
  toVector,
} from "./requests.js";
import { CountWatch, Newest, WindowMap } from "./subscription.js";

export class Client extends Connection {
  #adders = new Map();

  ping(options) {
    return this.#read("ping", {}, options);
  }
  async list(options) {
    return (await this.#read("list", {}, options)).collections;
  }
  async listUnavailable(options) {
    return (await this.#read("list", {}, options)).unavailable ?? [];
  }
  describe(collection, options) {
    return this.#read("describe", { collection }, options);
  }
  stats(collection, options) {
    return this.#read("stats", { collection: collection ?? undefined }, options);
  }
  usage(options) {
    return this.#read("usage", {}, options);
  }
  async count(collection, options) {
    known(options, OPTIONS.count);
    const body = { collection, ...fields(options) };
    const counted = await this.call((link) => this.#seen(link, "count", body), options);
    return options?.by == null ? counted.count : counted;
  }
  async create(collection, definition, options) {
    known(definition, OPTIONS.definition);
    return this.#change("create", { ...definition, collection }, options);
  }
  async drop(collection, options) {
    await this.#change("drop", { collection }, options);
    this.seen.newest.delete(collection);
  }
  async delete(collection, ids, options) {
    return (await this.#change("delete", { collection, ids: toIdList(ids) }, options)).deleted;
  }
  async update(collection, rows, options) {
    const toRow = (row, at) => ({
      ...row,
      id: toId(row?.id, `rows[${at}].id`, { row: at }),
      metadata: toMetadata(row.metadata, `rows[${at}].metadata`, at),
    });
    const body = { collection, rows: Array.from(toList(rows, "rows"), toRow) };
    return (await this.#change("update", body, options)).version;
  }
  async get(collection, ids, options) {
    known(options, OPTIONS.get);
    const body = { collection, ids: toIdList(ids), ...fields(options) };
    return this.call(async (link) => {
      const { rows } = await this.#seen(link, "get", body);
      await readIds(link, collection, rows);
      return rows;
    }, options);
  }

  async search(collection, vector, options) {
    known(options, OPTIONS.search);
    const { k: most, like, positive, exclude } = options ?? {};
    const k = toCount(most);
    const isByRow = like != null;
    if (isByRow && positive != null) fail("bad_request", "like: does not go together with positive");
    const json = { ...fields(options), ...toTarget(isByRow ? null : vector, options) };
    if (exclude != null) json.exclude = toIdList(exclude, "exclude");
    if (isByRow) return this.#searchLike({ collection, like: toId(like, "like"), k, ...json }, options);
    const isMany = Array.isArray(vector) && typeof vector[0] === "object";
    const asked = positive == null ? queries(vector, isMany) : { n: 0, sections: [] };
    return this.call(async (link) => {
      const { handle } = await link.open(collection);
      const { answers } = await this.seen.read(link, collection, (wanted) =>
        link.ask((id) => encodeFrame({ kind: KINDS.SEARCH, id, handle, k, json: { ...json, ...wanted }, ...asked })));
      return isMany ? answers : answers[0];
    }, { ...options, collection });
  }

  #searchLike(body, options) {
    return this.call(async (link) => {
      const { results, version, versions, at, took_us: tookUs } = await this.#seen(link, "search", body);
      const hasStringIds = await readIds(link, body.collection, [{ id: body.like }, ...results]);
      const rest = { isRanked: at !== undefined, isWeighted: body.decay !== undefined, at, tookUs, versions };
      return Answer.fromRows(results, version, hasStringIds, rest);
    }, options);
  }

  async add(collection, vectors, options) {
    known(options, OPTIONS.add);
    let adder = this.#adders.get(collection);
    if (!adder) this.#adders.set(collection, (adder = new Adder(this, collection)));
    return adder.add(vectors, options ?? {});
  }

  live(collection, vector, options) {
    known(options, OPTIONS.live);
    return new Live(this, collection, vector, options);
  }
  match(collection, vector, minScore, options) {
    known(options, OPTIONS.feed);
    return new Feed(this, "match", collection, { ...options, minScore, vector: toVector(vector) });
  }
  novel(collection, below, options) {
    known(options, OPTIONS.novel);
    if (typeof below !== "number") fail("bad_request", "below: must be a number");
    return new Feed(this, "novel", collection, { ...options, below });
  }
  feed(collection, options) {
    known(options, OPTIONS.feed);
    return new Feed(this, "feed", collection, options);
  }
  watchCount(collection, options) {
    known(options, OPTIONS.watchCount);
    return new CountWatch(this, "count", collection, options);
  }
  watchStats(collection, options) {
    known(options, OPTIONS.stats);
    return new Newest(this, "stats", collection, options);
  }
  map(collection, options) {
    known(options, OPTIONS.map);
    return new WindowMap(this, "map", collection, options);
  }

  #seen(link, op, body) {
    return this.seen.read(link, body.collection, (wanted) => link.op(op, { ...body, ...wanted }));
  }
  async #read(op, body, options) {
    known(options, OPTIONS.call);
    return this.call((link) => link.op(op, body), options);
  }
  async #change(op, body, options) {
    known(options, OPTIONS.call);
    const work = async (link) => this.seen.note(link, body.collection, await link.op(op, body));
    return this.call(work, { ...options, repeat: false });
  }
}

function queries(vector, isMany) {
  const vectors = isMany ? vector.map((one, row) => toVector(one, `vector[${row}]`)) : [toVector(vector)];
  const dim = vectors[0].length;
  // The caller may fill the array anew meanwhile.
  return { n: vectors.length, dim, sections: [isMany ? toMatrix(vectors, dim) : vectors[0].slice()] };
}

export async function connect(url, options) {
  return new Client(url, options).start();
}
