/** What goes into requests; what a message cannot hold as it is, is refused by name. */

import { fail } from "./errors.js";

export const isSafe = (id) => typeof id === "bigint" && Number.isSafeInteger(Number(id));
export const asId = (id) => (isSafe(id) ? Number(id) : id);

export const HALF = /\p{Surrogate}/u;
export const HALF_SAID = "half a character (a lone surrogate)";
/** What the server's parser takes, less what stands around a value. */
const MOST_NESTED = 1000;
export const tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
const isNumbers = (value) => ArrayBuffer.isView(value) && !(value instanceof DataView);
const REFUSALS = { filter: "bad_filter", collection: "bad_name", rank: "bad_rank" };

/** A copy of `value`; what `JSON.stringify` would change is refused. `isLax` drops undefined keys. */
export function plain(value, name, isLax = false, code = REFUSALS[name] ?? "bad_request", depth = 0) {
  const refuse = (what, where = name) => fail(code, `${where}: ${what} is no value of JSON`);
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "string") return HALF.test(value) ? refuse(HALF_SAID) : value;
  if (typeof value === "number") return Number.isFinite(value) ? value : refuse(value);
  if (typeof value === "bigint") return isSafe(value) ? Number(value) : refuse("an integer beyond 2^53 - 1");
  if (typeof value !== "object" || ArrayBuffer.isView(value)) return refuse(tagOf(value));
  if (depth > MOST_NESTED) return refuse("nested too deep, or in a circle", name.slice(0, 60));
  const inner = (one, where) => plain(one, where, isLax, code, depth + 1);
  // Of an invalid date it is null.
  if (typeof value.toJSON === "function") return inner(value.toJSON() ?? undefined, name);
  if (Array.isArray(value)) {
    // `Array.from` takes twice as long.
    const list = [];
    for (let at = 0; at < value.length; at++) list.push(inner(value[at], `${name}[${at}]`));
    return list;
  }
  const tag = Object.getPrototypeOf(value) === Object.prototype ? "Object" : tagOf(value);
  if (/^(Number|String|Boolean)$/.test(tag)) return inner(value.valueOf(), name);
  if (tag !== "Object") return refuse(tag);
  const copy = {};
  for (const key of Object.keys(value)) {
    const one = value[key];
    if (one === undefined && isLax) continue;
    if (HALF.test(key)) refuse(HALF_SAID, `a key of ${name}`);
    const own = plain(one, `${name}.${key}`, isLax, code, depth + 1);
    if (key === "__proto__") Object.defineProperty(copy, key, { value: own, enumerable: true });
    else copy[key] = own;
  }
  return copy;
}

export function toMetadata(value, name, row) {
  if (value == null) return value;
  try {
    const made = plain(value, name, true, "bad_metadata");
    return tagOf(made) === "Object" ? made : fail("bad_metadata", `${name}: must be an object`);
  } catch (error) {
    throw Object.assign(error, { row });
  }
}

export function toList(list, name, code = "bad_request") {
  if (Array.isArray(list) || isNumbers(list)) return list;
  const isIterable = typeof list === "object" && list?.[Symbol.iterator];
  return isIterable ? Array.from(list) : fail(code, `${name}: must be a list`);
}

export function toCount(k) {
  const count = k ?? 10;
  if (!(Number.isInteger(count) && count > 0 && count < 2 ** 32)) fail("bad_k", "k: must be a whole number from 1");
  return count;
}

export function toVector(vector, name = "vector", details) {
  const wrong = (where, what) => fail("bad_vector", `${where}: must be ${what}`, details);
  const isArray = isNumbers(vector) || Array.isArray(vector);
  if (!isArray || !vector.length) wrong(name, "a typed array or a list of numbers, and not empty");
  if (vector instanceof Float32Array) return vector;
  // By index: for holes, too.
  for (let at = 0; at < vector.length; at++) {
    if (typeof vector[at] !== "number") wrong(`${name}[${at}]`, "a number");
  }
  return Float32Array.from(vector);
}

export function toMatrix(vectors, dim) {
  const wrong = (what, details) => fail("dim_mismatch", `vectors${what}`, details);
  if (isNumbers(vectors)) {
    const matrix = toVector(vectors, "vectors");
    return matrix.length % dim ? wrong(`: ${matrix.length} numbers are no rows of ${dim}`) : matrix;
  }
  const list = toList(vectors, "vectors", "bad_vector");
  if (!list.length) fail("bad_vector", "vectors: none");
  const matrix = new Float32Array(list.length * dim);
  for (let row = 0; row < list.length; row++) {
    const vector = toVector(list[row], `vectors[${row}]`, { row });
    if (vector.length !== dim) wrong(`[${row}]: ${vector.length} dimensions, not ${dim}`, { row });
    matrix.set(vector, row * dim);
  }
  return matrix;
}

/** As JSON has it: integers beyond 2^53 - 1 are texts. */
export function toId(id, name, details) {
  const wrong = (what) => fail("bad_id", `${name}: ${what}`, details);
  if (typeof id === "string") return HALF.test(id) ? wrong(HALF_SAID) : id;
  const isRight = typeof id === "bigint" ? id >= 0n && id < 1n << 64n : Number.isSafeInteger(id) && id >= 0;
  if (!isRight) wrong("must be a text or an integer from 0 to 2^64 - 1, above 2^53 - 1 a BigInt");
  return typeof id === "bigint" && !isSafe(id) ? `${id}` : Number(id);
}

export const toIdList = (ids, name = "ids") =>
  Array.from(toList(ids, name, "bad_id"), (id, row) => toId(id, `${name}[${row}]`, { row }));

/** Ids, and vectors as lists. */
const toExamples = (examples, name) =>
  Array.from(toList(examples, name), (one, row) => {
    const where = `${name}[${row}]`;
    return typeof one === "object" && one ? Array.from(toVector(one, where, { row })) : toId(one, where, { row });
  });

/** What a query is near to in place of a vector, as fields. */
export function toTarget(vector, options) {
  const { positive, negative } = options ?? {};
  if (vector != null && positive != null) fail("bad_request", "vector: does not go together with positive");
  if (negative != null && positive == null) fail("bad_request", "negative: needs positive");
  const fields = {};
  if (positive != null) fields.positive = toExamples(positive, "positive");
  if (negative != null) fields.negative = toExamples(negative, "negative");
  return fields;
}

/**
 * What a move changes: a vector, and `fields`, null for what is cleared. `names`: what it sets; vector
 * and examples stand in the same place.
 */
export function toChange(vector, options) {
  known(options, OPTIONS.move);
  const { positive, exclude, filter, minScore } = options ?? {};
  const target = toTarget(vector, options);
  const fields = {};
  if (exclude !== undefined) fields.exclude = toIdList(exclude ?? [], "exclude");
  if (filter !== undefined) fields.filter = plain(filter ?? {}, "filter");
  if (minScore !== undefined) fields.min_score = plain(minScore, "minScore");
  const names = new Set(Object.keys(fields));
  Object.assign(fields, target);
  const isElsewhere = vector != null || positive != null || !names.size;
  if (isElsewhere) names.add("target");
  // The caller may fill its array anew.
  return { vector: isElsewhere && positive == null ? toVector(vector).slice() : null, fields, names };
}

export function toIds(given, count) {
  const ids = toList(given, "ids", "bad_id");
  if (ids.length !== count) fail("bad_id", `ids: ${ids.length} of them for ${count} rows`);
  if (ids instanceof BigUint64Array) return ids;
  const all = toIdList(ids);
  const isText = (row) => typeof ids[row] === "string";
  const row = all.findIndex((_, at) => isText(at) !== isText(0));
  if (row >= 0) fail("bad_id", `ids[${row}]: texts and numbers together`, { row });
  return isText(0) ? all : BigUint64Array.from(all, BigInt);
}

const isLargeId = (id) => /^[1-9]\d{15,19}$/.test(id) && !Number.isSafeInteger(Number(id));

/** Whether the ids of `rows` are texts; large integers that JSON has as texts become BigInts. */
export async function readIds(link, collection, rows) {
  const found = rows.filter(Boolean);
  const texts = found.filter(({ id }) => typeof id === "string");
  const hasNumbers = texts.length < found.length;
  const areTexts = texts.length > 0 && !hasNumbers
    && (!texts.every(({ id }) => isLargeId(id)) || (await link.open(collection, true)).ids === "str");
  if (!areTexts) for (const row of texts) row.id = BigInt(row.id);
  return areTexts;
}

const CALL = ["signal", "timeoutMs", "failFast"];
/** What a move may change, besides the vector. */
const MOVED = ["positive", "negative", "exclude", "filter", "minScore"];
const SHAPE = ["decay", "rank", "group", "spread"];
/** Of searches alone. */
const ONCE = ["mmr", "at"];
export const OPTIONS = {
  call: CALL,
  get: [...CALL, "include"],
  count: [...CALL, "filter", "by", "limit"],
  search: [...CALL, "k", ...MOVED, ...SHAPE, ...ONCE, "include", "last", "like"],
  add: [...CALL, "ids", "metadata", "columns", "unlessNear"],
  live: ["k", ...MOVED, ...SHAPE, "include", "every"],
  move: MOVED,
  feed: ["filter", "include", "fromSeq", "epoch"],
  novel: ["filter", "last", "include", "fromSeq", "epoch"],
  watchCount: ["filter", "by", "limit", "every"],
  stats: ["every"],
  map: ["sample", "every"],
  definition: ["dim", "capacity", "metric", "ids", "columns", "ttl", "durability", "if_exists", "replicas", "shards"],
};

export function known(options, names) {
  if (options == null) return;
  if (typeof options !== "object" || Array.isArray(options)) fail("bad_request", "options: must be an object");
  for (const name in options) {
    if (!names.includes(name)) fail("bad_request", `${name}: there is no such option (but ${names.join(", ")})`);
  }
}

const FIELDS = [
  "filter", "minScore", "below", "include", "last", "every", "epoch", "fromSeq", "sample", "by", "limit", ...SHAPE,
  ...ONCE,
];

export function fields(options) {
  const body = {};
  for (const name of FIELDS) {
    const value = options?.[name];
    if (value != null) body[name.replace(/[A-Z]/, (letter) => `_${letter.toLowerCase()}`)] = plain(value, name);
  }
  return body;
}
