/** What keeps a client connected; calls wait for it, and outlive it. */

import { fail, limits, lost, OmenError } from "./errors.js";
import { Link } from "./link.js";
import { known, tagOf } from "./requests.js";
import { Tokens } from "./tokens.js";

const QUIET_MS = 25_000;
const CHECK_MS = 5_000;
const DEFAULTS = {
  token: null, getToken: null, timeoutMs: 30_000, signal: null,
  retryMs: 250, maxRetryMs: 10_000, highWaterBytes: 1 << 20, failFast: false,
};
/** Refusals of our own for which a description may be to blame: the collection was made anew. */
const BY_DESCRIPTION = new Set(["dim_mismatch", "bad_metadata"]);

export class Connection extends EventTarget {
  #link = null;
  #ready = null;
  #attempt = 0;
  #refusals = 0;
  #trouble = "no answer yet";
  /** Of the first connection: whether the address is being asked, and how often something answered. */
  #isInquiring = false;
  #answers = 0;
  #wake = () => {};
  #closing = new AbortController();
  #tokens;
  #check;

  constructor(url, options = {}) {
    super();
    known(options, ["WebSocket", ...Object.keys(DEFAULTS)]);
    const isAddress = (typeof url === "string" && url) || tagOf(url) === "URL";
    if (!isAddress) fail("bad_request", "url: must be the address of a server, as ws://HOST:8765/v1");
    this.url = `${url}`;
    const given = Object.entries(options ?? {}).filter(([, value]) => value !== undefined);
    this.options = { WebSocket: globalThis.WebSocket, ...DEFAULTS, ...Object.fromEntries(given) };
    this.#tokens = new Tokens(this.options, this.#closing.signal);
    this.state = "connecting";
    this.limits = null;
    this.error = null;
    this.subscriptions = new Set();
    this.#await();
    this.#check = setInterval(() => this.#checkQuiet(), CHECK_MS);
    this.#check.unref?.();
    this.online = () => this.#wake();
    globalThis.addEventListener?.("online", this.online);
  }

  async start() {
    const { signal, timeoutMs } = this.options;
    const limit = limits(signal, timeoutMs, () => this.#hint());
    const first = this.#ready.promise;
    this.#run();
    try {
      await limit.race(first);
    } catch (error) {
      this.close(error);
      throw error;
    } finally {
      limit.clear();
    }
    return this;
  }

  close(reason = new OmenError("closed", "the client is closed")) {
    if (this.state === "closed") return;
    this.error = reason;
    this.#set("closed");
    this.#closing.abort(reason);
    clearInterval(this.#check);
    this.#tokens.stop();
    globalThis.removeEventListener?.("online", this.online);
    this.#ready.reject(reason);
    this.#wake();
    this.#link?.close();
    for (const subscription of this.subscriptions) subscription.finish(null, reason);
  }

  get bufferedAmount() {
    return this.#link?.socket.bufferedAmount ?? 0;
  }

  async drained(bytes = this.options.highWaterBytes) {
    while (this.bufferedAmount > bytes) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** Do `work(link, limit)`; again after a reconnect unless `repeat` is false. Used by subscriptions. */
  async call(work, options) {
    const { repeat = true, collection, signal, timeoutMs, failFast } = options ?? {};
    const limit = limits(signal, timeoutMs ?? this.options.timeoutMs, () => this.#hint());
    let isStale = false;
    try {
      for (;;) {
        if (this.state === "closed") throw this.error;
        if ((failFast ?? this.options.failFast) && this.state !== "open") throw lost(this.#hint());
        const link = await limit.race(this.#ready.promise);
        try {
          return await limit.race(work(link, limit));
        } catch (error) {
          if (error?.code === "connection_lost") {
            if (!repeat || !error.retry) throw error;
            continue;
          }
          // A handle dies with its collection, and there may be another one of that name.
          const isSuspect = error?.isReply ? error.code === "not_found" : BY_DESCRIPTION.has(error?.code);
          if (isStale || !isSuspect || !collection || !link.opened.delete(collection)) throw error;
          isStale = true;
        }
      }
    } finally {
      limit.clear();
    }
  }

  #hint() {
    return this.state === "open" ? "" : `not connected: ${this.#tokens.asking ? "getToken has not answered" : this.#trouble}`;
  }

  #set(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  /** A new promise for the next link; nobody need listen to it. */
  #await() {
    const ready = {};
    ready.promise = new Promise((resolve, reject) => Object.assign(ready, { resolve, reject }));
    ready.promise.catch(() => {});
    this.#ready = ready;
  }

  async #run() {
    while (this.state !== "closed") {
      let end;
      try {
        const link = await this.#connect();
        end = await link.ended;
        this.#await();
      } catch (error) {
        end = { error };
        if (error?.isUnheard && !this.limits) this.#inquire();
      }
      this.#tokens.stop();
      this.#link = null;
      if (this.state === "closed") return;
      if (!this.#mayReconnect(end.error)) return this.close(end.error);
      this.#trouble = end.error.message;
      await this.#pause();
    }
  }

  /** Whether another connection may fare better than one that ended with `error`. */
  #mayReconnect(error) {
    if (error?.code !== "unauthenticated" || !this.options.getToken) return error?.retry === true;
    this.#tokens.forget();
    // What `getToken` throws is said at once; a page that has been connected waits until it is well again.
    if (error.isOurs) return this.limits !== null;
    return this.#refusals++ < 3;
  }

  /** Give up where the first connection can never come about. */
  async #inquire() {
    if (this.#isInquiring) return;
    this.#isInquiring = true;
    const error = await inquire(this.url, this.#closing.signal);
    this.#isInquiring = false;
    // What answers at a foreign address may be a server that is full for now.
    this.#answers = error?.isVague ? this.#answers + 1 : 0;
    if (error && (!error.isVague || this.#answers >= 3) && !this.limits) this.close(error);
  }

  /** Full jitter: anything up to a bound that doubles, so that a thousand clients spread out. */
  async #pause() {
    this.#set("waiting");
    const { retryMs, maxRetryMs } = this.options;
    const bound = Math.min(maxRetryMs, retryMs * 2 ** Math.min(this.#attempt++, 20));
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.random() * bound);
      this.#wake = () => (clearTimeout(timer), resolve());
    });
  }

  async #connect() {
    this.#set("connecting");
    // One attempt always has a limit, also where calls and the wait for the first connection have none.
    const limit = limits(this.#closing.signal, this.options.timeoutMs || DEFAULTS.timeoutMs);
    let link;
    let isSent = false;
    try {
      // The server waits seconds for a token, whoever gives it may take longer: that goes before.
      if (this.#tokens.asking) await limit.race(this.#tokens.asking);
      link = this.#link = new Link(this.#socket(), (error) => this.dispatchEvent(new CustomEvent("error", { detail: error })));
      const hello = await limit.race(link.hello.catch((error) => {
        throw Object.assign(error, { isUnheard: true });
      }));
      if (hello.auth === "required") {
        const late = link.ended.then(() => { throw lost("the server did not wait for the token"); });
        const token = await limit.race(Promise.race([this.#tokens.get(), late]));
        if (token == null) throw new OmenError("unauthenticated", "the server asks for a token");
        isSent = true;
        await limit.race(this.#tokens.send(link, token));
      }
      this.limits = link.limits = hello.limits;
    } catch (error) {
      link?.close();
      throw (isSent && link.refusal) || error;
    } finally {
      limit.clear();
    }
    this.#attempt = this.#refusals = 0;
    this.#set("open");
    this.#ready.resolve(link);
    return link;
  }

  #socket() {
    const { WebSocket } = this.options;
    if (typeof WebSocket !== "function") {
      fail("unsupported", "there is no WebSocket here (Node has one from version 22 on): pass one as the option WebSocket");
    }
    try {
      return new WebSocket(this.url, "omendb.v1");
    } catch (error) {
      return fail("bad_request", `url: ${error.message}`);
    }
  }

  /** A peer that vanished sends no close: what stays silent is asked, and then given up. */
  async #checkQuiet() {
    const link = this.#link;
    if (this.state !== "open" || !link || Date.now() - link.heardAt < QUIET_MS) return;
    const asked = Date.now();
    link.op("ping").catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, CHECK_MS - 100).unref?.());
    if (link.isOpen && link.heardAt < asked) link.close();
  }
}

/** What the answer to an upgrade means; null: it may pass, or nothing is known. */
function meaning(url, { status, type }, text) {
  const error = (code, why) => new OmenError(code, `${url} ${why}`);
  if (type === "opaque") {
    const why = "its path is wrong, or this page's origin is not among the server's allow_origins";
    return Object.assign(error("unsupported", `answers, and takes no WebSocket: ${why}`), { isVague: true });
  }
  if (status >= 500 || [408, 425, 426, 429].includes(status)) return null;
  if (status === 401) return error("unauthenticated", "refused the credentials (HTTP 401)");
  if (status === 403) return error("forbidden", `refused the connection (HTTP 403): ${text.trim().slice(0, 200)}`);
  return error("unsupported", `is no endpoint of omendb.v1 (HTTP ${status})`);
}

/** Of a foreign address a page learns only that it answers: such an error is vague. */
async function inquire(address, signal) {
  try {
    const url = new URL(address.replace(/^ws/i, "http"), globalThis.location?.href);
    const isForeign = globalThis.location && url.origin !== location.origin;
    const reply = await fetch(url, { mode: isForeign ? "no-cors" : "cors", cache: "no-store", signal });
    return meaning(address, reply, await reply.text());
  } catch {
    return null;
  }
}
