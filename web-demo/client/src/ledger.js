// Where we are in every log: what was here before is dropped, what is missing is seen.

/** Logs that are remembered; the one untouched for longest goes first. */
const LOGS_MAX = 2000;
/** Messages that are remembered: a restored one may come once more with an offset, any one with another offset. */
const MESSAGES_MAX = 2000;
/** The user's own log: comings and goings, over all dialogs. */
const OWN = "@me";

/**
 * @typedef {import("./wire.d.ts").Frame} Frame
 * @typedef {{
 *   epoch: string | null, last: number | null, head?: number, seq: number, before?: number, holes: number, excused: number
 * }} Log
 * `before`: the message that was the last when the log began anew.
 */

export class Ledger {
  /** In the order of use. @type {Map<string, Log>} */
  #logs = new Map();
  /** @type {Set<string>} */
  #messages = new Set();
  received = 0;
  dropped = 0;
  gapped = 0;

  /** @param {Record<string, import("./wire.d.ts").SavedLog>} [saved] */
  load(saved = {}) {
    for (const [name, log] of Object.entries(saved)) this.#logs.set(name, { holes: 0, excused: 0, ...log });
  }

  /** @returns {Record<string, import("./wire.d.ts").SavedLog>} */
  toJSON() {
    return Object.fromEntries([...this.#logs].map(([name, { epoch, last, head, seq }]) => [name, { epoch, last, head, seq }]));
  }

  /** Events that did not come although no `gap` has announced it. */
  get missing() {
    return [...this.#logs.values()].reduce((sum, { holes, excused }) => sum + Math.max(0, holes - excused), 0);
  }

  /** @param {string} dialog */
  position(dialog) {
    const log = this.#logs.get(dialog);
    return log ? { epoch: log.epoch, last: log.last, seq: log.seq } : null;
  }

  /** What to present to go on from here in a new session. @param {string} dialog */
  since(dialog) {
    const { epoch, last, head, seq } = this.#logs.get(dialog) ?? { epoch: null, seq: 0 };
    const offset = last ?? head;
    if (!epoch || offset === undefined || offset === null) return undefined;
    return { epoch, offset, ...(seq > 0 && { message_seq: seq }) };
  }

  /**
   * A `subscribe` was answered. Its `offset` tells where the log is, not what we have: events may still be on another
   * connection. It serves as a position only as long as nothing has come.
   *
   * @param {import("./wire.d.ts").SubscribedDialog} entry
   */
  begin({ dialog_id: dialog, epoch, offset, last_message_seq: seq, replayed }) {
    const log = this.#log(dialog);
    log.epoch ??= epoch;
    if (replayed !== undefined || log.last !== null) return; // counted from the events
    log.epoch = epoch;
    log.head = offset;
    log.seq = Math.max(log.seq, seq ?? 0);
  }

  /** Enters an event. False: it is no news. @param {Frame} frame */
  enter(frame) {
    const isNews = frame.type === "gap" ? this.#gap(frame) : this.#event(frame);
    this[isNews ? "received" : "dropped"] += 1;
    return isNews;
  }

  /** A message came by another way. @param {string} dialog @param {number} seq */
  saw(dialog, seq) {
    const log = this.#log(dialog);
    log.seq = Math.max(log.seq, seq);
  }

  /** A message that makes up for a gap. False: it is here already. @param {import("./wire.d.ts").Message} message */
  restore(message) {
    this.saw(message.dialog_id, message.seq);
    return this.#isFirst(message);
  }

  /** @param {import("./wire.d.ts").Message} message */
  #isFirst({ message_id: id }) {
    if (this.#messages.has(id)) return false;
    this.#messages.add(id);
    trim(this.#messages, MESSAGES_MAX);
    return true;
  }

  /** @param {Frame} frame */
  #event({ type, feed, dialog_id: dialog, offset, message }) {
    if (offset === undefined) return type !== "message_new" || this.restore(message);
    const log = this.#log(feed === "user" ? OWN : dialog);
    if (log.last !== null && offset <= log.last) return false;
    if (log.last !== null) log.holes += offset - log.last - 1;
    log.last = offset;
    // Of our own comings and goings we hear by our own log alone: the dialog's skips one, and that is no loss.
    if (type === "membership" && feed === "user") this.#log(dialog).excused += 1;
    if (type === "message_new") {
      log.seq = Math.max(log.seq, message.seq);
      // A new log may tell once more what the old one told: whoever publishes does so at least once.
      const isFirst = this.#isFirst(message);
      return isFirst && message.seq > (log.before ?? 0);
    }
    return true;
  }

  /** @param {Frame} frame */
  #gap({ dialog_id: dialog, epoch, from_offset: from, to_offset: to, reason }) {
    const log = this.#log(dialog ?? OWN);
    const isBehind = log.epoch === epoch && log.last !== null && from <= to && to <= log.last;
    if (isBehind && reason !== "log_reset") return false;
    this.gapped += Math.max(0, to - from + 1);
    Object.assign(log, { epoch, last: to, ...(reason === "log_reset" && { before: log.seq }) });
    return true;
  }

  /** @param {string} name */
  #log(name) {
    const log = this.#logs.get(name) ?? { epoch: null, last: null, seq: 0, holes: 0, excused: 0 };
    this.#logs.delete(name); // to the end of the line
    this.#logs.set(name, log);
    trim(this.#logs, LOGS_MAX);
    return log;
  }
}

/** The oldest makes room. @param {Map<string, any> | Set<string>} kept @param {number} max */
function trim(kept, max) {
  const [oldest] = kept.size > max ? kept.keys() : [];
  if (oldest !== undefined) kept.delete(oldest);
}
