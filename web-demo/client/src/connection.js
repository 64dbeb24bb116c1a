// One session and what carries it. Session, cursor and attach counter outlive every transport.
//
// A *round* opens the transports in their order until one is welcomed; one that is liked better goes on trying beside
// the one that serves, and is tried again later. Whoever is welcomed takes the session over: the server sends what comes
// after the cursor that was presented, so a move loses nothing.

import { adviceFor, codeOf, delayMs } from "./advice.js";
import { Attempt } from "./attempt.js";
import { EdgewayError } from "./errors.js";
import { farewellOf, parseFrame } from "./frames.js";
import { Ranking } from "./ranking.js";
import { Refresh } from "./refresh.js";
import { Timers } from "./timers.js";

/** @import { ClientState, End, Frame, Timing, TransportName, Welcome } from "./wire.d.ts" */

/** A connection that lasted this long was a success: back-off begins anew. */
const STABLE_MS = 5000;
/** Longest that we let the server hold what it was told may be forgotten. */
const ACK_EVERY_MS = 5000;
/** What the server gets to end a connection that it said goodbye on. */
const GOAWAY_GRACE_MS = 1000;
/** Fresh tokens that may be refused in a row. */
const RENEWALS_MAX = 2;

/**
 * @typedef {{
 *   attached: (welcome: Welcome, fresh: boolean) => void,
 *   detached: () => void,
 *   frame: (frame: Frame) => void,
 *   logged: (direction: "up" | "down", transport: TransportName, frame: Frame) => void,
 *   skipped: (transport: TransportName) => void,
 *   ask: (command: Frame) => Promise<any>,
 *   stopped: (error: EdgewayError) => void,
 *   changed: () => void,
 *   save: () => void,
 * }} Owner
 */

export class Connection {
  #owner;
  #env;
  #tokens;
  #timing;
  #ranking;
  #refresh;
  #timers = new Timers();
  /** @type {Attempt | null} */
  #active = null;
  /** Not welcomed yet. @type {Map<TransportName, Attempt>} */
  #tries = new Map();
  /** Transports that this round has not opened yet. @type {TransportName[]} */
  #queue = [];
  /** Those that gave no frame in this round. @type {Set<TransportName>} */
  #silent = new Set();
  #round = 0;
  #failures = 0;
  #renewals = 0;
  #probes = 0;
  #notBefore = 0;

  /** @type {{ session: string | null, cursor: string | null, attach: number }} */
  saved = { session: null, cursor: null, attach: 0 };
  /** @type {ClientState} */
  state = { state: "idle", transport: null, why: "", returnAt: 0 };

  /**
   * @param {Owner} owner
   * @param {{ base: URL, fetch: typeof fetch, WebSocket: any, deviceId?: string }} env
   * @param {import("./tokens.js").Tokens} tokens
   * @param {Timing} timing
   * @param {TransportName[]} transports
   */
  constructor(owner, env, tokens, timing, transports) {
    this.#owner = owner;
    this.#env = env;
    this.#tokens = tokens;
    this.#timing = timing;
    this.#ranking = new Ranking(transports);
    this.#refresh = new Refresh(tokens, owner.ask, timing, this.#timers);
  }

  /** Attaches, unless that is going on. */
  connect() {
    if (this.state.state === "idle" || this.state.state === "closed") this.#begin("connecting");
  }

  /** Other transports, the preferred first; the session moves. @param {TransportName[]} transports */
  use(transports) {
    this.#ranking = new Ranking(transports);
    this.#probes = 0;
    const { state } = this.state;
    if (state === "idle" || state === "closed") return;
    if (!this.#active || !transports.includes(this.#active.name)) return this.#begin("another transport");
    for (const attempt of [...this.#tries.values()]) this.#drop(attempt);
    if (this.#active.name !== transports[0]) this.#probe();
  }

  /** Somebody looks, or there is a network again: now is the time. @param {boolean} networkChanged */
  wake(networkChanged) {
    if (this.state.state === "waiting" && Date.now() >= this.#notBefore) {
      this.#failures = 0;
      this.#begin("awake");
    }
    this.#active?.check(networkChanged);
  }

  /** @param {Frame} command */
  send(command) {
    this.#active?.send(command);
  }

  /** Lets go of everything; the session stays where it is. @param {EdgewayError} error */
  stop(error) {
    this.#dropAll();
    this.#owner.stopped(error);
    this.#set("closed", error.code);
  }

  // ------------------------------------------------------------------------------------------------- A round

  /** @param {string} why */
  async #begin(why) {
    // What is on its way with the session already is not started again.
    const pending = [...this.#tries.values()].filter((attempt) => why === "moving" && attempt.attach > 0);
    this.#dropAll(pending);
    const round = this.#round;
    this.#set("connecting", why);
    try {
      await this.#tokens.good();
    } catch (thrown) {
      const { code, message, retryable, retryAfterMs } = /** @type {EdgewayError} */ (thrown);
      if (round === this.#round) this.#rest({ code, message, retryable, retryAfterMs });
      return;
    }
    if (round !== this.#round || this.#active) return;
    this.#queue = this.#ranking.order.filter((name) => !this.#tries.has(name));
    if (this.#tries.size === 0) this.#next();
    else this.#timers.start("next", this.#timing.wsWelcome, () => this.#next());
  }

  /** Opens the next transport, and after it the one after that if it lets us wait. */
  #next() {
    const name = this.#queue.shift();
    if (!name) return;
    this.#try(name);
    if (this.#queue.length === 0 || !this.#tries.has(name)) return;
    const { wsWelcome, sseWelcome, attach } = this.#timing;
    this.#timers.start("next", { ws: wsWelcome, sse: sseWelcome, poll: attach }[name], () => {
      const attempt = this.#tries.get(name);
      // A WebSocket may just be slow. A stream that is held back by something never gets better.
      if (attempt && name !== "ws") this.#ended(attempt, { message: "held back" });
      else this.#next();
    });
  }

  /** @param {TransportName} name */
  #try(name) {
    const attempt = new Attempt(name);
    this.#tries.set(name, attempt);
    this.#timers.start(name, this.#timing.attach, () => this.#ended(attempt, { message: "no welcome in time" }));
    const isHeard = () => this.#active === attempt || this.#tries.get(name) === attempt;
    attempt.open(
      {
        ...this.#env,
        token: () => this.#tokens.current,
        renewToken: () => this.#tokens.renew(),
        session: () => this.saved.session,
        attach: () => this.#attach(attempt),
        held: () => this.#isMoving(attempt),
        frame: (frame) => isHeard() && this.#frame(attempt, frame),
        sent: ({ token, ...frame }) => this.#owner.logged("up", name, token ? { ...frame, token: "(not shown)" } : frame),
        end: (end) => isHeard() && this.#ended(attempt, end),
      },
      this.#timing,
    );
  }

  /** @param {Attempt} attempt */
  #attach(attempt) {
    const parameters = attempt.parameters(this.saved);
    this.#owner.save(); // a reload must not use a count twice
    const { deviceId } = this.#env;
    return parameters.session || !deviceId ? parameters : { ...parameters, device_id: deviceId };
  }

  /** Whether another transport has asked for the session and may be welcomed yet. @param {Attempt} attempt */
  #isMoving(attempt) {
    const since = Date.now() - this.#timing.wsWelcome;
    return [...this.#tries.values()].some((other) => other !== attempt && other.askedAt > since);
  }

  // ------------------------------------------------------------------------------------------------- Frames

  /** @param {Attempt} attempt @param {unknown} raw */
  #frame(attempt, raw) {
    const frame = parseFrame(raw);
    if (!frame) return this.#owner.skipped(attempt.name);
    attempt.frames += 1;
    if (frame.type === "cursor") return this.#moveCursor(attempt, frame.cursor ?? null);
    this.#owner.logged("down", attempt.name, frame);
    if (frame.type === "welcome") return this.#welcome(attempt, /** @type {any} */ (frame));
    attempt.farewell = farewellOf(frame) ?? attempt.farewell;
    // It ends what it says goodbye on. If it doesn't, we do.
    if (frame.type === "goaway") this.#timers.start(attempt.name, GOAWAY_GRACE_MS, () => this.#ended(attempt, {}));
    if (frame.type === "token_expiring") this.#refresh.run();
    if (attempt !== this.#active) return;
    this.#owner.frame(frame);
    // After the event has been handed on: position and cursor are written down together.
    if (frame.cursor && attempt === this.#active) this.#moveCursor(attempt, frame.cursor);
  }

  /** @param {Attempt} attempt @param {string | null} cursor */
  #moveCursor(attempt, cursor) {
    this.saved.cursor = cursor;
    this.#owner.save();
    if (attempt.name === "poll" || this.#timers.runs("ack")) return; // a poll acknowledges by itself
    this.#timers.start("ack", ACK_EVERY_MS, () => {
      if (this.saved.cursor) this.#owner.ask({ type: "ack", cursor: this.saved.cursor }).catch(() => {});
    });
  }

  /** @param {Attempt} attempt @param {Welcome} welcome */
  #welcome(attempt, welcome) {
    const { name } = attempt;
    if (attempt === this.#active) return;
    const isStray = this.saved.session && attempt.asked !== this.saved.session && welcome.session !== this.saved.session;
    if (isStray) {
      // It asked before another transport had made our session, and has made one more. But it gets through.
      attempt.send({ type: "bye" });
      this.#drop(attempt);
      return this.#try(name);
    }
    const old = this.#active;
    const fresh = welcome.session !== this.saved.session;
    this.#tries.delete(name);
    this.#timers.cancel(name);
    this.#timers.cancel("next");
    this.#queue = [];
    this.#active = attempt;
    if (old) this.#drop(old);
    for (const other of [...this.#tries.values()]) {
      if (!this.#ranking.prefers(other.name, name)) this.#drop(other);
    }
    this.#ranking.worked(name);
    for (const other of this.#silent) this.#ranking.missed(other);
    this.#silent.clear();
    if (fresh || !this.saved.cursor) this.saved.cursor = welcome.cursor ?? null;
    this.saved.session = welcome.session;
    this.#tokens.learn(welcome);
    this.#refresh.plan();
    this.#timers.start("stable", STABLE_MS, () => {
      this.#failures = this.#renewals = 0;
    });
    if (this.#ranking.preferred[0] === name) this.#probes = 0;
    else this.#planProbe();
    this.#set("online", old ? `moved from ${old.name}` : this.#why(name));
    this.#owner.attached(welcome, fresh);
    this.#owner.save();
  }

  /** @param {TransportName} name */
  #why(name) {
    const better = this.#ranking.preferred.filter((other) => this.#ranking.prefers(other, name));
    return better.length > 0 ? `${better.join(" and ")} did not get through` : "the preferred transport";
  }

  // ------------------------------------------------------------------------------------------------- Probes

  #planProbe() {
    const { probes } = this.#timing;
    const ms = probes[Math.min(this.#probes, probes.length - 1)] ?? 0;
    this.#timers.start("probe", ms, () => {
      this.#probes += 1;
      this.#probe();
      this.#planProbe();
    });
  }

  /** Tries the preferred transport beside the one that serves. */
  #probe() {
    const [best] = this.#ranking.preferred;
    if (best && best !== this.#active?.name && !this.#tries.has(best)) this.#try(best);
  }

  // ------------------------------------------------------------------------------------------------- Endings

  /** @param {Attempt} attempt @param {End} how */
  #ended(attempt, how) {
    const end = { ...how, ...attempt.farewell };
    end.code = codeOf(end);
    this.#drop(attempt);
    // Refused for a newer attach of our own: not the session's end, only this attempt's.
    const isLate = end.code === "superseded" || end.code === "stale_attach";
    const isOurs = isLate && attempt.attach < this.saved.attach;
    if (attempt === this.#active) {
      this.#active = null;
      this.#owner.detached();
      return isOurs ? this.#begin("moving") : this.#rest(end);
    }
    if (attempt.frames === 0) {
      if (this.#active) this.#ranking.missed(attempt.name);
      else this.#silent.add(attempt.name);
    }
    if (this.#active) return;
    // The server itself has answered: another transport would hear the same.
    const isAnswer = !isOurs && (end.code || (end.closeCode ?? 0) >= 4000);
    if (isAnswer) return this.#rest(end);
    if (this.#queue.length > 0) return this.#next();
    if (this.#tries.size === 0) this.#rest(isOurs ? { now: true } : end);
  }

  /** Waits until it is time to come back, if it ever is. @param {End} end */
  #rest(end) {
    this.#dropAll();
    this.#silent.clear(); // nothing got through: no transport is worse than another
    const { when, remedy } = adviceFor(end);
    const why = end.code ?? end.message ?? "ended";
    if (remedy === "token") this.#tokens.forget();
    if (remedy === "session" || end.resumable === false || (remedy === "cursor" && !this.saved.cursor)) {
      this.saved.session = this.saved.cursor = null;
    }
    if (remedy === "cursor") this.saved.cursor = null;
    this.#owner.save();
    const isRefused = remedy === "token" && ++this.#renewals > RENEWALS_MAX;
    if (when === "never" || isRefused) return this.stop(new EdgewayError(why, { message: end.message }));
    const asked = end.retryAfterMs ?? 0;
    const ms = delayMs(when, this.#failures, asked, this.#timing);
    this.#failures += 1;
    this.#notBefore = Date.now() + asked;
    this.#timers.start("return", ms, () => this.#begin(why));
    this.#set("waiting", why, Date.now() + ms);
  }

  /** Lets go of everything, but for some. @param {Attempt[]} [kept] */
  #dropAll(kept = []) {
    this.#round += 1;
    const active = this.#active;
    this.#active = null;
    this.#queue = [];
    for (const attempt of [...this.#tries.values()]) if (!kept.includes(attempt)) this.#drop(attempt);
    for (const name of ["next", "return", "probe", "stable", "refresh", "ack"]) this.#timers.cancel(name);
    if (active) {
      this.#drop(active);
      this.#owner.detached();
    }
  }

  /** @param {Attempt} attempt */
  #drop(attempt) {
    if (this.#tries.get(attempt.name) === attempt) this.#tries.delete(attempt.name);
    this.#timers.cancel(attempt.name);
    attempt.close();
  }

  /** @param {ClientState["state"]} state @param {string} why @param {number} [returnAt] */
  #set(state, why, returnAt = 0) {
    this.state = { state, transport: this.#active?.name ?? null, why, returnAt };
    this.#owner.changed();
  }
}
