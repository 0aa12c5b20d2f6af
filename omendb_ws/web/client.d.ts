/**
 * `client.js`, the browser's client of OmenDB-WS: what everything takes, gives and promises.
 *
 *     import { connect } from "http://localhost:8765/client.js";
 *     const db = await connect("ws://localhost:8765/v1");
 *     const live = db.live("items", new Float32Array([…]), { k: 10 });
 *     for await (const answer of live) show(answer);
 *
 * What a message cannot hold as it is (half an emoji, NaN, a Map, a BigInt in metadata, …) is refused
 * at once, by an OmenError that names the field: `bad_metadata` with its row, `bad_filter`, `bad_id`, …
 * So is an option that there is not (`bad_request`). Dates are texts, as in JSON.
 */

export type Numbers =
  | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array
  | Float32Array | Float64Array;
/** Of `u64` and `auto` collections: a number up to 2^53 - 1, a BigInt above. */
export type Id = number | bigint | string;
export type Ids = ReadonlyArray<Id> | ReadonlySet<Id> | Numbers | BigInt64Array | BigUint64Array;
/** Rounded to float32. */
export type Vector = Numbers | ReadonlyArray<number>;
export type Metadata = Record<string, unknown>;
/** PROTOCOL section 5. */
export type Filter = Record<string, unknown>;
export type ColumnType = "f64" | "i64" | "bool" | "str";
export type Metric = "cosine" | "dot" | "l2";
export type Durability = "memory" | "everysec" | "always";
export type Included = ReadonlyArray<"metadata" | "vector">;

/**
 * An error of the protocol by its `code`, or "connection_lost" (the outcome of a change is not known),
 * "timeout", "closed", "unsupported" (there is no WebSocket).
 */
export class OmenError extends Error {
  constructor(code: string, message: string, details?: Record<string, unknown>);
  readonly code: string;
  /** Whether the same request may succeed later. */
  readonly retry: boolean;
  /** The row at fault, counted from the first of the call. */
  row?: number;
  readonly details: Record<string, unknown>;
}

export interface Definition {
  dim: number;
  capacity: number;
  metric?: Metric;
  ids?: "auto" | "u64" | "str";
  columns?: Record<string, ColumnType>;
  /** Seconds. */
  ttl?: number | null;
  durability?: Durability;
  if_exists?: "error" | "ok";
  /** How many nodes of a cluster hold it: 1 to 8; by default 2, or all if there are fewer. */
  replicas?: number;
  /** How many windows it is cut into; default 1. Not everything is there for several yet. */
  shards?: number;
}

/** As the protocol has it (section 3). */
export interface Description extends Required<Omit<Definition, "if_exists" | "replicas" | "shards">> {
  collection: string;
  epoch: string;
  version: number;
  first_seq: number;
  last_seq: number;
  rows: number;
  bytes: number | null;
  /** Where it was opened or created. */
  handle?: number;
  /** In a cluster, where it was described: the node that takes its changes; null: none does now. */
  owner?: string | null;
  replicas?: Replica[];
  /** Where there are several. */
  shards?: number;
  versions?: number[];
}

/** What a node of a cluster has of a collection, and how far it is, as was said a moment ago. */
export interface Replica {
  node: string;
  version: number;
  state: "owner" | "follower" | "coming" | "broken";
}

export interface UnavailableCollection {
  collection: string;
  reason: string;
  /** Whether it may come back without anybody's help. */
  recovering: boolean;
}

export interface Row {
  id: Id;
  seq: number;
  score?: number;
  /** By which `decay` or `rank` orders it; null where it has none. */
  rank?: number | null;
  /** What its age leaves of its score, by `decay`: in searches, and where a live query was asked anew. */
  weight?: number | null;
  metadata?: Metadata;
  vector?: Float32Array | number[];
  /** Of `novel`: the id of the row that `score` is of; null where there was none (-Infinity). */
  near?: Id | null;
}

/** Rows, best first. Iterating gives each as an object. */
export class Answer implements Iterable<Row> {
  readonly version: number;
  /** Of a collection with several shards, that of each. */
  readonly versions: number[] | null;
  readonly tookUs: number;
  /** Strings for collections of `str` ids. */
  readonly ids: BigUint64Array | string[];
  readonly seqs: Float64Array;
  readonly scores: Float32Array | null;
  /** With `decay` or `rank`; NaN is that of a row that has none. */
  readonly ranks: Float64Array | null;
  readonly weights: Array<number | null> | null;
  /** The Unix seconds that ages and weights count to. */
  readonly at: number | null;
  /** Of `novel`, a row each. */
  readonly near: Array<Id | null> | null;
  /** `dim` numbers a row, where included. */
  readonly vectors: Float32Array | null;
  readonly metadata: Metadata[] | null;
  readonly dim: number;
  readonly length: number;
  row(place: number): Row;
  [Symbol.iterator](): Iterator<Row>;
}

export interface Leaving {
  id: Id;
  seq: number;
  reason: "displaced" | "evicted" | "expired" | "replaced" | "deleted" | "filtered" | "updated";
}

/** The answer of a live query; `changes` null where it was asked anew. */
export interface LiveAnswer extends Answer {
  readonly changes: { enter: Row[]; leave: Leaving[] } | null;
}

export interface Added {
  version: number;
  /** Of the first and last row that went in; null if none did. */
  firstSeq: number | null;
  lastSeq: number | null;
  /**
   * With `unlessNear`: the places, ascending, of the rows that were left out, and the id of the row
   * that each is near to; null where a message was repeated that had gone in before.
   */
  skipped?: number[] | null;
  near?: Id[] | null;
}

export interface Gap {
  fromSeq: number;
  /** null where the collection has another epoch: its stream begins anew, with the first row it has. */
  toSeq: number | null;
  reason: "evicted" | "expired" | "slow" | "epoch";
}

export interface CallOptions {
  signal?: AbortSignal | null;
  /** 0: no limit. Default: the client's. */
  timeoutMs?: number;
  /** Reject at once without a connection (`connection_lost`), or where refused. Default: the client's. */
  failFast?: boolean;
}

export interface Narrowing {
  filter?: Filter;
  include?: Included;
}

export interface CountOptions {
  filter?: Filter;
  /** A column: how many rows have each of its values. */
  by?: string;
  /** How many values are listed, the most frequent ones; with `by`. */
  limit?: number;
}

export interface Counts {
  version: number;
  count: number;
}

/** The most frequent values first, of equally many by value, null (no value) last. */
export interface CountsBy extends Counts {
  by: Array<{ value: number | boolean | string | null; count: number }>;
  /** How many rows have none of these values. */
  others: number;
}

export type Column =
  | ReadonlyArray<number | bigint | boolean | string | null | undefined> | Numbers | BigInt64Array
  | BigUint64Array;

export interface AddOptions extends CallOptions {
  ids?: Ids | null;
  metadata?: ReadonlyArray<Metadata | null | undefined> | null;
  /** By name, a value a row: `f64` and `str` may be null (NaN is null too), `i64` and `bool` not. */
  columns?: Record<string, Column> | null;
  /**
   * Leave out each row that scores at least `score` against a row that is there, and passes `filter`,
   * or against one of the call that went in before it.
   */
  unlessNear?: { score: number; filter?: Filter | null } | null;
}

/** What an answer is to be like, or unlike: ids of rows, and vectors. */
export type Example = Id | Vector;

/** An expression of PROTOCOL section 5. */
export type Expression = number | string | { [operator: string]: unknown };

/** What a query is near to instead of a vector, and what it leaves out. */
export interface Near {
  positive?: ReadonlyArray<Example> | null;
  /** With `positive`. */
  negative?: ReadonlyArray<Example> | null;
  exclude?: Ids | null;
}

/** What shapes an answer (PROTOCOL section 5); `decay` or `rank`, not both. */
export interface Shaping {
  decay?: { half_life: number; column?: string } | null;
  rank?: Expression | null;
  group?: { by: string; size?: number } | null;
  spread?: { max_similarity: number } | null;
}

export interface SearchOptions extends CallOptions, Narrowing, Near, Shaping {
  k?: number;
  minScore?: number;
  /** Only the newest so many sequence numbers. */
  last?: number;
  /** Search by this row, and leave it out; `vector` is null then. */
  like?: Id | null;
  /** Nearness against likeness, of the first `candidates` rows; without `spread`. */
  mmr?: { lambda: number; candidates?: number } | null;
  /** The Unix seconds that ages and weights count to, with `decay` or `rank`. Default: now. */
  at?: number | null;
}

export interface LiveOptions extends Narrowing, Near, Shaping {
  k?: number;
  minScore?: number;
  /** Least milliseconds between two items. */
  every?: number;
}

/** What a move changes; what is left out stays, and null clears. */
export interface MoveOptions extends Near {
  filter?: Filter | null;
  minScore?: number | null;
}

export interface FeedOptions extends Narrowing {
  /** Where to start; with `epoch`. Default: the next row. */
  fromSeq?: number | bigint;
  epoch?: string;
}

export interface NovelOptions extends FeedOptions {
  /** Compare with only so many sequence numbers before each row. */
  last?: number;
}

export type SubscriptionState = "starting" | "live" | "lost" | "ended";

/** The event's `detail`, by the event's name. */
export interface SubscriptionEvents<Item> {
  data: Item;
  gap: Gap;
  state: SubscriptionState;
}

/**
 * A stream of pushes that lives through reconnects. `state`: "starting", "live", "lost" (reconnecting)
 * or "ended"; then `error` or `reason` says why. Events: `data` (an item that is no gap), `gap`,
 * `state`. `close` ends it, and iterations with it.
 *
 * Leaving the last iteration (`break`, `return`, an error) ends it with the reason "left", and nothing
 * stays on the server, unless `data` or `gap` were ever listened to: then `close` is for you to call.
 * One that was left begins again with the next iteration, listener or `move`; a feed where it was.
 *
 * A refusal that may pass (`unavailable`, `overloaded`, …) is tried again, for the client's `timeoutMs`
 * at most; then it is the `error`. A connection is waited for as long as it takes.
 *
 * What an iteration has not taken waits, up to 4 MiB: of live queries and statistics the newest only,
 * of maps the newest pushes (`points` has all), of feeds everything. A feed whose iteration is slower
 * than that pauses, until all that waits is taken, and goes on where it was: rows that left the window
 * meanwhile are a gap, nothing else is missed.
 */
export class Subscription<Item> extends EventTarget implements AsyncIterable<Item> {
  readonly state: SubscriptionState;
  readonly error: Error | null;
  /** Why it ended: "closed", "left", "dropped", "forbidden", "unavailable" (the collection needs repair). */
  readonly reason: string | null;
  close(): void;
  [Symbol.asyncIterator](): AsyncGenerator<Item, void, void>;
  addEventListener<Name extends keyof SubscriptionEvents<Item>>(
    name: Name,
    listener: (event: CustomEvent<SubscriptionEvents<Item>[Name]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    name: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof SubscriptionEvents<Item>>(
    name: Name,
    listener: (event: CustomEvent<SubscriptionEvents<Item>[Name]>) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    name: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

/** A standing top-k: each item is the whole answer, as `search` gives it at `version`. */
export interface Live extends Subscription<LiveAnswer> {
  /** The newest. */
  readonly answer: LiveAnswer | null;
  /**
   * Ask for another vector's neighbours, or change what else `options` hold; what they do not stays. At
   * pointer speed only one request is under way, moves that a later one makes void are skipped, and
   * the last always gets its turn; resolves with the answer to this move or to a later one. A query that
   * was refused (its vector, or as there was no such collection) begins again with what this changes.
   */
  move(vector?: Vector | null, options?: MoveOptions): Promise<LiveAnswer>;
}

/** Rows in seq order; or a gap in its place, and no rows. */
export interface FeedItem {
  version: number;
  /** Where this item ends: go on later with `fromSeq: toSeq + 1` and `epoch`. */
  toSeq: number;
  epoch: string;
  rows: Answer;
  gap: Gap | null;
}

/** Added rows in seq order, each at most once; goes on after a reconnect where it stopped. */
export interface Feed extends Subscription<FeedItem> {
  /** What has come in, of `epoch`. An iteration may be behind: its items say how far they reach. */
  readonly toSeq: number | null;
  readonly epoch: string | null;
}

export interface Point {
  id: Id;
  seq: number;
  x: number;
  y: number;
}

export interface MapPush {
  version: number;
  basis: number;
  first_seq: number;
  rows: Point[];
  /** With the first push of a basis: a vector lies at axes·(vector − origin) + offset. */
  plane?: { origin: number[]; axes: [number[], number[]]; offset: [number, number] };
}

export interface WindowMap extends Subscription<MapPush> {
  /** By seq: everything to show now. */
  readonly points: Map<number, Point>;
}

export type Stats = Record<string, unknown> & { at: number };

/** Null: no limit but the server's, or not for this token to know. */
export interface Usage {
  tenant: string;
  limits: Record<
    | "weight" | "max_connections" | "max_subscriptions" | "max_collections" | "max_memory_bytes"
    | "rows_per_second" | "queries_per_second" | "messages_per_second" | "engine_ms_per_second",
    number | null
  >;
  use: Record<
    | "connections" | "subscriptions" | "collections" | "memory_bytes"
    | "rows_per_second" | "queries_per_second" | "messages_per_second" | "engine_ms_per_second",
    number | null
  >;
}

export interface ClientOptions {
  /** An API key, or a JSON Web Token. When that ends, the connection does: `getToken` can renew it. */
  token?: string | null;
  /**
   * Asked when a server wants a token and none is known that is good, and before that one expires (at
   * 0.8 of its time, or when the server announces its end): the newer one takes its place on the
   * connection, and everything goes on. One call at a time, at least `retryMs` apart, twice as long
   * after each that did not help. What it throws rejects the first `connect` at once; a client that was
   * connected before tells an `error` and asks again, as it does for a token of another tenant than the
   * first. A token that is refused is asked for anew, three times in a row.
   */
  getToken?: (() => string | Promise<string>) | null;
  /** Of a call, and of the first connection. Default 30,000; 0: no limit. */
  timeoutMs?: number;
  /** Gives up the first connection. */
  signal?: AbortSignal | null;
  /** Reconnecting waits up to `retryMs` (250), doubled each time up to `maxRetryMs` (10,000). */
  retryMs?: number;
  maxRetryMs?: number;
  /** Calls without a connection, and those refused for now, reject at once. Default false. */
  failFast?: boolean;
  /** Adds wait while more than this is unsent. Default 1 MiB. */
  highWaterBytes?: number;
  /** Default: the global one, which Node has from version 22 on. */
  WebSocket?: unknown;
}

export interface ClientEvents {
  state: Event;
  /**
   * The server complained of a message without saying which: also an error of the calls it may be. Or
   * no newer token could be had while the connection stands.
   */
  error: CustomEvent<OmenError>;
  /** There is another `identity`: at each connection, and with each newer token. */
  identity: Event;
}

/** Who a token is, as `auth` says it (PROTOCOL section 9). */
export interface Identity {
  tenant: string;
  /** All of its grants' rights. */
  rights: string[];
  grants: Array<{
    collections: string[];
    rights: string[];
    filter?: Filter;
    stamp?: Record<string, string | number | boolean>;
  }>;
  /** Seconds from when it was said; null: for ever. */
  expires_in_s: number | null;
  /** The end by this machine's clock, in ms as of `Date.now()`. */
  expiresAt: number | null;
}

/** Where a server is: `ws://HOST:8765/v1`, or `wss://` with TLS. */
export type Address = string | URL;

/**
 * A client that stays connected until `close`. Reads are repeated after a reconnect, adds too (under a
 * producer and batch number, so they go in once); other changes reject with `connection_lost`. Refusals
 * that may pass are waited out, as from Python: `overloaded`, `rate_limited` and `draining` for a few
 * seconds, `unavailable` (the collection is coming back) for `timeoutMs`; then they are the error.
 * Several addresses are those of one service: each connection is made to the next of them, from any on.
 */
export class Client extends EventTarget {
  constructor(url: Address | Address[], options?: ClientOptions);
  /** Where it is connected, or connects to next. */
  readonly url: string;
  readonly state: "connecting" | "open" | "waiting" | "closed";
  /** Why it is closed. */
  readonly error: unknown;
  /** Null where the server asked for no token. */
  readonly identity: Identity | null;
  readonly limits: Record<string, number> | null;
  /** Bytes handed to the WebSocket that are not sent yet. */
  readonly bufferedAmount: number;
  /**
   * Connect, in `timeoutMs`; what cannot become better by waiting rejects at once: `unsupported` (there
   * is no such server at the address), `forbidden`, `unauthenticated`, `bad_request` (the address). A
   * browser tells a page nothing of a refused upgrade, so the address is asked by `fetch`, too; of a
   * foreign origin only that something answers, which is `unsupported` after three attempts.
   */
  start(): Promise<this>;
  close(reason?: unknown): void;
  /** Resolves when at most `bytes` wait to be sent: what a producer awaits between messages. */
  drained(bytes?: number): Promise<void>;
  addEventListener<Name extends keyof ClientEvents>(
    name: Name,
    listener: (event: ClientEvents[Name]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    name: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof ClientEvents>(
    name: Name,
    listener: (event: ClientEvents[Name]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    name: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
  ping(options?: CallOptions): Promise<object>;
  list(options?: CallOptions): Promise<Description[]>;
  /** Those that cannot be used now, and why. */
  listUnavailable(options?: CallOptions): Promise<UnavailableCollection[]>;
  describe(collection: string, options?: CallOptions): Promise<Description>;
  create(collection: string, definition: Definition, options?: CallOptions): Promise<Description>;
  drop(collection: string, options?: CallOptions): Promise<void>;
  /** How many of the rows were there. */
  delete(collection: string, ids: Ids, options?: CallOptions): Promise<number>;
  /** The version. */
  update(
    collection: string,
    rows: ReadonlyArray<{ id: Id; metadata: Metadata }>,
    options?: CallOptions,
  ): Promise<number>;
  /** Each row, null where it is not there. */
  get(
    collection: string,
    ids: Ids,
    options?: CallOptions & { include?: Included },
  ): Promise<Array<Row | null>>;
  count(collection: string, options?: CallOptions & { filter?: Filter }): Promise<number>;
  /** Also by the values of a column: the `limit` (1 to 1,000, default 100) most frequent ones. */
  count(collection: string, options: CallOptions & CountOptions & { by: string }): Promise<CountsBy>;
  stats(collection?: string | null, options?: CallOptions): Promise<Stats>;
  /** What this token's tenant may use, and uses. */
  usage(options?: CallOptions): Promise<Usage>;
  /** The nearest rows to a vector, or to each of several; `vector` is null with `like` or `positive`. */
  search(collection: string, vector: Vector | null, options?: SearchOptions): Promise<Answer>;
  search(collection: string, vectors: ReadonlyArray<Vector>, options?: SearchOptions): Promise<Answer[]>;
  /**
   * Resolves when all rows are as safe as the collection's durability says. Calls for one collection go
   * in, in order, one after the other. `vectors`: a list of vectors, or all in one typed array.
   */
  add(
    collection: string,
    vectors: Numbers | ReadonlyArray<Vector>,
    options?: AddOptions,
  ): Promise<Added>;
  /** The standing top-k; `vector` is null with `positive`. */
  live(collection: string, vector: Vector | null, options?: LiveOptions): Live;
  /** Every added row that scores at least `minScore`. */
  match(collection: string, vector: Vector, minScore: number, options?: FeedOptions): Feed;
  /** Every added row whose best score, against the rows before it, is below `below`. */
  novel(collection: string, below: number, options?: NovelOptions): Feed;
  /** Every added row. */
  feed(collection: string, options?: FeedOptions): Feed;
  /** How many rows there are, now and whenever that has changed; with `by` a `CountsBy`. */
  watchCount(
    collection: string,
    options: CountOptions & { by: string; every?: number },
  ): Subscription<CountsBy>;
  watchCount(
    collection: string,
    options?: CountOptions & { every?: number },
  ): Subscription<Counts>;
  /** Statistics of a collection, or of the server (null). */
  watchStats(collection?: string | null, options?: { every?: number }): Subscription<Stats>;
  /** A picture of the window in two dimensions. */
  map(collection: string, options?: { sample?: number; every?: number }): WindowMap;
}

export function connect(url: Address | Address[], options?: ClientOptions): Promise<Client>;

/** Frames of the protocol (section 7), for tests and tools; their JSON without BigInts. */
export function encodeFrame(frame: object): ArrayBuffer;
export function decodeFrame(buffer: ArrayBuffer): object;
