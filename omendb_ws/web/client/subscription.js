/** Subscriptions: what all have, statistics, maps. */

import { OmenError } from "./errors.js";
import { asId, fields } from "./requests.js";

const ENDS = { forbidden: "the right to read was taken", unavailable: "the collection needs repair" };

/** What may wait for iterations, and what an item takes beside its message. */
export const BUFFER_BYTES = 4 << 20;
const ITEM_BYTES = 1 << 10;

export class Subscription extends EventTarget {
  state = "starting";
  error = null;
  reason = null;
  link = null;
  sub = 0;
  queue = [];
  queuedBytes = 0;
  readers = 0;
  waking = [];
  isHeard = false;
  /** The attempt under way: a reply to an earlier one is too late. */
  attaching = null;

  constructor(client, kind, collection, options) {
    super();
    Object.assign(this, { client, kind, collection, options: options ?? {} });
    client.subscriptions.add(this);
    queueMicrotask(() => this.attach());
  }

  close() {
    if (this.state !== "ended" || this.reason === "left") this.end("closed");
  }

  end(reason) {
    this.detach();
    this.finish(reason);
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

  left() {
    if (this.readers) return;
    if (!this.isHeard && this.state !== "ended") this.end("left");
    if (this.isHeard || !this.isKept) this.queue.length = this.queuedBytes = 0;
    this.drainedQueue();
  }

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
    return (link, accept, wanted) => link.op("subscribe", { ...body, ...wanted }, accept);
  }
  begin() {}
  begun() {}
  drainedQueue() {}
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
      const work = async (link) => this.attaching === attempt && this.client.seen.read(link, this.collection, (wanted) =>
        ask(link, (ok) => this.accept(link, ok, attempt), wanted), this.epoch);
      await this.client.call(work, { collection: this.collection, lasts: true });
    } catch (error) {
      if (this.attaching !== attempt) return;
      this.attaching = null;
      this.refused(error);
    }
  }

  accept(link, ok, attempt) {
    const sub = ok.sub ?? ok.subs[0];
    if (this.attaching !== attempt) return void link.op("unsubscribe", { sub }).catch(() => {});
    this.attaching = null;
    Object.assign(this, { link, sub });
    link.subs.set(sub, this);
    this.begin(ok);
    this.set("live");
  }

  refused(error) {
    if (this.state === "ended") return;
    // A connection, or an answer, is waited for as long as it takes.
    if (error?.code === "timeout" && !error.isReply) this.attach();
    else this.finish(null, error);
  }

  lost() {
    this.link = null;
    if (this.state === "ended") return;
    if (this.client.state === "closed") return void this.finish(null, this.client.error);
    this.set("lost");
    this.attach();
  }

  pushed(message, bytes) {
    const { event, reason } = message;
    if (event === "ended") {
      this.link = null;
      const why = ENDS[reason];
      this.finish(reason, why && new OmenError(reason, why));
    } else if (event === "gap") {
      this.skipped({ fromSeq: message.from_seq, toSeq: message.to_seq, reason });
    } else if ((event ?? message.type) === this.kind) {
      this.client.seen.note(this.link, this.collection, message);
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
    this.client.subscriptions.delete(this);
    Object.assign(this, { reason, error, attaching: null });
    this.set("ended");
    this.wake();
  }

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

export class Newest extends Subscription {
  keep(item) {
    this.queue[0] = [item, 0];
  }
  take(message) {
    this.item(message);
  }
}

export class CountWatch extends Newest {
  told = null;

  revive() {
    this.told = null;
    super.revive();
  }
  begin(counted) {
    this.take(counted);
  }
  take({ version, count, by, others }) {
    const told = JSON.stringify([count, by, others]);
    // After a reconnect it may be what it was.
    if (told === this.told) return;
    this.told = told;
    this.item(by ? { version, count, by, others } : { version, count });
  }
}

export class WindowMap extends Subscription {
  points = new Map();
  basis = null;

  request() {
    const ask = super.request();
    return async (link, ...rest) => {
      this.idKind = (await link.open(this.collection, true)).ids;
      return ask(link, ...rest);
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
