/** Live queries. */

import { deferred, OmenError } from "./errors.js";
import { Answer, encodeFrame, KINDS } from "./frames.js";
import { fields, toChange, toCount, toVector } from "./requests.js";
import { Newest } from "./subscription.js";

const byScore = (a, b) => b.score - a.score || b.seq - a.seq;
const ORDERS = {
  decay: (a, b) => {
    if (a.rank === null || b.rank === null) return (a.rank === null) - (b.rank === null) || byScore(a, b);
    return b.rank - a.rank || b.seq - a.seq;
  },
  rank: (a, b) => b.rank - a.rank || byScore(a, b),
};

/** What is asked after `change`: a vector, or examples among the `fields`. */
function after({ vector, fields }, change) {
  const made = { ...fields };
  if (change.names.has("target")) delete made.positive, delete made.negative;
  for (const [name, value] of Object.entries(change.fields)) {
    if (value === null) delete made[name];
    else made[name] = value;
  }
  return { vector: change.names.has("target") ? change.vector : vector, fields: made };
}

export class Live extends Newest {
  answer = null;
  rows = new Map();
  /** Whether the server has taken `base`. */
  isAccepted = false;
  isMoving = false;
  waiting = [];
  /** What was last subscribed with, and the call that wanted it. */
  asked = null;

  constructor(client, collection, vector, options) {
    super(client, "live", collection, options);
    const { positive, negative, exclude, filter, minScore, ...rest } = this.options;
    this.options = rest;
    const given = Object.entries({ positive, negative, exclude, filter, minScore }).filter(([, one]) => one != null);
    const change = toChange(vector, Object.fromEntries(given));
    if (!change.names.has("target")) toVector(vector);
    this.base = after({ vector: null, fields: {} }, change);
    this.order = (rest.decay && ORDERS.decay) || (rest.rank && ORDERS.rank) || byScore;
  }

  move(vector, options) {
    const call = deferred();
    try {
      const mayRevive = (this.reason ?? "left") === "left" && this.client.state !== "closed";
      if (this.state === "ended" && !mayRevive) throw this.error ?? new OmenError("closed", "the subscription has ended");
      this.waiting.push(Object.assign(call, { change: toChange(vector, options) }));
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

  /** The last call that sets all that those before it set. */
  newest() {
    let newest = null;
    const names = new Set();
    for (const call of this.waiting) {
      if ([...names].every((name) => call.change.names.has(name))) newest = call;
      call.change.names.forEach((name) => names.add(name));
    }
    return newest;
  }

  refused(error) {
    const { call = null } = this.asked ?? {};
    const isLast = this.waiting.at(-1) === (call ?? undefined);
    if (error?.retry || this.state === "ended" || isLast) return super.refused(error);
    this.isAccepted = false;
    if (call) this.settle(call, (one) => one.reject(error));
    return this.attach();
  }

  request() {
    // A move goes on from what was accepted last.
    const call = this.isAccepted ? null : this.newest();
    const state = call ? after(this.base, call.change) : this.base;
    this.asked = { state, call };
    const { vector } = state;
    const k = toCount(this.options.k);
    const json = { kind: "live", encoding: "binary", ...fields(this.options), ...state.fields };
    const frame = { kind: KINDS.SUBSCRIBE, k, ...sectionOf(vector) };
    return async (link, accept, wanted) => {
      const { handle } = await link.open(this.collection);
      return link.ask((id) => encodeFrame({ ...frame, json: { ...json, ...wanted }, id, handle }), accept);
    };
  }

  begin({ answers }) {
    this.isAccepted = true;
    this.base = this.asked.state;
    this.shown(answers[0], this.asked.call);
    queueMicrotask(() => this.pump());
  }

  begun() {
    if (this.answer && this.state !== "ended") this.keep(this.answer);
  }

  async pump() {
    const call = this.newest();
    if (this.isMoving || !this.link || !call) return;
    this.isMoving = true;
    const { link, sub } = this;
    const { vector, fields: json } = call.change;
    const frame = { kind: KINDS.MOVE, handle: sub, json, ...sectionOf(vector) };
    try {
      await link.ask((id) => encodeFrame({ ...frame, id }), ({ answers }) => {
        if (this.link !== link || this.sub !== sub) return;
        this.base = after(this.base, call.change);
        this.shown(answers[0], call);
      });
    } catch (error) {
      // The next connection asks again.
      if (error.code !== "connection_lost") this.settle(call, (one) => one.reject(error));
    }
    this.isMoving = false;
    this.pump();
  }

  /** A later move answers earlier ones. */
  settle(call, settle) {
    this.waiting.splice(0, this.waiting.indexOf(call) + 1).forEach(settle);
  }

  shown(answer, call) {
    this.rows = new Map(Array.from(answer, (row) => [row.seq, row]));
    this.publish(answer, null);
    if (call) this.settle(call, (one) => one.resolve(answer));
  }

  take({ version, versions, enter, leaveSeqs, reasons }) {
    const leave = [];
    leaveSeqs.forEach((seq, place) => {
      const row = this.rows.get(seq);
      if (this.rows.delete(seq)) leave.push({ id: row.id, seq, reason: reasons[place] });
    });
    for (const row of enter) this.rows.set(row.seq, row);
    const rows = [...this.rows.values()].sort(this.order);
    const isRanked = this.order !== byScore;
    const answer = Answer.fromRows(rows, version, Array.isArray(this.answer.ids), { isRanked, versions });
    this.publish(answer, { enter, leave });
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

const sectionOf = (vector) =>
  vector ? { n: 1, dim: vector.length, sections: [vector] } : { n: 0, sections: [] };
