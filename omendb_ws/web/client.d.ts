/** Types of `client.js`: the browser's client of OmenDB-WS. What things do is said there. */

export type Id = number | bigint | string;
export type Ids = BigUint64Array | ReadonlyArray<Id>;
export type Vector = Float32Array | ReadonlyArray<number>;
export type Metadata = Record<string, unknown>;
/** PROTOCOL section 5. */
export type Filter = Record<string, unknown>;
export type ColumnType = "f64" | "i64" | "bool" | "str";
export type Metric = "cosine" | "dot" | "l2";
export type Durability = "memory" | "everysec" | "always";
export type Included = ReadonlyArray<"metadata" | "vector">;

/** An error of the protocol by its `code`, or "connection_lost", "timeout", "closed". */
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
}

/** As the protocol has it (section 3). */
export interface Description extends Required<Omit<Definition, "if_exists">> {
  collection: string;
  epoch: string;
  version: number;
  first_seq: number;
  last_seq: number;
  rows: number;
  bytes: number;
  /** Where it was opened or created. */
  handle?: number;
}

export interface Row {
  id: Id;
  seq: number;
  score?: number;
  metadata?: Metadata;
  vector?: Float32Array | number[];
}

export class Answer implements Iterable<Row> {
  readonly version: number;
  readonly tookUs: number;
  /** Strings for collections of `str` ids. */
  readonly ids: BigUint64Array | string[];
  readonly seqs: Float64Array;
  readonly scores: Float32Array | null;
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
  firstSeq: number | null;
  lastSeq: number | null;
}

export interface Gap {
  fromSeq: number;
  /** null where the collection has another epoch, and its stream begins anew. */
  toSeq: number | null;
  reason: "evicted" | "expired" | "slow" | "epoch";
}

export interface CallOptions {
  signal?: AbortSignal | null;
  /** 0: no limit. Default: the client's. */
  timeoutMs?: number;
}

export interface Narrowing {
  filter?: Filter;
  include?: Included;
}

export interface SearchOptions extends CallOptions, Narrowing {
  k?: number;
  minScore?: number;
  /** Only the newest so many sequence numbers. */
  last?: number;
  /** Search by this row, and leave it out; `vector` is null then. */
  like?: Id;
}

export interface AddOptions extends CallOptions {
  ids?: Ids;
  metadata?: ReadonlyArray<Metadata | null>;
  columns?: Record<string, ArrayLike<unknown> & { slice(start: number, stop: number): unknown }>;
}

export interface LiveOptions extends Narrowing {
  k?: number;
  minScore?: number;
  /** Least milliseconds between two items. */
  every?: number;
}

export interface FeedOptions extends Narrowing {
  /** Where to start; with `epoch`. Default: the next row. */
  fromSeq?: number;
  epoch?: string;
}

export type SubscriptionState = "starting" | "live" | "lost" | "ended";

/** Events: `data` (an item), `gap` (a Gap), `state`; all CustomEvents with a `detail`. */
export class Subscription<Item> extends EventTarget implements AsyncIterable<Item> {
  readonly state: SubscriptionState;
  readonly error: Error | null;
  /** Why it ended: "closed", "dropped", "forbidden". */
  readonly reason: string | null;
  close(): void;
  [Symbol.asyncIterator](): AsyncGenerator<Item, void, void>;
}

export interface Live extends Subscription<LiveAnswer> {
  readonly answer: LiveAnswer | null;
  move(vector: Vector): Promise<LiveAnswer>;
}

export interface FeedItem {
  version: number;
  toSeq: number;
  rows: Answer;
}

export interface Feed extends Subscription<FeedItem> {
  /** With `epoch`, where to resume. */
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

export interface ClientOptions {
  token?: string | null;
  /** Asked at every connect, and before a token expires. */
  getToken?: (() => string | Promise<string>) | null;
  /** Of a call, and of the first connection. Default 30,000. */
  timeoutMs?: number;
  /** Gives up the first connection. */
  signal?: AbortSignal | null;
  /** Reconnecting waits up to `retryMs` (250), doubled each time up to `maxRetryMs` (10,000). */
  retryMs?: number;
  maxRetryMs?: number;
  /** Adds wait while more than this is unsent. Default 1 MiB. */
  highWaterBytes?: number;
  /** Default: the global one. */
  WebSocket?: unknown;
}

/** Event: `state`. */
export class Client extends EventTarget {
  constructor(url: string, options?: ClientOptions);
  readonly state: "connecting" | "open" | "waiting" | "closed";
  readonly limits: Record<string, number> | null;
  readonly bufferedAmount: number;
  start(): Promise<this>;
  close(reason?: unknown): void;
  drained(bytes?: number): Promise<void>;
  ping(options?: CallOptions): Promise<object>;
  list(options?: CallOptions): Promise<Description[]>;
  describe(collection: string, options?: CallOptions): Promise<Description>;
  create(collection: string, definition: Definition, options?: CallOptions): Promise<Description>;
  drop(collection: string, options?: CallOptions): Promise<void>;
  delete(collection: string, ids: Ids, options?: CallOptions): Promise<number>;
  update(
    collection: string,
    rows: ReadonlyArray<{ id: Id; metadata: Metadata }>,
    options?: CallOptions,
  ): Promise<number>;
  get(
    collection: string,
    ids: Ids,
    options?: CallOptions & { include?: Included },
  ): Promise<Array<Row | null>>;
  count(collection: string, options?: CallOptions & { filter?: Filter }): Promise<number>;
  stats(collection?: string | null, options?: CallOptions): Promise<Stats>;
  search(collection: string, vector: Vector | null, options?: SearchOptions): Promise<Answer>;
  search(collection: string, vectors: ReadonlyArray<Vector>, options?: SearchOptions): Promise<Answer[]>;
  add(
    collection: string,
    vectors: Float32Array | ReadonlyArray<Vector>,
    options?: AddOptions,
  ): Promise<Added>;
  live(collection: string, vector: Vector, options?: LiveOptions): Live;
  match(collection: string, vector: Vector, minScore: number, options?: FeedOptions): Feed;
  feed(collection: string, options?: FeedOptions): Feed;
  watchStats(collection?: string | null, options?: { every?: number }): Subscription<Stats>;
  map(collection: string, options?: { sample?: number; every?: number }): WindowMap;
}

export function connect(url: string, options?: ClientOptions): Promise<Client>;

/** Frames of the protocol (section 7), for tests and tools. */
export function encodeFrame(frame: object): ArrayBuffer;
export function decodeFrame(buffer: ArrayBuffer): object;
