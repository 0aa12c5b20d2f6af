/** Live queries. */

import { deferred, OmenError } from "./errors.js";
import { Answer, encodeFrame, KINDS } from "./frames.js";
import { fields, toCount, toVector } from "./requests.js";
import { Newest } from "./subscription.js";

export class Live extends Newest {
  answer = null;
  rows = new Map();
  /** Whether the server has taken `asked`, which it was last sent. */
  isAccepted = false;
  isMoving = false;
  waiting = [];

  constructor(client, collection, vector, options) {
    super(client, "live", collection, options);
    this.vector = vector.slice();
  }

  move(vector) {
    const call = deferred();
    try {
      const mayRevive = (this.reason ?? "left") === "left" && this.client.state !== "closed";
      if (this.state === "ended" && !mayRevive) throw this.error ?? new OmenError("closed", "the subscription has ended");
      // The caller may fill the same array anew.
      this.vector = toVector(vector).slice();
      this.waiting.push(Object.assign(call, { vector: this.vector }));
      if (this.state === "ended") this.revive();
      else this.pump();
    } catch (error) {
      call.reject(error);
    }
    return call.promise;
  }

  revive() {
    Object.assign(this, { answer: null, isAccepted: false });
    super.revive();
  }

  /** A later move has its turn. */
  refused(error) {
    if (error?.retry || this.state === "ended" || this.asked === this.vector) return super.refused(error);
    this.isAccepted = false;
    this.unmoved(this.asked, error);
    return this.attach();
  }

  request() {
    // A move goes on from the vector that was accepted last.
    const vector = (this.asked = this.isAccepted ? this.asked : this.vector);
    const k = toCount(this.options.k);
    const json = { kind: "live", encoding: "binary", ...fields(this.options) };
    const frame = { kind: KINDS.SUBSCRIBE, n: 1, dim: vector.length, k, json, sections: [vector] };
    return async (link, accept) => {
      const { handle } = await link.open(this.collection);
      return link.ask((id) => encodeFrame({ ...frame, id, handle }), accept);
    };
  }

  begin({ answers }) {
    this.isAccepted = true;
    this.shown(answers[0], this.asked);
    queueMicrotask(() => this.pump());
  }

  begun() {
    if (this.answer && this.state !== "ended") this.keep(this.answer);
  }

  async pump() {
    if (this.isMoving || !this.link || this.asked === this.vector) return;
    this.isMoving = true;
    const { link, sub, vector } = this;
    const frame = { kind: KINDS.MOVE, handle: sub, n: 1, dim: vector.length, sections: [vector] };
    try {
      await link.ask((id) => encodeFrame({ ...frame, id }), ({ answers }) => {
        if (this.link !== link || this.sub !== sub) return;
        this.asked = vector;
        this.shown(answers[0], vector);
      });
    } catch (error) {
      // The next connection asks again.
      if (error.code !== "connection_lost") this.unmoved(vector, error);
    }
    this.isMoving = false;
    this.pump();
  }

  unmoved(vector, error) {
    if (this.vector === vector) this.vector = this.asked;
    this.settle(vector, (call) => call.reject(error));
  }

  /** A later vector answers earlier calls. */
  settle(vector, settle) {
    const last = this.waiting.findLastIndex((call) => call.vector === vector);
    this.waiting.splice(0, last + 1).forEach(settle);
  }

  shown(answer, vector) {
    this.rows = new Map(Array.from(answer, (row) => [row.seq, row]));
    this.publish(answer, null);
    this.settle(vector, (call) => call.resolve(answer));
  }

  take({ version, enter, leaveSeqs, reasons }) {
    const leave = [];
    leaveSeqs.forEach((seq, place) => {
      const row = this.rows.get(seq);
      if (this.rows.delete(seq)) leave.push({ id: row.id, seq, reason: reasons[place] });
    });
    for (const row of enter) this.rows.set(row.seq, row);
    const rows = [...this.rows.values()].sort((a, b) => b.score - a.score || b.seq - a.seq);
    this.publish(Answer.fromRows(rows, version, Array.isArray(this.answer.ids)), { enter, leave });
  }

  publish(answer, changes) {
    this.answer = Object.assign(answer, { changes });
    this.item(answer);
  }

  finish(reason, error) {
    const why = error ?? new OmenError("closed", `the subscription ended: ${reason}`);
    for (const call of this.waiting.splice(0)) {
      // At pointer speed nobody awaits each move.
      call.promise.catch(() => {});
      call.reject(why);
    }
    super.finish(reason, error);
  }
}
