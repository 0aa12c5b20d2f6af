/** Errors and time. */

export class OmenError extends Error {
  constructor(code, message, details = {}) {
    super(`${code}: ${message}`);
    const retry = details.retry === true;
    Object.assign(this, { name: "OmenError", code, retry, row: details.row, details });
  }
}

export const fail = (code, message, details) => {
  throw new OmenError(code, message, details);
};
export const lost = (message) => new OmenError("connection_lost", message, { retry: true });
export const fromWire = ({ code, message, ...details }) =>
  Object.assign(new OmenError(code, message, details), { isReply: true });

export const MOST_MS = 2 ** 31 - 1;
export const backoffMs = (attempt, firstMs, mostMs) => Math.min(mostMs, firstMs * 2 ** Math.min(attempt, 20));

export function sleep(ms, ...orUntil) {
  let timer;
  const slept = new Promise((resolve) => (timer = setTimeout(resolve, ms)));
  return Promise.race([slept, ...orUntil]).finally(() => clearTimeout(timer));
}

export function deferred() {
  const one = {};
  one.promise = new Promise((resolve, reject) => Object.assign(one, { resolve, reject }));
  return one;
}

/** Races promises against a signal and a time-out (0: none); `hint`: its error, or more of it. */
export function limits(signal, timeoutMs, hint) {
  if (timeoutMs != null && !(timeoutMs >= 0)) fail("bad_request", `timeoutMs: ${timeoutMs} is no time`);
  const { promise, reject } = deferred();
  promise.catch(() => {});
  const stop = (reason) => {
    limit.isOver = true;
    reject(reason);
  };
  const abort = () => stop(signal.reason);
  const late = () => {
    const why = hint?.();
    const message = `no answer within ${timeoutMs} ms${why ? ` (${why})` : ""}`;
    stop(why instanceof Error ? why : new OmenError("timeout", message, { retry: true }));
  };
  const timer = timeoutMs > 0 && timeoutMs <= MOST_MS ? setTimeout(late, timeoutMs) : null;
  const limit = {
    isOver: false,
    race: (other) => Promise.race([promise, other]),
    clear() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    },
  };
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  return limit;
}
