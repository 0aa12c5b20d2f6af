/** Feeds and match queries: rows in seq order, from a cursor. */

import { fail } from "./errors.js";
import { Answer } from "./frames.js";
import { fields, plain } from "./requests.js";
import { BUFFER_BYTES, Subscription } from "./subscription.js";

/** A cursor. An iteration that is too slow makes it pause: then the server's window is the buffer. */
export class Feed extends Subscription {
  /** What came in and was not taken waits for who comes back. */
  isKept = true;

  constructor(client, kind, collection, options = {}) {
    const fromSeq = options?.fromSeq == null ? null : Number(plain(options.fromSeq, "fromSeq"));
    if (fromSeq !== null && !(Number.isInteger(fromSeq) && fromSeq > 0)) fail("bad_request", "fromSeq: no sequence number");
    super(client, kind, collection, options);
    Object.assign(this, { epoch: options?.epoch ?? null, toSeq: fromSeq === null ? null : fromSeq - 1, version: 0 });
  }

  request() {
    const { kind, collection, epoch } = this;
    const { vector, ...options } = this.options;
    const body = { kind, collection, encoding: "binary", ...fields({ ...options, epoch: null, fromSeq: null }) };
    if (vector) body.vector = Array.from(vector);
    if (this.toSeq !== null) Object.assign(body, { from_seq: this.toSeq + 1, epoch: epoch ?? undefined });
    return (link, accept) => link.op("subscribe", body, accept);
  }

  begin({ epoch, version, to_seq: toSeq }) {
    Object.assign(this, { epoch, version, toSeq });
  }

  refused(error) {
    const epoch = error?.details?.epoch;
    const isAnother = error?.code === "wrong_epoch" && typeof epoch === "string" && epoch !== this.epoch;
    if (!isAnother || this.state === "ended") return super.refused(error);
    // Another stream under the same name: its numbers mean other rows, from the first on.
    const fromSeq = this.toSeq + 1;
    Object.assign(this, { epoch, version: 0, toSeq: 0 });
    this.skipped({ fromSeq, toSeq: null, reason: "epoch" });
    return this.attach();
  }

  skipped(gap) {
    this.toSeq = gap.toSeq ?? this.toSeq;
    const { version, toSeq, epoch } = this;
    const rows = Answer.fromRows([], version, { hasStringIds: false });
    this.item({ version, toSeq, epoch, rows, gap }, 0, "gap", gap);
  }

  take({ version, toSeq, rows }, bytes) {
    Object.assign(this, { version, toSeq });
    if (rows.length) this.item({ version, toSeq, epoch: this.epoch, rows, gap: null }, bytes);
    if (this.queuedBytes > BUFFER_BYTES) this.detach();
  }

  drainedQueue() {
    if (!this.link && this.state === "live") this.attach();
  }
}
