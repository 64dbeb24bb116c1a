// Messages on their way up. One stays here, over reconnects and reloads, until the server has answered it; its
// client_message_id makes sending it again harmless.

import { backoffMs } from "./advice.js";
import { EdgewayError } from "./errors.js";
import { aborted } from "./requests.js";
import { pause } from "./timers.js";

const ITEMS_MAX = 500;
/** Answers of the kind "try again" that one message takes before a person has to decide. */
const TRIES_MAX = 8;

/** @typedef {import("./wire.d.ts").OutboxItem} OutboxItem */
/** @typedef {{ resolve: (reply: any) => void, reject: (error: EdgewayError) => void }} Waiter */

export class Outbox {
  /** @type {OutboxItem[]} */
  items = [];
  /** Who waits for an answer; nobody after a reload. @type {Map<string, Waiter>} */
  #waiters = new Map();
  /** Dialogs whose messages are being sent. @type {Set<string>} */
  #lanes = new Set();
  #owner;

  /**
   * @param {{
   *   send: (command: import("./wire.d.ts").Frame) => Promise<any>,
   *   changed: (item: OutboxItem & { reply?: any }) => void,
   *   timing: import("./wire.d.ts").Timing,
   * }} owner `send` rejects with `network` when there is no connection
   */
  constructor(owner) {
    this.#owner = owner;
  }

  /**
   * @param {OutboxItem} item
   * @param {import("./wire.d.ts").CallOptions} options
   * @returns {Promise<import("./wire.d.ts").SendReply>}
   */
  add(item, { signal, timeoutMs = Infinity }) {
    return new Promise((resolve, reject) => {
      const id = item.client_message_id;
      if (signal?.aborted) return reject(aborted(signal));
      const isKnown = this.items.some((other) => other.client_message_id === id);
      if (isKnown) return reject(new EdgewayError("conflict", { message: "that message is on its way already" }));
      if (this.items.length >= ITEMS_MAX) return reject(new EdgewayError("overflow", { retryable: true }));
      // Given up: whether it arrived is not known if it was under way.
      const giveUp = (/** @type {string} */ code) => this.#fail(id, new EdgewayError(code, { retryable: true, unknownOutcome: true }));
      const timer = Number.isFinite(timeoutMs) ? setTimeout(giveUp, timeoutMs, "timeout") : undefined;
      const abort = () => {
        const error = aborted(signal);
        error.unknownOutcome = this.#lanes.has(item.dialog_id);
        this.#fail(id, error);
        this.discard(id);
      };
      signal?.addEventListener("abort", abort, { once: true });
      const done = (/** @type {(value: any) => void} */ settle) => (/** @type {any} */ value) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        settle(value);
      };
      this.#waiters.set(id, { resolve: done(resolve), reject: done(reject) });
      this.items.push(item);
      this.#owner.changed(item);
      this.flush();
    });
  }

  /** Sends a message that has failed once more; the same message, whatever happened to it. @param {string} id */
  retry(id) {
    const item = this.#find(id);
    if (item?.state !== "failed") return;
    item.state = "pending";
    delete item.code;
    this.#owner.changed(item);
    this.flush();
  }

  /** @param {string} id */
  discard(id) {
    this.items = this.items.filter((item) => item.client_message_id !== id);
    this.#reject(id, new EdgewayError("aborted"));
  }

  /** It is there: answered, or come back as an event, which is often faster. @param {string} id @param {any} reply */
  settle(id, reply) {
    const item = this.#find(id);
    if (!item) return;
    this.items = this.items.filter((other) => other !== item);
    this.#waiters.get(id)?.resolve(reply);
    this.#waiters.delete(id);
    this.#owner.changed({ ...item, reply });
  }

  /** Sends what waits. In each dialog one after the other, so that trying again doesn't change their order. */
  flush() {
    for (const { dialog_id: dialog, state } of this.items) {
      if (state === "pending" && !this.#lanes.has(dialog)) this.#run(dialog);
    }
  }

  /** @param {EdgewayError} error for those who wait; the messages stay */
  close(error) {
    for (const id of [...this.#waiters.keys()]) this.#reject(id, error);
  }

  /** @param {string} dialog */
  async #run(dialog) {
    this.#lanes.add(dialog);
    let tries = 0;
    /** @type {OutboxItem | undefined} */
    let item;
    while ((item = this.items.find((next) => next.dialog_id === dialog && next.state === "pending"))) {
      const { state, code, ...fields } = item;
      try {
        const { message_id, seq, created_at, duplicate } = await this.#owner.send({ type: "send_message", ...fields });
        this.settle(item.client_message_id, { message_id, seq, created_at, duplicate });
        tries = 0;
      } catch (thrown) {
        const error = /** @type {EdgewayError} */ (thrown);
        if (error.code === "network" || error.code === "closed") break; // it goes up again after the next attach
        tries += 1;
        if (error.retryable && tries < TRIES_MAX) {
          await pause(Math.max(error.retryAfterMs ?? 0, backoffMs(tries - 1, this.#owner.timing)));
        } else {
          this.#fail(item.client_message_id, error);
          tries = 0;
        }
      }
    }
    this.#lanes.delete(dialog);
  }

  /** @param {string} id @param {EdgewayError} error */
  #fail(id, error) {
    const item = this.#find(id);
    if (item?.state === "pending") {
      Object.assign(item, { state: "failed", code: error.code });
      this.#owner.changed(item);
    }
    this.#reject(id, error);
  }

  /** @param {string} id @param {EdgewayError} error */
  #reject(id, error) {
    this.#waiters.get(id)?.reject(error);
    this.#waiters.delete(id);
  }

  /** @param {string} id */
  #find(id) {
    return this.items.find((item) => item.client_message_id === id);
  }
}
