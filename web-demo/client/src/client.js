// The client: what an application calls.

import { Connection } from "./connection.js";
import { LIMITS, TIMING } from "./defaults.js";
import { Emitter } from "./emitter.js";
import { EdgewayError } from "./errors.js";
import { Following } from "./following.js";
import { Inbox } from "./inbox.js";
import { Ledger } from "./ledger.js";
import { Outbox } from "./outbox.js";
import { Persistence } from "./persistence.js";
import { randomId, Requests } from "./requests.js";
import { Subscription } from "./subscription.js";
import { Tokens } from "./tokens.js";
import { watchPage } from "./wake.js";

/**
 * @import {
 *   Body, CallOptions, ClientEvents, ClientOptions, HistoryReply, Limits, OutboxItem, PresentUser, ReadReply, SendReply,
 *   Stats, SubscribeOptions, TransportName, Welcome
 * } from "./wire.d.ts"
 */

/** @extends {Emitter<ClientEvents>} */
export class EdgewayClient extends Emitter {
  #ledger = new Ledger();
  #env;
  #tokens;
  #requests;
  #outbox;
  #following;
  #inbox;
  #connection;
  #persistence;
  #stopWatching = () => {};
  #skipped = 0;
  #attaches = 0;
  /** When "is typing" was said last. @type {Map<string, number>} */
  #typedAt = new Map();
  /** Why it was closed. @type {EdgewayError | null} */
  #closedBy = null;

  /** The server's, once attached. @type {Limits} */
  limits = { ...LIMITS };
  /** The last one; `user_id` and `node` stand in it. @type {Welcome | null} */
  welcome = null;

  /** @param {ClientOptions} options */
  constructor({ url, token, transports = ["ws", "sse", "poll"], storage, deviceId, WebSocket, fetch, timing: own }) {
    super();
    const timing = { ...TIMING, ...own };
    this.#env = {
      base: baseOf(url),
      fetch: fetch ?? ((/** @type {Parameters<typeof globalThis.fetch>} */ ...request) => globalThis.fetch(...request)),
      WebSocket: WebSocket ?? globalThis.WebSocket,
      deviceId,
    };
    const save = () => this.#persistence.soon();
    const ask = (/** @type {import("./wire.d.ts").Frame} */ command) => this.#requests.ask(command, { stays: false });
    this.#tokens = new Tokens(token);
    this.#requests = new Requests(timing.reply);
    this.#outbox = new Outbox({ send: ask, changed: (item) => (save(), this.emit("outbox", item)), timing });
    this.#following = new Following({
      ask,
      isOnline: () => this.state.state === "online",
      ledger: this.#ledger,
      answered: (entry) => (save(), this.emit("subscribed", entry)),
      timing,
    });
    this.#inbox = new Inbox({
      ledger: this.#ledger,
      replied: (frame) => this.#requests.settle(frame),
      deliver: (event) => {
        this.#following.deliver(event);
        this.emit("event", event);
        this.emit(/** @type {any} */ (event.type), event);
      },
      arrived: ({ sender_id, client_message_id: id, message_id, seq, created_at }) => {
        const isOurs = sender_id === this.welcome?.user_id;
        if (isOurs) this.#outbox.settle(id, { message_id, seq, created_at, duplicate: false });
      },
      membership: (dialog, change) => void this.#following.membership(dialog, change),
      history: (dialog, options) => this.history(dialog, options),
    });
    this.#connection = new Connection(
      {
        attached: (welcome, fresh) => this.#attached(welcome, fresh),
        detached: () => this.#requests.pause(),
        frame: (frame) => this.#inbox.take(frame),
        logged: (direction, transport, frame) => this.emit("frame", { direction, transport, frame }),
        skipped: (transport) => {
          this.#skipped += 1;
          this.emit("skipped", { transport });
        },
        ask,
        stopped: (error) => this.#stopped(error),
        changed: () => this.emit("state", this.state),
        save,
      },
      this.#env,
      this.#tokens,
      timing,
      transports,
    );
    this.#persistence = new Persistence(storage, this.#connection, this.#ledger, this.#outbox);
  }

  // ------------------------------------------------------------------------------------------------- Coming and going

  /** Whether it is connected, by what, and why so. */
  get state() {
    return this.#connection.state;
  }

  /** `session`, `cursor`, and how often it was attached. */
  get position() {
    return { ...this.#connection.saved };
  }

  /** @returns {Stats} */
  get stats() {
    const { received, dropped, gapped, missing } = this.#ledger;
    return { received, dropped, gapped, missing, skipped: this.#skipped, attaches: this.#attaches };
  }

  /**
   * Attaches, and stays attached from then on, whatever happens. Resolves with the first `welcome`.
   *
   * @param {CallOptions} [options] giving up here ends the waiting, not the trying
   * @returns {Promise<Welcome>}
   */
  async connect({ signal, timeoutMs = Infinity } = {}) {
    await this.#persistence.load();
    if (this.welcome && this.state.state === "online") return this.welcome;
    const ears = new AbortController();
    const timer = Number.isFinite(timeoutMs) ? setTimeout(() => ears.abort("timeout"), timeoutMs) : undefined;
    const give = () => ears.abort("aborted");
    signal?.addEventListener("abort", give);
    try {
      return await new Promise((resolve, reject) => {
        if (signal?.aborted) give();
        const end = () => reject(new EdgewayError(ears.signal.reason, { retryable: true, cause: signal?.reason }));
        if (ears.signal.aborted) return end();
        ears.signal.addEventListener("abort", end);
        this.on("attached", resolve, ears);
        this.on("state", ({ state }) => state === "closed" && reject(this.#closedBy), ears);
        this.#stopWatching();
        this.#stopWatching = watchPage((changed) => this.#connection.wake(changed), () => this.#persistence.now());
        this.#connection.connect();
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", give);
      ears.abort();
    }
  }

  /**
   * Ends the session; with `keep` it stays on the server, to be carried on from the storage.
   *
   * @param {{ keep?: boolean }} [options]
   */
  async close({ keep = false } = {}) {
    const { saved } = this.#connection;
    const { session } = saved;
    if (this.state.state !== "closed") this.#connection.stop(new EdgewayError("closed"));
    this.#following.clear();
    if (!keep) saved.session = saved.cursor = null;
    this.#persistence.now();
    if (keep || !session) return;
    const url = new URL(`v1/sessions/${encodeURIComponent(session)}`, this.#env.base);
    try {
      const headers = { Authorization: `Bearer ${await this.#tokens.good()}` };
      await this.#env.fetch(url, { method: "DELETE", headers, keepalive: true, signal: AbortSignal.timeout(5000) });
    } catch {
      // It expires by itself.
    }
  }

  /** Other transports, the preferred first; a live session moves. @param {TransportName[]} transports */
  use(transports) {
    this.#connection.use(transports);
  }

  // ------------------------------------------------------------------------------------------------- What is followed

  /**
   * Follows a dialog, from now on or from where we were, over every reconnect.
   *
   * @param {string} dialogId
   * @param {SubscribeOptions & { signal?: AbortSignal }} [options]
   */
  subscribe(dialogId, options) {
    return this.#subscribe(dialogId, options);
  }

  /**
   * Follows every dialog of the user, as memberships come and go.
   *
   * @param {Omit<SubscribeOptions, "since"> & { signal?: AbortSignal }} [options]
   */
  subscribeAll(options) {
    return this.#subscribe(null, options);
  }

  /** @param {string | null} dialog @param {SubscribeOptions & { signal?: AbortSignal }} [options] */
  #subscribe(dialog, { signal, ...options } = {}) {
    const subscription = new Subscription(dialog, options, (ended) => {
      if (!this.#following.remove(ended)) return;
      const what = dialog === null ? { all: true } : { dialogs: [dialog] };
      this.#requests.ask({ type: "unsubscribe", ...what }).catch(() => {});
    });
    this.#following.add(subscription);
    signal?.addEventListener("abort", () => subscription.close(), { once: true });
    return subscription;
  }

  // ------------------------------------------------------------------------------------------------- Commands

  /**
   * Sends a message. Resolves when the Store has it, however many connections that takes; the same
   * `clientMessageId` is the same message.
   *
   * @param {string} dialogId
   * @param {Body} body
   * @param {CallOptions & { clientMessageId?: string, replyTo?: string }} [options]
   * @returns {Promise<SendReply>}
   */
  send(dialogId, body, { clientMessageId = randomId(), replyTo, ...options } = {}) {
    /** @type {OutboxItem} */
    const item = { client_message_id: clientMessageId, dialog_id: dialogId, body, state: "pending" };
    if (replyTo) item.reply_to = replyTo;
    const sent = this.#outbox.add(item, options);
    sent.catch(() => {}); // `outbox` tells it, too
    return sent;
  }

  /** Messages that are on their way, or have failed. */
  get outbox() {
    return this.#outbox.items.map((item) => ({ ...item }));
  }

  /** Tries a message that has failed again. @param {string} clientMessageId */
  retry(clientMessageId) {
    this.#outbox.retry(clientMessageId);
  }

  /** Forgets a message that has failed. @param {string} clientMessageId */
  discard(clientMessageId) {
    this.#outbox.discard(clientMessageId);
    this.#persistence.soon();
  }

  /**
   * The user types (call it at every key: no more goes out than is passed on), or has stopped.
   *
   * @param {string} dialogId
   * @param {"started" | "stopped"} [state]
   */
  typing(dialogId, state = "started") {
    const isStart = state === "started";
    const saidAt = this.#typedAt.get(dialogId) ?? 0;
    if (isStart ? Date.now() - saidAt < this.limits.typing_every_ms : saidAt === 0) return;
    this.#typedAt.set(dialogId, isStart ? Date.now() : 0);
    this.#requests.ask({ type: "typing", dialog_id: dialogId, state }, { stays: false }).catch(() => {});
  }

  /**
   * The user has read up to a message.
   *
   * @param {string} dialogId
   * @param {number} seq
   * @param {CallOptions} [options]
   * @returns {Promise<ReadReply>}
   */
  readUpto(dialogId, seq, options) {
    return this.#requests.ask({ type: "read_upto", dialog_id: dialogId, seq }, options);
  }

  /**
   * Messages, oldest first.
   *
   * @param {string} dialogId
   * @param {CallOptions & { beforeSeq?: number, afterSeq?: number, limit?: number }} [options]
   * @returns {Promise<HistoryReply>}
   */
  history(dialogId, { beforeSeq: before_seq, afterSeq: after_seq, limit = 50, ...options } = {}) {
    return this.#requests.ask({ type: "history", dialog_id: dialogId, before_seq, after_seq, limit }, options);
  }

  /** Who is here. @param {string} dialogId @param {CallOptions} [options] @returns {Promise<PresentUser[]>} */
  async presence(dialogId, options) {
    return (await this.#requests.ask({ type: "presence", dialog_id: dialogId }, options)).users;
  }

  /** Whether the user is at it. @param {"online" | "away"} state @param {CallOptions} [options] @returns {Promise<void>} */
  async status(state, options) {
    await this.#requests.ask({ type: "status", state }, options);
  }

  // ------------------------------------------------------------------------------------------------- What happens

  /** @param {Welcome} welcome @param {boolean} fresh */
  #attached(welcome, fresh) {
    this.#attaches += 1;
    this.#closedBy = null;
    this.welcome = { ...this.welcome, ...welcome };
    Object.assign(this.limits, welcome.limits);
    this.#typedAt.clear();
    if (fresh) this.#following.reset();
    this.#requests.resume((command) => this.#connection.send(command));
    this.#following.reconcile();
    this.#outbox.flush();
    this.emit("attached", { ...welcome, fresh });
  }

  /** @param {EdgewayError} error */
  #stopped(error) {
    this.#closedBy = error;
    this.#stopWatching();
    this.#requests.pause(error.code);
    this.#outbox.close(error);
  }
}

/** @param {string | URL} [url] */
function baseOf(url) {
  const base = url ? new URL(url) : new URL("/", globalThis.location?.href);
  base.search = base.hash = "";
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return base;
}
