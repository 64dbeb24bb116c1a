// One session and what carries it: attaches it by a transport, moves it to another, and comes back after an outage.
// Session, cursor and attach counter outlive every transport; requests that are under way do not.

import { backoffMs, planReturn } from "./backoff.js";
import { randomId } from "./outbox.js";
import { pause, Timers } from "./timers.js";
import { TRANSPORTS } from "./transports.js";

/** From opening a transport to being attached. */
const ATTACH_MAX_MS = 10_000;
/** A transport that lasted this long after its attach was a success: back-off begins anew. */
const STABLE_AFTER_MS = 5_000;
const REPLY_MAX_MS = 15_000;
/** How often we tell the server what it may forget, while events come. */
const ACK_EVERY_MS = 5_000;
/** What the server gets for ending a transport that it said goodbye on, beyond its own number. */
const GOAWAY_GRACE_MS = 1_000;

const SUPERSEDED_CLOSE_CODE = 4009;

const AUTO_ORDER = ["ws", "sse", "poll"];
/** In `auto`: so many times a transport may fail to attach before the next one is tried. */
const AUTO_TRIES = 2;

export class Connection {
  #owner;
  #tokens;
  #saved;
  #link = null;
  /** Rises with every transport: what belongs to an older one is not heard any more. */
  #generation = 0;
  #pending = new Map();
  #refs = { prefix: randomId().slice(0, 8), last: 0 };
  #timers = new Timers();
  #failures = 0;
  #auto = { index: 0, failures: 0 };
  #goaway = null;
  #acked = null;
  /** Whether the wait we are in was asked for by the server. */
  #waitIsAsked = false;

  /** What was chosen: `auto`, `ws`, `sse` or `poll`. */
  choice;
  /** `connecting`, `online`, `waiting` (to come back), `stopped` (until told otherwise), `cut` (by the button). */
  state = "stopped";
  detail = "";
  /** When a `waiting` connection comes back, by `Date.now()`. */
  returnAt = 0;
  resume = null;

  /**
   * @param saved what `toJSON` gave on an earlier page, or undefined
   * @param owner `attached(isNew, welcome)`, `event(frame)` for what is no control frame, `logged(direction, frame)`,
   *   `changed()`, `save()` for soon and `saveNow()` for before anything else
   */
  constructor({ choice, tokens, saved, owner }) {
    this.choice = choice;
    this.#tokens = tokens;
    this.#owner = owner;
    this.#saved = { session: null, cursor: null, attach: 0, ...saved };
  }

  toJSON() {
    return this.#saved;
  }

  get transport() {
    return this.choice === "auto" ? AUTO_ORDER[this.#auto.index] : this.choice;
  }

  get session() {
    return this.#saved.session;
  }

  get cursor() {
    return this.#saved.cursor;
  }

  get attach() {
    return this.#saved.attach;
  }

  get online() {
    return this.state === "online";
  }

  /** Attaches now, whatever we were waiting for. */
  connect() {
    this.#failures = 0;
    this.#auto = { index: 0, failures: 0 };
    this.#open();
  }

  /** Moves the session to another transport, live. */
  use(choice) {
    this.choice = choice;
    if (this.state !== "cut") this.connect();
  }

  /** The network is gone, or back. */
  cut(isCut) {
    if (!isCut) return this.connect();
    this.#drop();
    this.#enter("cut", "the network is cut");
  }

  /** The browser has a network again, or the page is looked at: no reason to sit out a back-off of our own. */
  nudge() {
    if (this.state === "waiting" && !this.#waitIsAsked) this.connect();
  }

  /** Ends the session on the server. */
  async end() {
    if (!this.session) return;
    await fetch(`/v1/sessions/${encodeURIComponent(this.session)}`, {
      method: "DELETE",
      headers: { Authorization: `Bearer ${await this.#tokens.good()}` },
      keepalive: true,
    });
  }

  /** Ends the session and stays away. */
  leave() {
    if (this.online) this.end().catch(() => {}); // it would expire by itself too
    this.#drop();
    this.#forgetSession();
    this.#owner.saveNow();
    this.#enter("stopped", "left");
  }

  /** Sends a command and promises its reply; rejects with an `{code, retryable, retry_after_ms?}`. */
  request(command) {
    if (!this.online) return Promise.reject({ code: "network", retryable: true });
    const ref = `${this.#refs.prefix}.${++this.#refs.last}`;
    return new Promise((resolve, reject) => {
      const late = () => this.#answer(ref, { type: "error", code: "timeout", retryable: true });
      this.#pending.set(ref, { resolve, reject, timer: setTimeout(late, REPLY_MAX_MS) });
      this.#link.send({ ...command, ref });
    });
  }

  /** A command whose failure changes nothing. */
  attempt(command) {
    this.request(command).catch(() => {});
  }

  // ---------------------------------------------------------------------------------------------- Coming and going

  async #open() {
    this.#drop();
    const generation = this.#generation;
    const isCurrent = () => generation === this.#generation;
    this.#enter("connecting", "");
    try {
      await this.#tokens.good();
    } catch (error) {
      if (isCurrent()) this.#ended({ message: error.message }, { beforeTransport: true });
      return;
    }
    if (!isCurrent()) return;
    const whileCurrent =
      (run) =>
      (...details) => {
        if (isCurrent()) run(...details);
      };
    this.#timers.start("attach", ATTACH_MAX_MS, () => this.#ended({ message: "not attached in time" }));
    this.#link = TRANSPORTS[this.transport]({
      token: () => this.#tokens.current,
      renewToken: () => this.#tokens.renew(),
      session: () => this.session,
      nextAttach: () => this.#nextAttach(),
      onFrame: whileCurrent((frame) => this.#frame(frame)),
      onAttached: whileCurrent((details) => this.#attached(details)),
      onCursor: whileCurrent((cursor) => this.#moveCursor(cursor)),
      onSent: whileCurrent((frame) => this.#owner.logged("up", frame)),
      onEnd: whileCurrent((end) => this.#ended(end)),
    });
  }

  /** Lets go of the transport. Nothing of it is heard from here on. */
  #drop() {
    this.#generation += 1;
    this.#link?.close();
    this.#link = null;
    this.#goaway = null;
    this.#timers.cancelAll();
    for (const ref of [...this.#pending.keys()]) {
      this.#answer(ref, { type: "error", code: "network", retryable: true });
    }
  }

  #ended(end, { beforeTransport = false } = {}) {
    const plan = planReturn(end, this.#remainingGoaway(), this.#failures);
    const why = this.#goaway?.reason ?? reasonOf(end);
    // Not one word from the server: perhaps this transport doesn't get through.
    const wasMute = !this.online && !beforeTransport && !this.#goaway && !end.code && !end.status;
    this.#drop();
    this.#failures += 1;
    if (plan.renewToken) this.#tokens.forget();
    if (plan.forgetSession) this.#forgetSession();
    if (plan.forgetCursor) this.#saved.cursor = null;
    this.#owner.save();
    if (plan.when === "never") return this.#enter("stopped", why);
    if (this.choice === "auto" && wasMute) this.#fallBack();
    this.returnAt = Date.now() + plan.delayMs;
    this.#waitIsAsked = plan.asked;
    this.#timers.start("return", plan.delayMs, () => this.#open());
    this.#enter("waiting", why);
  }

  #fallBack() {
    // Asking for a token first tells a server that is down from a transport that doesn't get through: the former is
    // no reason to change the transport.
    this.#tokens.forget();
    this.#auto.failures += 1;
    if (this.#auto.failures < AUTO_TRIES) return;
    this.#auto = { index: (this.#auto.index + 1) % AUTO_ORDER.length, failures: 0 };
  }

  #attached(welcome) {
    this.#timers.cancel("attach");
    const { session, resume, cursor } = welcome;
    const isNew = session !== this.session || resume === "new" || resume === "expired";
    // A resumed session goes on from the cursor that it names; the poll names it after its first batch.
    if (cursor || isNew) this.#saved.cursor = cursor ?? null;
    this.#saved.session = session;
    this.#acked = this.cursor;
    this.#auto.failures = 0;
    this.resume = resume;
    this.#timers.start("stable", STABLE_AFTER_MS, () => (this.#failures = 0));
    this.#enter("online", "");
    this.#owner.attached(isNew, welcome);
    this.#owner.saveNow();
  }

  #enter(state, detail) {
    this.state = state;
    this.detail = detail;
    this.#owner.changed();
  }

  #nextAttach() {
    this.#saved.attach += 1;
    this.#owner.saveNow(); // before it is used: a reload must not use it twice
    const { session, cursor, attach } = this.#saved;
    return session ? { session, cursor: cursor ?? undefined, attach } : { attach };
  }

  #forgetSession() {
    Object.assign(this.#saved, { session: null, cursor: null }); // a cursor means nothing without its session
  }

  // ------------------------------------------------------------------------------------------------------- Frames

  #frame(frame) {
    this.#owner.logged("down", frame);
    if (this.#pending.has(frame.ref)) return this.#answer(frame.ref, frame);
    switch (frame.type) {
      case "welcome":
        return this.#attached(frame);
      case "goaway":
        return this.#goAway(frame);
      case "token_expiring":
        return this.#refreshToken();
      case "ok":
      case "error":
      case "pong":
      case "heartbeat":
        return;
      default:
        this.#owner.event(frame);
        // After the event has been entered: position and cursor are written down together.
        if (frame.cursor) this.#moveCursor(frame.cursor);
    }
  }

  #answer(ref, frame) {
    const waiting = this.#pending.get(ref);
    this.#pending.delete(ref);
    clearTimeout(waiting.timer);
    if (frame.type === "error") waiting.reject(frame);
    else waiting.resolve(frame);
  }

  #moveCursor(cursor) {
    this.#saved.cursor = cursor;
    this.#owner.save();
    if (this.transport === "poll" || this.#timers.runs("ack")) return; // a poll acknowledges by itself
    this.#timers.start("ack", ACK_EVERY_MS, () => {
      if (this.cursor === this.#acked) return;
      this.#acked = this.cursor;
      this.attempt({ type: "ack", cursor: this.cursor });
    });
  }

  #goAway({ reason, reconnect_after_ms: afterMs, resumable }) {
    this.#goaway = { reason, afterMs, resumable, at: performance.now() };
    this.#timers.start("goaway", (afterMs ?? 0) + GOAWAY_GRACE_MS, () => this.#ended({}));
  }

  #remainingGoaway() {
    if (!this.#goaway) return null;
    const { reason, resumable, afterMs, at } = this.#goaway;
    const passedMs = performance.now() - at;
    return { reason, resumable, afterMs: afterMs === undefined ? undefined : Math.max(0, afterMs - passedMs) };
  }

  async #refreshToken() {
    const generation = this.#generation;
    // Ends with the transport: when the token runs out the server closes it.
    for (let tries = 0; generation === this.#generation; tries += 1) {
      try {
        const token = await this.#tokens.renew();
        if (generation === this.#generation) await this.request({ type: "refresh", token });
        return;
      } catch {
        await pause(backoffMs(tries));
      }
    }
  }
}

function reasonOf({ code, closeCode, message, clean }) {
  if (code) return code;
  if (closeCode === SUPERSEDED_CLOSE_CODE) return "superseded";
  if (message) return message;
  if (closeCode !== undefined) return `closed with ${closeCode}`;
  return clean ? "the stream was rotated" : "ended";
}
