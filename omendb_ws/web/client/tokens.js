/** Tokens: one call of `getToken` at a time, and paced. */

import { backoffMs, limits, MOST_MS, OmenError } from "./errors.js";

export class Tokens {
  asking = null;
  #known = null;
  #knownUntil = 0;
  #asks = 0;
  #askAt = 0;
  #refresh;

  constructor(options, closing) {
    Object.assign(this, { options, closing });
  }

  get() {
    const { token, getToken } = this.options;
    if (!getToken) return token;
    if (this.#known !== null && performance.now() < this.#knownUntil) return this.#known;
    this.asking ??= this.#ask(getToken).finally(() => (this.asking = null));
    return this.asking;
  }

  forget() {
    this.#known = null;
  }

  async #ask(getToken) {
    const { retryMs, maxRetryMs } = this.options;
    const wait = limits(this.closing, Math.max(1, this.#askAt - performance.now()));
    if (this.#askAt) await wait.race(new Promise(() => {})).catch(() => {});
    wait.clear();
    this.closing.throwIfAborted();
    this.#askAt = performance.now() + backoffMs(this.#asks++, retryMs, maxRetryMs);
    try {
      this.#known = await getToken();
      this.#knownUntil = Infinity;
      return this.#known;
    } catch (error) {
      const said = new OmenError("unauthenticated", `getToken: ${error?.message ?? error}`);
      throw Object.assign(said, { cause: error, isOurs: true });
    }
  }

  async send(link, token) {
    const { expires_in_s: seconds } = await link.op("auth", { token });
    this.#asks = 0;
    this.#known = token;
    const freshMs = Math.min((seconds ?? Infinity) * 800, MOST_MS);
    this.#knownUntil = performance.now() + freshMs;
    if (seconds != null && this.options.getToken) this.#renewIn(link, freshMs);
  }

  #renewIn(link, ms) {
    this.stop();
    const renew = async () => {
      this.forget();
      const token = await this.get();
      if (link.isOpen) await this.send(link, token);
    };
    this.#refresh = setTimeout(() => renew().catch(() => link.isOpen && this.#renewIn(link, 0)), ms);
    this.#refresh.unref?.();
  }

  stop() {
    clearTimeout(this.#refresh);
  }
}
