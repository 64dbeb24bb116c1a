// From what arrives to frames, and from frames and statuses to the end of a connection.

/** @import { End, Frame } from "./wire.d.ts" */

/** Frames that concern the connection, or a command. */
const CONTROL = new Set(["welcome", "ok", "error", "pong", "heartbeat", "goaway", "token_expiring"]);
/** Not in any log, never told again. */
const EPHEMERAL = new Set(["typing", "presence"]);

/** @param {unknown} raw text, or what it was parsed into @returns {Frame | null} null: not to be understood */
export function parseFrame(raw) {
  try {
    const frame = typeof raw === "string" ? JSON.parse(raw) : raw;
    const { type, offset = 1, dialog_id: dialog = "", cursor = "" } = frame;
    const isFrame = typeof type === "string" && Number.isSafeInteger(offset) && typeof dialog === "string" && typeof cursor === "string";
    if (!isFrame || CONTROL.has(type)) return isFrame ? frame : null;
    return isEvent(frame) ? frame : null;
  } catch {
    return null;
  }
}

/** @param {Frame} frame whether it has what every event of its type has */
function isEvent({ type, dialog_id: dialog, feed, message, from_offset: from, to_offset: to }) {
  if (type === "cursor") return true; // a poll's own
  if (type === "gap") return Number.isSafeInteger(from) && Number.isSafeInteger(to) && (feed === "user" || !!dialog);
  return !!dialog && (type !== "message_new" || (typeof message?.message_id === "string" && Number.isSafeInteger(message.seq)));
}

/** @param {string} type */
export const isControl = (type) => CONTROL.has(type);
/** @param {string} type */
export const isEphemeral = (type) => EPHEMERAL.has(type);

/** What the server said before it ended a connection. @param {Frame} frame @returns {End | null} */
export function farewellOf(frame) {
  if (frame.type === "error" && !frame.ref) {
    const { code, message, retryable, retry_after_ms: retryAfterMs } = frame;
    return { code, message, retryable, retryAfterMs };
  }
  if (frame.type !== "goaway") return null;
  const { reason: code, reconnect_after_ms: retryAfterMs, resumable } = frame;
  return { code, retryAfterMs, resumable };
}
