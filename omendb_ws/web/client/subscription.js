/** Streams of pushes that live through reconnects: what all have, statistics, maps. */

import { OmenError } from "./errors.js";
import { asId, fields } from "./requests.js";

/** Why the server ended a subscription, where that is an error. */
const ENDS = {
  forbidden: "the right to read was taken",
  unavailable: "the collection needs repair",
};

/** What may wait for iterations, as in Python; an item's objects beside its message take as much as: */
export const BUFFER_BYTES = 4 << 20;
const ITEM_BYTES = 1 << 10;

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
    if (this.state === "ended" && this.reason !== "left") return;
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
export class Newest extends Subscription {
  keep(item) {
    this.queue[0] = [item, 0];
  }
  take(message) {
    this.item(message);
  }
}

/** `points` (by seq) are what to show; a push with a new `basis` replaces everything. */
export class WindowMap extends Subscription {
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
