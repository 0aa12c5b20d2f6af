/** Live queries: a standing top-k, which can be moved. */

import { OmenError } from "./errors.js";
import { Answer, encodeFrame, KINDS } from "./frames.js";
import { fields, toCount, toVector } from "./requests.js";
import { Newest } from "./subscription.js";

export class Live extends Newest {
  constructor(client, collection, vector, options = {}) {
    super(client, "live", collection, options);
    this.vector = vector.slice();
    /** Whether the server has taken `asked`, the vector that it was last sent. */
    this.isAccepted = false;
    this.answer = null;
    this.rows = new Map();
    this.isMoving = false;
    this.waiting = [];
  }

  /** One request is under way, the last vector always gets its turn, a refused query begins again. */
  move(vector) {
    const call = {};
    call.promise = new Promise((resolve, reject) => {
      const isOver = this.state === "ended" && (!/^left$/.test(this.reason ?? "left") || this.client.state === "closed");
      if (isOver) throw this.error ?? new OmenError("closed", "the subscription has ended");
      // A copy: the caller may fill the same array anew for the next move.
      this.vector = toVector(vector).slice();
      this.waiting.push(Object.assign(call, { vector: this.vector, resolve, reject }));
      if (this.state === "ended") this.revive();
      else this.pump();
    });
    return call.promise;
  }

  revive() {
    Object.assign(this, { answer: null, isAccepted: false });
    super.revive();
  }

  /** A move that came after the vector that was refused has its turn. */
  refused(error) {
    if (error?.retry || this.state === "ended" || this.asked === this.vector) return super.refused(error);
    this.isAccepted = false;
    this.unmoved(this.asked, error);
    return this.attach();
  }

  request() {
    // After a reconnect the vector that was accepted last; a move goes on from there.
    const vector = (this.asked = this.isAccepted ? this.asked : this.vector);
    const k = toCount(this.options?.k ?? 10, "k");
    const json = { kind: "live", encoding: "binary", ...fields(this.options) };
    return async (link, accept) => {
      const { handle } = await link.open(this.collection);
      return link.ask((id) => encodeFrame({
        kind: KINDS.SUBSCRIBE, id, handle, n: 1, dim: vector.length, k, json, sections: [vector],
      }), accept);
    };
  }

  begin({ answers }) {
    this.isAccepted = true;
    this.shown(answers[0], this.asked);
    queueMicrotask(() => this.pump());
  }

  /** An iteration that starts later starts with the answer that stands. */
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
      // A connection that is lost asks for the last vector when it is back.
      if (error.code !== "connection_lost") this.unmoved(vector, error);
    }
    this.isMoving = false;
    this.pump();
  }

  unmoved(vector, error) {
    if (this.vector === vector) this.vector = this.asked;
    this.settle(vector, (call) => call.reject(error));
  }

  /** Settle the calls up to the one of `vector`: a later vector answers earlier calls. */
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
    const hasStringIds = Array.isArray(this.answer.ids);
    this.publish(Answer.fromRows(rows, version, { hasStringIds }), { enter, leave });
  }

  publish(answer, changes) {
    this.answer = Object.assign(answer, { changes });
    this.item(answer);
  }

  finish(reason, error) {
    const why = error ?? new OmenError("closed", `the subscription ended: ${reason}`);
    for (const call of this.waiting.splice(0)) {
      // At pointer speed nobody awaits each move; an end is no reason for "unhandled rejection".
      call.promise.catch(() => {});
      call.reject(why);
    }
    super.finish(reason, error);
  }
}
