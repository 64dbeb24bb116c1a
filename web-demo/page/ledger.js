// Where we are in every log, and the proof that nothing was lost: the offsets of a log are contiguous, so a hole, a
// repeat and an announced gap are all plain to see.

/** Dialogs whose position is kept after leaving them; the one untouched for longest goes first. */
const LOGS_MAX = 50;

/** Whose log an event is from: its dialog's, or the user's own feed. */
export function logOf(frame) {
  return frame.feed === "user" || !frame.dialog_id ? "@me" : frame.dialog_id;
}

export class Ledger {
  /** `{epoch, last, seq, holes, excused}` by log; `last` is null before anything is known. */
  #logs;
  counters;

  constructor(saved) {
    this.#logs = new Map(Object.entries(saved?.logs ?? {}));
    this.counters = { received: 0, repeated: 0, gapped: 0, restored: 0, ...saved?.counters };
  }

  toJSON() {
    return { logs: Object.fromEntries(this.#logs), counters: this.counters };
  }

  /** Events that should have come and did not, and that no `gap` has announced. */
  get lost() {
    let lost = 0;
    for (const log of this.#logs.values()) lost += Math.max(0, log.holes - log.excused);
    return lost;
  }

  position(dialog) {
    return this.#logs.get(dialog) ?? null;
  }

  /** What to present when subscribing again in a new session, or undefined when we were never there. */
  since(dialog) {
    const log = this.#logs.get(dialog);
    if (!log || log.epoch === null || log.last === null) return undefined;
    return { epoch: log.epoch, offset: log.last, ...(log.seq > 0 && { message_seq: log.seq }) };
  }

  /**
   * A `subscribe` without `since` was answered: the log counts from there on. Events may have overtaken the answer
   * (on SSE and long-poll they travel on another connection), so what was seen already stays.
   */
  begin({ dialog_id: dialog, epoch, offset, replayed = 0 }) {
    const log = this.#log(dialog);
    if (log.epoch !== null && log.epoch !== epoch) log.last = null;
    log.epoch = epoch;
    log.last = Math.max(log.last ?? 0, offset - replayed);
  }

  /** Enters an event. False: it was here before and must be dropped. */
  enter(frame) {
    if (frame.type === "gap") return this.#gap(frame);
    if (frame.type === "message_new") this.sawSeq(frame.dialog_id, frame.message.seq);
    if (frame.offset === undefined) {
      if (frame.restored) this.counters.restored += 1;
      return true;
    }
    const log = this.#log(logOf(frame));
    if (log.last !== null && frame.offset <= log.last) {
      this.counters.repeated += 1;
      return false;
    }
    if (log.last !== null) log.holes += frame.offset - log.last - 1;
    log.last = frame.offset;
    this.counters.received += 1;
    // News about our own membership comes from our own feed alone; its twin in the dialog's log is not sent to us,
    // so one hole there is as it should be.
    if (frame.type === "membership" && frame.feed === "user") this.#log(frame.dialog_id).excused += 1;
    return true;
  }

  sawSeq(dialog, seq) {
    const log = this.#log(dialog);
    log.seq = Math.max(log.seq, seq);
  }

  #gap({ epoch, from_offset: from, to_offset: to, reason, ...frame }) {
    const log = this.#log(logOf(frame));
    // Only a reset log may take us back; any other gap behind us has been told before.
    if (reason !== "log_reset" && log.epoch === epoch && log.last !== null && to <= log.last && from <= to) {
      this.counters.repeated += 1;
      return false;
    }
    this.counters.gapped += Math.max(0, to - from + 1);
    log.epoch = epoch;
    log.last = to;
    return true;
  }

  #log(name) {
    const log = this.#logs.get(name) ?? { epoch: null, last: null, seq: 0, holes: 0, excused: 0 };
    this.#logs.delete(name); // to the end of the line: the map is in order of use
    this.#logs.set(name, log);
    if (this.#logs.size > LOGS_MAX) this.#logs.delete(this.#logs.keys().next().value);
    return log;
  }
}
