/** One WebSocket from its hello to its end: requests, replies, pushes. Knows no operation. */

import { fail, fromWire, lost, OmenError } from "./errors.js";
import { decodeFrame, utf8 } from "./frames.js";
import { plain } from "./requests.js";

/** One connection from its hello to its end: ids, replies, pushes by `sub`, open handles. */
export class Link {
  /** `complain(error)` hears of errors that name no request. */
  constructor(socket, complain) {
    Object.assign(this, { socket, complain, limits: {} });
    this.calls = new Map();
    this.subs = new Map();
    this.opened = new Map();
    this.nextId = 1;
    this.heardAt = Date.now();
    this.refusal = null;
    socket.binaryType = "arraybuffer";
    this.hello = new Promise((resolve, reject) => (this.greeted = { resolve, reject }));
    this.ended = new Promise((resolve) => (this.end = resolve));
    socket.onmessage = (event) => this.hear(event.data);
    // A close follows by the standard, but not in Node 20 where a connection could not be made.
    socket.onerror = () => this.lose(1006);
    socket.onclose = (event) => this.lose(event.code);
  }

  get isOpen() {
    return this.socket.readyState === 1;
  }

  lose(why) {
    const error = lost(`the connection closed (${why})`);
    this.socket.onmessage = this.socket.onclose = null;
    // Packages of WebSockets throw where nobody hears an error.
    this.socket.onerror = () => {};
    this.greeted.reject(error);
    for (const call of this.calls.values()) call.reject(error);
    this.calls.clear();
    for (const sub of this.subs.values()) sub.lost();
    this.subs.clear();
    this.end({ error: this.refusal ?? error });
  }

  close(code = 1000, why = code) {
    this.socket.close(code);
    // A peer that is gone answers no close: the link is over now, whatever becomes of the socket.
    this.lose(why);
  }

  hear(data) {
    this.heardAt = Date.now();
    try {
      this.receive(data);
    } catch (error) {
      // After what cannot be read nothing on this connection can be trusted; the next one starts anew.
      this.close(1000, error.message);
    }
  }

  receive(data) {
    if (typeof data !== "string") return this.take(decodeFrame(data), data.byteLength);
    const message = JSON.parse(data);
    if (message.id !== undefined) return this.answer(message.id, message);
    if (message.event === "hello") return this.greeted.resolve(message);
    if (message.event === "error") return this.blamed(fromWire(message));
    this.subs.get(message.sub)?.pushed(message, data.length);
    if (message.event === "ended") this.subs.delete(message.sub);
    return undefined;
  }

  take(frame, bytes) {
    if (frame.type === "added" || frame.type === "results") this.answer(frame.id, { ok: frame });
    else if (frame.type !== "unknown") this.subs.get(frame.sub)?.pushed(frame, bytes);
  }

  /** An error that names no request: a text under way could not be read, and gets no reply. */
  blamed(error) {
    // Only this one says why the connection ends; after others it lives on.
    if (error.code === "unauthenticated") return void (this.refusal = error);
    const texts = [...this.calls.values()].filter((call) => call.isText);
    const unsure = `the server could not read one of ${texts.length} requests: ${error.message}`;
    for (const call of texts) {
      call.isText = false;
      call.reject(texts.length > 1 ? new OmenError("connection_lost", unsure) : error);
    }
    return this.complain(error);
  }

  answer(id, { ok, error }) {
    const call = this.calls.get(id);
    if (!call) return;
    // Pushes come right behind the reply: whoever takes them is told before the next message.
    if (!error) call.accept?.(ok);
    this.calls.delete(id);
    if (error) call.reject(fromWire(error));
    else call.resolve(ok);
  }

  /** Send what `encode(id)` makes; its reply. `accept` hears an ok before any later message. */
  ask(encode, accept) {
    return new Promise((resolve, reject) => {
      while (this.calls.has(this.nextId)) this.nextId = (this.nextId % 0xffffffff) + 1;
      const id = this.nextId;
      this.nextId = (id % 0xffffffff) + 1;
      const message = encode(id);
      this.checkSize(message);
      if (!this.isOpen) {
        // The server's close is here, the socket's end is not: whoever tries again shall find the next link.
        this.close();
        throw lost("the connection is closed");
      }
      this.calls.set(id, { resolve, reject, accept, isText: typeof message === "string" });
      this.socket.send(message);
    });
  }

  /** The server reads nothing that is larger, so that there would be no reply, or no connection. */
  checkSize(message) {
    const isText = typeof message === "string";
    const most = isText ? this.limits.max_text_bytes : this.limits.max_message_bytes;
    // At most 3 bytes a UTF-16 unit: most texts need not be encoded to know.
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

  /** The description and handle of a collection, asked for once unless `isFresh`. */
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
