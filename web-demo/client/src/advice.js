// When to come back after a connection has ended, and what to change first.
//
// The range of a close code carries the advice, so unknown codes need no table; only those are named after which the
// client can help itself, or where a close code is missing.

/** @typedef {"never" | "later" | "now"} When */
/** @typedef {"token" | "session" | "cursor"} Remedy what is no good any more */
/** @typedef {{ when: When, remedy?: Remedy }} Advice */

/** "At once" still spreads the clients of a node that went away. */
const NOW_SPREAD_MS = 200;
/** So many endings in a row that ask us back at once, before we slow down all the same. */
const NOW_MAX_IN_A_ROW = 3;

/** @type {Record<string, Advice>} */
const BY_CODE = {
  token_expired: { when: "now", remedy: "token" },
  unauthorized: { when: "now", remedy: "token" },
  session_gone: { when: "now", remedy: "session" },
  stale_attach: { when: "now", remedy: "session" }, // somebody else has carried this session on
  cursor_invalid: { when: "now", remedy: "cursor" },
  rotating: { when: "now" },
  draining: { when: "now" },
  slow_consumer: { when: "later" },
  kicked: { when: "never", remedy: "session" },
  superseded: { when: "never" },
};
/** @type {Record<number, string>} */
const CODE_BY_CLOSE = { 4001: "unauthorized", 4009: "superseded", 4010: "session_gone", 4201: "token_expired" };

/** What ended it, in the protocol's words. @param {import("./wire.d.ts").End} end */
export function codeOf({ code, closeCode = 0 }) {
  return code ?? CODE_BY_CLOSE[closeCode];
}

/**
 * @param {import("./wire.d.ts").End} end
 * @returns {Advice}
 */
export function adviceFor({ code, retryable, closeCode = 0, now }) {
  if (now) return { when: "now" };
  const known = BY_CODE[code ?? ""];
  if (known) return known;
  if (closeCode >= 4000 && closeCode < 4300) {
    return { when: closeCode < 4100 ? "never" : closeCode < 4200 ? "later" : "now" };
  }
  // The server's own word. Without one it was the network, or something in between: that may pass.
  return { when: code && retryable === false ? "never" : "later" };
}

/**
 * Exponential and jittered: between half of the step and the whole of it.
 *
 * @param {number} failures in a row
 * @param {{ backoffFirst: number, backoffMax: number }} timing
 */
export function backoffMs(failures, { backoffFirst, backoffMax }) {
  const step = Math.min(backoffMax, backoffFirst * 2 ** Math.min(failures, 20));
  return (step * (1 + Math.random())) / 2;
}

/**
 * @param {When} when
 * @param {number} failures in a row
 * @param {number} askedMs the server's own number, which is jittered already; we never come earlier
 * @param {{ backoffFirst: number, backoffMax: number }} timing
 */
export function delayMs(when, failures, askedMs, timing) {
  const hurried = when === "now" && failures < NOW_MAX_IN_A_ROW;
  if (hurried) return askedMs || Math.random() * (failures && NOW_SPREAD_MS);
  return Math.max(askedMs, backoffMs(failures, timing));
}
