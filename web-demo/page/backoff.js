// When to come back after a transport has ended, and what to change first.
//
// The protocol puts the advice in the range of a close code, so unknown codes need no table; only the few codes after
// which the client can help itself (a new token, a new session) are named here.

export const BACKOFF_BASE_MS = 500;
export const BACKOFF_MAX_MS = 20_000;
/** "At once" still spreads the clients of a node that went away. */
const AT_ONCE_SPREAD_MS = 200;
/** So many endings in a row that asked us back at once, before we slow down all the same. */
const AT_ONCE_MAX_IN_A_ROW = 3;
/** Refused credentials are worth one new token, not an endless row of them. */
const RENEWALS_MAX_IN_A_ROW = 2;

/** Exponential and jittered: between half of the step and the whole of it. */
export function backoffMs(failures) {
  const step = Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** Math.min(failures, 16));
  return step / 2 + (Math.random() * step) / 2;
}

// What to change before coming back, by error code. What isn't here leaves the answer to the numbers below.
const REMEDIES = {
  token_expired: { renewToken: true, when: "at_once" },
  unauthorized: { renewToken: true, when: "backoff" },
  session_gone: { forgetSession: true, when: "at_once" },
  stale_attach: { forgetSession: true, when: "at_once" }, // another tab has carried this session on
  cursor_invalid: { forgetCursor: true, when: "at_once" },
  rotating: { when: "at_once" },
  kicked: { forgetSession: true, when: "never" },
  superseded: { when: "never" },
  slow_consumer: { when: "backoff" },
  overloaded: { when: "backoff" },
  unavailable: { when: "backoff" },
  rate_limited: { when: "backoff" },
  draining: { when: "at_once" },
};

const REMEDIES_BY_CLOSE_CODE = {
  4001: REMEDIES.unauthorized,
  4010: REMEDIES.session_gone,
  4201: REMEDIES.token_expired,
};

function adviceOfCloseCode(code) {
  if (code >= 4000 && code <= 4099) return "never";
  if (code >= 4200 && code <= 4299) return "at_once";
  return "backoff";
}

function adviceOfStatus(status) {
  const passing = status >= 500 || status === 408 || status === 425 || status === 429;
  return passing ? "backoff" : "never";
}

function remedyFor(end) {
  if (REMEDIES[end.code]) return REMEDIES[end.code];
  if (REMEDIES_BY_CLOSE_CODE[end.closeCode]) return REMEDIES_BY_CLOSE_CODE[end.closeCode];
  if (end.closeCode !== undefined) return { when: adviceOfCloseCode(end.closeCode) };
  if (end.status !== undefined) return { when: adviceOfStatus(end.status) };
  return { when: end.clean ? "at_once" : "backoff" };
}

/**
 * @param end what the transport said: `{code?, closeCode?, status?, clean?, retryAfterMs?, message?}`
 * @param goaway the last `goaway` of this transport: `{reason, afterMs?, resumable}`, or null
 * @param failures how many endings in a row came before a transport had proved stable
 * @returns `{when, delayMs, renewToken, forgetSession, forgetCursor}`; `when` is `never`, `backoff` or `at_once`
 */
export function planReturn(end, goaway, failures) {
  const remedy = goaway ? remedyFor({ ...end, code: goaway.reason }) : remedyFor(end);
  const plan = { renewToken: false, forgetSession: false, forgetCursor: false, ...remedy };
  if (goaway && goaway.resumable === false) plan.forgetSession = true;
  if (plan.renewToken && failures >= RENEWALS_MAX_IN_A_ROW) plan.when = "never";
  // A cursor that is refused again: the session itself can't be what we think it is.
  if (plan.forgetCursor && failures > 1) plan.forgetSession = true;

  const hurried = plan.when === "at_once" && failures < AT_ONCE_MAX_IN_A_ROW;
  const ownMs = hurried ? Math.random() * AT_ONCE_SPREAD_MS : backoffMs(failures);
  // The server's number is already jittered, and we never come earlier than it says.
  const askedMs = goaway?.afterMs ?? end.retryAfterMs;
  plan.delayMs = askedMs === undefined ? ownMs : hurried ? askedMs : Math.max(askedMs, ownMs);
  plan.asked = askedMs !== undefined;
  return plan;
}
