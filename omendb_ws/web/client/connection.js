/** What keeps a client connected; calls wait for it, and outlive it. */

import { backoffMs, deferred, fail, limits, lost, OmenError, sleep } from "./errors.js";
import { Link } from "./link.js";
import { known, tagOf } from "./requests.js";
import { Seen } from "./seen.js";
import { Tokens } from "./tokens.js";

const QUIET_MS = 25_000;
const CHECK_MS = 5_000;
const DEFAULTS = {
  token: null, getToken: null, timeoutMs: 30_000, signal: null,
  retryMs: 250, maxRetryMs: 10_000, highWaterBytes: 1 << 20, failFast: false,
};
/** Refusals that changed nothing and may pass, of a busy server from the third on; how often that is asked. */
const PASSING = ["unavailable", "behind", "overloaded", "rate_limited", "draining"];
const MOST_ATTEMPTS = 10;
/** Refusals of our own for which an old description may be to blame. */
const BY_DESCRIPTION = ["dim_mismatch", "bad_metadata"];

export class Connection extends EventTarget {
  state = "connecting";
  limits = null;
  error = null;
  identity = null;
  subscriptions = new Set();
  seen = new Seen();
  online = () => this.#wake();
  #link = null;
  #ready;
  #attempt = 0;
  #refusals = 0;
  #trouble = "no answer yet";
  #isInquiring = false;
  #answers = 0;
  #wake = () => {};
  #closing = new AbortController();
  #tokens;
  #check;
  #urls;
  #turn;

  constructor(url, options) {
    super();
    known(options, ["WebSocket", ...Object.keys(DEFAULTS)]);
    const isAddress = (one) => (typeof one === "string" && one) || tagOf(one) === "URL";
    this.#urls = [url].flat();
    if (!this.#urls[0] || !this.#urls.every(isAddress)) {
      fail("bad_request", "url: must be the address of a server, as ws://HOST:8765/v1");
    }
    this.#turn = Math.floor(Math.random() * this.#urls.length);
    this.#next();
    const given = Object.entries(options ?? {}).filter(([, value]) => value !== undefined);
    this.options = { WebSocket: globalThis.WebSocket, ...DEFAULTS, ...Object.fromEntries(given) };
    this.#tokens = new Tokens(this, this.#closing.signal);
    this.#await();
    this.#check = setInterval(() => this.#checkQuiet(), CHECK_MS);
    this.#check.unref?.();
    globalThis.addEventListener?.("online", this.online);
  }

  async start() {
    this.#run();
    try {
      return await this.call(() => this, { signal: this.options.signal, lasts: true });
    } catch (error) {
      this.close(error);
      throw error;
    }
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
    while (this.bufferedAmount > bytes) await sleep(5);
  }

  /** `work(link, limit)`, again after reconnects if it may `repeat`, and refusals (any if it `lasts`). */
  async call(work, options) {
    const { repeat = true, lasts = false, collection, signal } = options ?? {};
    const timeoutMs = options?.timeoutMs ?? this.options.timeoutMs;
    const isFast = !lasts && (options?.failFast ?? this.options.failFast);
    let refusal = null;
    let attempt = 0;
    const limit = limits(signal, timeoutMs, () => refusal ?? this.#hint());
    let isStale = false;
    try {
      for (;;) {
        if (this.state === "closed") throw this.error;
        if (isFast && this.state !== "open") throw lost(this.#hint());
        const link = await limit.race(this.#ready.promise);
        try {
          return await limit.race(work(link, limit));
        } catch (error) {
          const { code, isReply, retry } = error ?? {};
          if (code === "connection_lost" && repeat && retry) {
            refusal = null;
            continue;
          }
          if (error?.isOfSeen) continue;
          const isOften = !lasts && PASSING.indexOf(code) > 1 && attempt >= MOST_ATTEMPTS - 1;
          if (isReply && (lasts ? retry : PASSING.includes(code)) && !isFast && !isOften) {
            refusal = error;
            const askedMs = error.details.retry_after_ms ?? 0;
            const waitMs = askedMs + Math.random() * backoffMs(attempt++, askedMs || 50, 2_000);
            await sleep(waitMs, limit.race(link.ending.promise));
            if (!link.isOpen) refusal = null;
            continue;
          }
          // There may be another collection of that name.
          const isSuspect = isReply ? code === "not_found" : BY_DESCRIPTION.includes(code);
          if (isStale || !isSuspect || !collection || !link.opened.delete(collection)) throw error;
          isStale = true;
        }
      }
    } finally {
      limit.clear();
    }
  }

  #hint() {
    const trouble = this.#tokens.asking ? "getToken has not answered" : this.#trouble;
    return this.state === "open" ? "" : `not connected: ${trouble}`;
  }

  #set(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  #await() {
    this.#ready = deferred();
    this.#ready.promise.catch(() => {});
  }

  async #run() {
    while (this.state !== "closed") {
      let end;
      try {
        const link = await this.#connect();
        const began = Date.now();
        end = await link.ending.promise;
        this.#await();
        // A token that ends as soon as it was shown is as good as none.
        const isBrief = Date.now() - began < this.options.maxRetryMs;
        if (end.error.code !== "unauthenticated" || !isBrief) this.#attempt = 0;
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

  #mayReconnect(error) {
    // Its place may not be free yet.
    if (error?.code === "quota" && this.limits) return true;
    if (error?.code !== "unauthenticated" || !this.options.getToken) return error?.retry === true;
    this.#tokens.forget();
    if (error.isOurs) {
      // Where it has never been well, the client ends with it.
      if (this.limits) this.#complain(error);
      return this.limits !== null;
    }
    return this.#refusals++ < 3;
  }

  #complain = (detail) => this.dispatchEvent(new CustomEvent("error", { detail }));

  async #inquire() {
    if (this.#isInquiring) return;
    this.#isInquiring = true;
    const error = await inquire(this.url, this.#closing.signal);
    this.#isInquiring = false;
    // It may be a server that is full for now.
    this.#answers = error?.isVague ? this.#answers + 1 : 0;
    if (error && (!error.isVague || this.#answers >= 3) && !this.limits) this.close(error);
  }

  async #pause() {
    this.#set("waiting");
    this.#next();
    const { retryMs, maxRetryMs } = this.options;
    const waitMs = Math.random() * backoffMs(this.#attempt++, retryMs, maxRetryMs);
    await sleep(waitMs, new Promise((resolve) => (this.#wake = resolve)));
  }

  async #connect() {
    this.#set("connecting");
    // One attempt has a limit, also where calls have none.
    const limit = limits(this.#closing.signal, this.options.timeoutMs || DEFAULTS.timeoutMs);
    let link;
    let isSent = false;
    try {
      // The server would not wait so long.
      if (this.#tokens.asking) await limit.race(this.#tokens.asking);
      link = this.#link = new Link(this.#socket(), this.#complain);
      const hello = await limit.race(link.greeted.promise);
      if (hello.auth === "required") {
        const late = link.ending.promise.then(() => { throw lost("the server did not wait for the token"); });
        const token = await limit.race(Promise.race([this.#tokens.get(), late]));
        if (token == null) fail("unauthenticated", "the server asks for a token");
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
    this.#refusals = 0;
    this.#set("open");
    this.#ready.resolve(link);
    return link;
  }

  /** The address of the next connection, behind that of the last one. */
  #next() {
    this.url = `${this.#urls[this.#turn++ % this.#urls.length]}`;
  }

  #socket() {
    const { WebSocket } = this.options;
    if (typeof WebSocket !== "function") {
      fail("unsupported", "there is no WebSocket here (Node has one from 22 on): pass one as the option WebSocket");
    }
    try {
      return new WebSocket(this.url, "omendb.v1");
    } catch (error) {
      return fail("bad_request", `url: ${error.message}`);
    }
  }

  /** A peer that vanished sends no close. */
  async #checkQuiet() {
    const link = this.#link;
    if (this.state !== "open" || !link || Date.now() - link.heardAt < QUIET_MS) return;
    const asked = Date.now();
    link.op("ping").catch(() => {});
    await sleep(CHECK_MS - 100, link.ending.promise);
    if (link.isOpen && link.heardAt < asked) link.close();
  }
}

/** Why an address takes no WebSocket, if it says so. */
async function inquire(address, signal) {
  const error = (code, why) => new OmenError(code, `${address} ${why}`);
  try {
    const url = new URL(address.replace(/^ws/i, "http"), globalThis.location?.href);
    const isForeign = globalThis.location && url.origin !== location.origin;
    const reply = await fetch(url, { mode: isForeign ? "no-cors" : "cors", cache: "no-store", signal });
    const { status, type } = reply;
    if (type === "opaque") {
      const why = "its path is wrong, or this page's origin is not among the server's allow_origins";
      return Object.assign(error("unsupported", `answers, and takes no WebSocket: ${why}`), { isVague: true });
    }
    if (status >= 500 || [408, 425, 426, 429].includes(status)) return null;
    if (status === 401) return error("unauthenticated", "refused the credentials (HTTP 401)");
    if (status !== 403) {
      const hint = url.pathname.endsWith("/v1") ? "" : "; addresses end in /v1";
      return error("unsupported", `is no endpoint of omendb.v1 (HTTP ${status})${hint}`);
    }
    return error("forbidden", `refused the connection (HTTP 403): ${(await reply.text()).trim().slice(0, 200)}`);
  } catch {
    return null;
  }
}
