/** Feeds, match and novel queries: a cursor. */

import { fail } from "./errors.js";
import { Answer } from "./frames.js";
import { fields, plain } from "./requests.js";
import { BUFFER_BYTES, Subscription } from "./subscription.js";

/** A slow iteration makes it pause: then the server's window is the buffer. */
export class Feed extends Subscription {
  isKept = true;
  version = 0;

  constructor(client, kind, collection, options) {
    const { fromSeq, epoch = null } = options ?? {};
    const first = fromSeq == null ? null : Number(plain(fromSeq, "fromSeq"));
    if (first !== null && !(Number.isInteger(first) && first > 0)) fail("bad_request", "fromSeq: no sequence number");
    super(client, kind, collection, options);
    Object.assign(this, { epoch, toSeq: first && first - 1 });
  }

  request() {
    const { kind, collection, epoch } = this;
    const { vector, ...options } = this.options;
    const body = { kind, collection, encoding: "binary", ...fields({ ...options, epoch: null, fromSeq: null }) };
    if (vector) body.vector = Array.from(vector);
    if (this.toSeq !== null) Object.assign(body, { from_seq: this.toSeq + 1, epoch: epoch ?? undefined });
    return (link, accept, wanted) => link.op("subscribe", { ...wanted, ...body }, accept);
  }

  begin({ epoch, version, to_seq: toSeq }) {
    Object.assign(this, { epoch, version, toSeq });
  }

  refused(error) {
    const epoch = error?.details?.epoch;
    const isAnother = error?.code === "wrong_epoch" && typeof epoch === "string" && epoch !== this.epoch;
    if (!isAnother || this.state === "ended") return super.refused(error);
    // Another stream under the same name.
    const fromSeq = this.toSeq + 1;
    Object.assign(this, { epoch, version: 0, toSeq: 0 });
    this.skipped({ fromSeq, toSeq: null, reason: "epoch" });
    return this.attach();
  }

  skipped(gap) {
    this.toSeq = gap.toSeq ?? this.toSeq;
    this.come(Answer.fromRows([], this.version), 0, gap);
  }

  take({ version, toSeq, rows }, bytes) {
    Object.assign(this, { version, toSeq });
    if (rows.length) this.come(rows, bytes);
    if (this.queuedBytes > BUFFER_BYTES) this.detach();
  }

  come(rows, bytes, gap = null) {
    const { version, toSeq, epoch } = this;
    const item = { version, toSeq, epoch, rows, gap };
    this.item(item, bytes, gap ? "gap" : "data", gap ?? item);
  }

  drainedQueue() {
    if (!this.link && this.state === "live") this.attach();
  }
}
