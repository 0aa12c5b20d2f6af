"""JavaScript that tests of ``client.js`` put into Node: a WebSocket without a network.

``Scripted`` says exactly what a test wants, when it wants it. ``NODE`` is all that the fixture
``node`` (conftest.py) makes global.
"""

from __future__ import annotations

from typing import Final

#: Helpers that pieces of JavaScript use.
PLAIN: Final = """
globalThis.plain = (value) => JSON.parse(JSON.stringify(value, (_, one) =>
  typeof one === "bigint" ? `${one}` : ArrayBuffer.isView(one) ? Array.from(one, plain) : one));
globalThis.rowsOf = (answer) => plain([...answer]);
globalThis.bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer;
globalThis.base64 = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));
globalThis.next = async (iterator) => (await iterator.next()).value;
globalThis.event = (target, name) =>
  new Promise((done) => target.addEventListener(name, (one) => done(one.detail), { once: true }));
"""

#: ``watched(sub)``: everything that a subscription said, in order, and ``when(condition)``.
WATCH: Final = """
globalThis.watched = (sub) => {
  const log = { data: [], gaps: [], states: [] };
  sub.addEventListener("data", ({ detail }) => log.data.push(detail));
  sub.addEventListener("gap", ({ detail }) => log.gaps.push(detail));
  sub.addEventListener("state", ({ detail }) => log.states.push(detail));
  return log;
};
globalThis.when = async (condition) => {
  while (!condition()) await new Promise((done) => setTimeout(done, 5));
};
"""

#: ``Scripted.answer(request, socket)`` gives the reply to a request: ``{ok}``, ``{error}``, a
#: frame; "nothing" for none, undefined for the usual one. ``uncaught``: what nobody caught.
SCRIPTED: Final = """
globalThis.uncaught = [];
process.on("uncaughtException", (error) => uncaught.push(`${error?.stack ?? error}`));
process.on("unhandledRejection", (error) => uncaught.push(`${error?.stack ?? error}`));
globalThis.sockets = [];
globalThis.turn = (ms = 0) => new Promise((done) => setTimeout(done, ms));
globalThis.said = (call) => call.then(() => null, (error) => error.message);
globalThis.code = (call) => call.then(() => null, (error) => error.code ?? `${error}`);
const limits = { max_rows: 100, max_text_bytes: 1000, max_message_bytes: 4000 };
const usual = {
  open: { ok: { handle: 1, dim: 2, capacity: 1000, ids: "auto", columns: {} } },
  1: ({ id }) => encodeFrame({ kind: 2, id, n: 1, sections: [BigUint64Array.of(1n, 1n, 1n)] }),
  7: ({ id }) => results(id, { subs: [3] }),
  8: ({ id }) => results(id),
};
globalThis.results = (id, json = {}) =>
  encodeFrame({ kind: 4, id, n: 1, json, sections: [BigUint64Array.of(1n), new Uint32Array(1)] });
function read(message) {
  if (typeof message === "string") return JSON.parse(message);
  const view = new DataView(message);
  const text = new Uint8Array(message, 32, view.getUint32(24, true));
  const json = text.length ? JSON.parse(new TextDecoder().decode(text)) : {};
  const [id, n] = [4, 12].map((offset) => view.getUint32(offset, true));
  return { ...json, op: view.getUint8(2), id, n };
}
globalThis.Scripted = class {
  static auth = "none";
  static answer() {}
  readyState = 1;
  bufferedAmount = 0;
  asked = [];
  constructor() {
    sockets.push(this);
    queueMicrotask(() => this.say({ event: "hello", auth: Scripted.auth, limits }));
  }
  send(message) {
    const request = read(message);
    this.asked.push(request);
    let reply = Scripted.answer(request, this) ?? usual[request.op] ?? { ok: {} };
    if (typeof reply === "function") reply = reply(request);
    if (reply === "nothing") return;
    setTimeout(() => this.say(reply instanceof ArrayBuffer ? reply : { id: request.id, ...reply }));
  }
  say(message) {
    const isRaw = typeof message === "string" || message instanceof ArrayBuffer;
    this.onmessage?.({ data: isRaw ? message : JSON.stringify(message) });
  }
  close() { this.readyState = 3; }
  drop(code = 1006) { this.readyState = 3; this.onclose?.({ code }); }
};
globalThis.open = (options) =>
  connect("ws://nowhere", { WebSocket: Scripted, retryMs: 1, ...options });
"""

#: Everything together.
NODE: Final = PLAIN + WATCH + SCRIPTED
