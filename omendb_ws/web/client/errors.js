/** Errors, and the limits of time that end in one. */

export class OmenError extends Error {
  constructor(code, message, details = {}) {
    super(`${code}: ${message}`);
    this.name = "OmenError";
    this.code = code;
    this.retry = details.retry === true;
    this.row = details.row;
    this.details = details;
  }
}

export const fail = (code, message, details) => {
  throw new OmenError(code, message, details);
};
export const lost = (message) => new OmenError("connection_lost", message, { retry: true });
export const fromWire = ({ code, message, ...details }) =>
  Object.assign(new OmenError(code, message, details), { isReply: true });

/** The longest that a timer can wait. */
export const MOST_MS = 2 ** 31 - 1;

/** Races promises against an AbortSignal and a time-out (0: none); `hint` says more of a late one. */
export function limits(signal, timeoutMs, hint) {
  if (timeoutMs != null && !(timeoutMs >= 0)) fail("bad_request", `timeoutMs: ${timeoutMs} is no time`);
  let stop;
  const limit = { isOver: false };
  const stopped = new Promise((_, reject) => {
    stop = (reason) => ((limit.isOver = true), reject(reason));
  });
  stopped.catch(() => {});
  const abort = () => stop(signal.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  const late = () => {
    const why = hint?.();
    stop(new OmenError("timeout", `no answer within ${timeoutMs} ms${why ? ` (${why})` : ""}`, { retry: true }));
  };
  const timer = timeoutMs > 0 && timeoutMs <= MOST_MS ? setTimeout(late, timeoutMs) : null;
  return Object.assign(limit, {
    race: (promise) => Promise.race([stopped, promise]),
    clear: () => (clearTimeout(timer), signal?.removeEventListener("abort", abort)),
  });
}
