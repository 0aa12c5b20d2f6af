/** One WebSocket from its hello to its end. Knows no operation. */

import { deferred, fail, fromWire, lost, OmenError } from "./errors.js";
import { decodeFrame, utf8 } from "./frames.js";
import { plain } from "./requests.js";

export class Link {
  limits = {};
  calls = new Map();
  subs = new Map();
  opened = new Map();
  reached = new Set();
  nextId = 1;
  heardAt = Date.now();
  refusal = null;
  greeted = deferred();
  ending = deferred();

  constructor(socket, complain) {
    Object.assign(this, { socket, complain });
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.hear(event.data);
    // Node 20 closes none that could not be made.
    socket.onerror = () => this.lose(1006);
    socket.onclose = (event) => this.lose(event.code);
  }

  get isOpen() {
    return this.socket.readyState === 1;
  }

  lose(why) {
    const said = `the connection closed (${why})`;
    const error = lost(said);
    this.socket.onmessage = this.socket.onclose = null;
    // Packages of WebSockets throw where nobody hears an error.
    this.socket.onerror = () => {};
    this.greeted.reject(Object.assign(lost(said), { isUnheard: true }));
    for (const call of this.calls.values()) call.reject(error);
    this.calls.clear();
    for (const sub of this.subs.values()) sub.lost();
    this.subs.clear();
    this.ending.resolve({ error: this.refusal ?? error });
  }

  close(code = 1000, why = code) {
    this.socket.close(code);
    // A peer that is gone answers no close.
    this.lose(why);
  }

  hear(data) {
    this.heardAt = Date.now();
    try {
      this.receive(data);
    } catch (error) {
      // What follows cannot be trusted.
      this.close(1000, error.message);
    }
  }

  receive(data) {
    if (typeof data !== "string") return this.take(decodeFrame(data), data.byteLength);
    const message = JSON.parse(data);
    if (message.id !== undefined) return this.answer(message.id, message);
    if (message.event === "hello") return this.greeted.resolve(message);
    if (message.event === "error") return this.blamed(fromWire(message));
    if (message.event === "expiring") return this.expiring?.();
    this.subs.get(message.sub)?.pushed(message, data.length);
    if (message.event === "ended") this.subs.delete(message.sub);
  }

  take(frame, bytes) {
    if ("sub" in frame) this.subs.get(frame.sub)?.pushed(frame, bytes);
    else this.answer(frame.id, { ok: frame });
  }

  /** An error that names no request: a text under way could not be read, and gets no reply. */
  blamed(error) {
    if (error.code === "unauthenticated") return void (this.refusal = error);
    const texts = [...this.calls.values()].filter((call) => call.isText);
    const unsure = `the server could not read one of ${texts.length} requests: ${error.message}`;
    for (const call of texts) {
      call.isText = false;
      call.reject(texts.length > 1 ? new OmenError("connection_lost", unsure) : error);
    }
    this.complain(error);
  }

  answer(id, { ok, error }) {
    const call = this.calls.get(id);
    if (!call) return;
    if (!error) call.accept?.(ok);
    this.calls.delete(id);
    if (error) call.reject(fromWire(error));
    else call.resolve(ok);
  }

  /** `accept` hears an ok before any later message. */
  async ask(encode, accept) {
    let id;
    do {
      id = this.nextId;
      this.nextId = (id % 0xffffffff) + 1;
    } while (this.calls.has(id));
    const message = encode(id);
    this.checkSize(message);
    if (!this.isOpen) {
      // Whoever tries again shall find the next link.
      this.close();
      throw lost("the connection is closed");
    }
    const call = { ...deferred(), accept, isText: typeof message === "string" };
    this.calls.set(id, call);
    this.socket.send(message);
    return call.promise;
  }

  checkSize(message) {
    const isText = typeof message === "string";
    const most = isText ? this.limits.max_text_bytes : this.limits.max_message_bytes;
    // At most 3 bytes a UTF-16 unit.
    const isLarge = isText
      ? message.length * 3 > most && utf8.encode(message).length > most
      : message.byteLength > most;
    if (isLarge) fail("too_large", `the message is over ${most} bytes`);
  }

  op(op, body, accept) {
    const json = {};
    for (const [name, value] of Object.entries(body ?? {})) {
      if (value !== undefined) json[name] = plain(value, name, name === "rows");
    }
    return this.ask((id) => JSON.stringify({ ...json, id, op }), accept);
  }

  open(collection, isFresh = false) {
    let opening = this.opened.get(collection);
    if (!opening || isFresh) {
      opening = this.op("open", { collection });
      this.opened.set(collection, opening);
      opening.catch(() => this.opened.get(collection) === opening && this.opened.delete(collection));
    }
    return opening;
  }
}
