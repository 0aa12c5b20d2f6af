/** The operations (PROTOCOL sections 2 and 6): arguments are checked, then asked. */

import { Adder } from "./adder.js";
import { Connection } from "./connection.js";
import { Feed } from "./feed.js";
import { Answer, encodeFrame, KINDS } from "./frames.js";
import { Live } from "./live.js";
import { fields, known, OPTIONS, readIds, toCount, toId, toIdList, toList, toMatrix, toMetadata, toVector } from "./requests.js";
import { Newest, WindowMap } from "./subscription.js";

export class Client extends Connection {
  #adders = new Map();

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

  /** `body`: fields, or what makes them (and throws where they cannot be). */
  async #ask(op, body, options, how, names = []) {
    known(options, [...OPTIONS.call, ...names]);
    return this.call((link) => link.op(op, typeof body === "function" ? body() : body), { ...options, ...how });
  }
}

export async function connect(url, options) {
  return new Client(url, options).start();
}
