/** What goes into requests: JSON, vectors, ids, options. What a message cannot hold as it is, is refused by name. */

import { fail } from "./errors.js";

export const isSafe = (id) => typeof id === "bigint" && Number.isSafeInteger(Number(id));
export const asId = (id) => (isSafe(id) ? Number(id) : id);

/** Half of a surrogate pair: not to be had in UTF-8, so that nobody could read the message. */
export const HALF = /\p{Surrogate}/u;
export const HALF_SAID = "half a character (a lone surrogate)";
/** What a server's JSON parser takes, less what stands around a value. */
const MOST_NESTED = 1000;
export const tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
const isNumbers = (value) => ArrayBuffer.isView(value) && !(value instanceof DataView);
/** What is refused otherwise than as `bad_request`, by the name of its argument. */
const REFUSALS = { filter: "bad_filter", collection: "bad_name" };

/**
 * A copy of `value` as JSON has it. What `JSON.stringify` would drop or change without a word is
 * refused under its name; `isLax` passes over keys whose value is undefined.
 */
export function plain(value, name, isLax = false, code = REFUSALS[name] ?? "bad_request", depth = 0) {
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

/** A row's metadata; what is wrong in it is wrong with its row. */
export function toMetadata(value, name, row) {
  if (value == null) return value;
  try {
    const made = plain(value, name, true, "bad_metadata");
    return tagOf(made) === "Object" ? made : fail("bad_metadata", `${name}: must be an object`);
  } catch (error) {
    throw Object.assign(error, { row });
  }
}

/** `list` as an array or typed array; a text is no list of its letters. */
export function toList(list, name, code = "bad_request") {
  if (Array.isArray(list) || isNumbers(list)) return list;
  const isIterable = typeof list === "object" && list?.[Symbol.iterator];
  return isIterable ? Array.from(list) : fail(code, `${name}: must be a list`);
}

/** `k` of a header, which would hold another number instead of none. */
export function toCount(k, name) {
  return Number.isInteger(k) && k > 0 && k < 2 ** 32 ? k : fail("bad_k", `${name}: must be a whole number from 1`);
}

export function toVector(vector, name = "vector", details) {
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
export function toMatrix(vectors, dim) {
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
export function toId(id, name, details) {
  if (typeof id === "string") return HALF.test(id) ? fail("bad_id", `${name}: ${HALF_SAID}`, details) : id;
  const isRight = typeof id === "bigint" ? id >= 0n && id < 1n << 64n : Number.isSafeInteger(id) && id >= 0;
  if (!isRight) fail("bad_id", `${name}: must be a text or an integer from 0 to 2^64 - 1, above 2^53 - 1 a BigInt`, details);
  return typeof id === "bigint" && !isSafe(id) ? `${id}` : Number(id);
}

export const toIdList = (ids) => Array.from(toList(ids, "ids", "bad_id"), (id, at) => toId(id, `ids[${at}]`, { row: at }));

export function toIds(given, count) {
  const ids = toList(given, "ids", "bad_id");
  if (ids.length !== count) fail("bad_id", `ids: ${ids.length} of them for ${count} rows`);
  if (ids instanceof BigUint64Array) return ids;
  const kind = typeof ids[0] === "string";
  const all = toIdList(ids);
  const other = all.findIndex((_, row) => (typeof ids[row] === "string") !== kind);
  if (other >= 0) fail("bad_id", `ids[${other}]: texts and numbers together`, { row: other });
  return kind ? all : BigUint64Array.from(all, BigInt);
}

const isLargeId = (id) => /^[1-9]\d{15,19}$/.test(id) && !Number.isSafeInteger(Number(id));

/**
 * The ids of `rows` as their collection has them, and whether these are texts: JSON writes integers
 * above 2^53 - 1 as texts too. Where nothing else tells them apart, the collection is asked.
 */
export async function readIds(link, collection, rows) {
  const found = rows.filter(Boolean);
  const texts = found.filter(({ id }) => typeof id === "string");
  if (texts.length < found.length) texts.forEach((row) => { row.id = BigInt(row.id); });
  if (!texts.length || texts.length < found.length) return false;
  if (!texts.every(({ id }) => isLargeId(id)) || (await link.open(collection, true)).ids === "str") return true;
  for (const row of texts) row.id = BigInt(row.id);
  return false;
}

/** What calls take (all but subscriptions `call` too): another name would be passed over without a word. */
export const OPTIONS = {
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

export function known(options, names) {
  if (options == null) return;
  if (typeof options !== "object" || Array.isArray(options)) fail("bad_request", "options: must be an object");
  for (const name in options) {
    if (!names.includes(name)) fail("bad_request", `${name}: there is no such option (but ${names.join(", ")})`);
  }
}

const FIELDS = ["filter", "minScore", "include", "last", "every", "epoch", "fromSeq", "sample"];

/** Fields of the wire from the options of a call; absent ones stay away. */
export function fields(options) {
  const body = {};
  for (const name of FIELDS) {
    const value = options?.[name];
    if (value != null) body[name.replace(/[A-Z]/, (letter) => `_${letter.toLowerCase()}`)] = plain(value, name);
  }
  return body;
}
