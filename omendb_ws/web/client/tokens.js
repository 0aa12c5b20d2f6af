/** Tokens: one call of `getToken` at a time, and paced. */

import { backoffMs, limits, MOST_MS, OmenError } from "./errors.js";

/** Of each second of a token's time so many ms are used; where its end is told, fewer. */
const DUE = 800;
const TOLD = 500;

const ours = (why, cause) =>
  Object.assign(new OmenError("unauthenticated", `getToken: ${why}`), { cause, isOurs: true });

export class Tokens {
  asking = null;
  #known = null;
  #knownUntil = 0;
  #asks = 0;
  #askAt = 0;
  #tenant;
  #refresh;

  constructor(client, closing) {
    Object.assign(this, { client, options: client.options, closing });
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
      throw ours(error?.message ?? error, error);
    }
  }

  async send(link, token) {
    const said = await link.op("auth", { token });
    const { tenant, expires_in_s: seconds } = said;
    const { getToken, retryMs } = this.options;
    this.#tenant ??= tenant;
    if (getToken && tenant !== this.#tenant) throw ours(`a token of the tenant ${tenant}, not ${this.#tenant}`);
    this.#asks = 0;
    this.#known = token;
    const began = performance.now();
    const expiresAt = seconds == null ? null : Date.now() + seconds * 1000;
    this.client.identity = { ...said, expiresAt };
    this.client.dispatchEvent(new Event("identity"));
    this.#knownUntil = began + (seconds ?? Infinity) * DUE;
    if (seconds == null || !getToken) return;
    // However soon tokens end, they are asked for at a pace.
    const due = (part) =>
      this.#renewIn(link, Math.min(Math.max(seconds * part, 4 * retryMs), MOST_MS) - performance.now() + began);
    due(DUE);
    link.expiring = () => this.#refresh && due(TOLD);
  }

  #renewIn(link, ms) {
    this.stop();
    const renew = async () => {
      this.#refresh = null;
      this.forget();
      const token = await this.get();
      if (link.isOpen) await this.send(link, token);
    };
    const again = (error) => {
      link.complain(error);
      this.#renewIn(link, 0);
    };
    this.#refresh = setTimeout(() => renew().catch((error) => link.isOpen && again(error)), ms);
    this.#refresh.unref?.();
  }

  stop() {
    clearTimeout(this.#refresh);
  }
}
