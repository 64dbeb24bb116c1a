// Messages on their way up. One stays here, over reconnects and reloads, until the server has answered it; its
// client_message_id makes sending it again harmless.

import { backoffMs } from "./backoff.js";
import { pause } from "./timers.js";

const WAITING_MAX = 200;
/** Answers of the kind "try again" that one message takes before a person has to decide. */
const TRIES_MAX = 10;

export class Outbox {
  #items;
  #request;
  #changed;
  #busy = false;

  /**
   * @param saved items of an earlier page
   * @param request sends a command and promises its reply
   * @param changed called with an item whose `state` (`pending`, `sent`, `failed`) is new
   */
  constructor(saved, request, changed) {
    this.#items = (saved ?? []).map((item) => ({ ...item, tries: 0 }));
    this.#request = request;
    this.#changed = changed;
  }

  toJSON() {
    return this.#items.map(({ reply, ...item }) => item);
  }

  get items() {
    return [...this.#items];
  }

  /** The new item, or null when too many are waiting. */
  add(dialog, text) {
    if (this.#items.length >= WAITING_MAX) return null;
    const item = { id: randomId(), dialog_id: dialog, body: { text }, state: "pending", tries: 0 };
    this.#items.push(item);
    this.#changed(item);
    return item;
  }

  retry(id) {
    const item = this.#items.find((candidate) => candidate.id === id);
    if (!item || item.state !== "failed") return;
    Object.assign(item, { state: "pending", tries: 0, code: undefined });
    this.#changed(item);
  }

  discard(id) {
    this.#items = this.#items.filter((item) => item.id !== id);
  }

  /** Our own message came back as an event: as good as an answer, and often faster. */
  settle(id, message) {
    const item = this.#items.find((candidate) => candidate.id === id);
    if (!item) return;
    this.discard(id);
    item.state = "sent";
    item.reply = message;
    this.#changed(item);
  }

  /**
   * Sends what waits, one after the other: the next goes up only when the one before is settled, so that no retry
   * changes the order. Returns when nothing is left or the connection is gone.
   */
  async flush() {
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let item; (item = this.#items.find(({ state }) => state === "pending")); ) {
        if (!(await this.#deliver(item))) break;
      }
    } finally {
      this.#busy = false;
    }
  }

  async #deliver(item) {
    const { id, dialog_id, body } = item;
    try {
      const reply = await this.#request({ type: "send_message", dialog_id, client_message_id: id, body });
      this.settle(id, reply);
    } catch (error) {
      if (error.code === "network") return false; // unanswered: it goes up again after the next attach
      item.tries += 1;
      if (error.retryable && item.tries < TRIES_MAX) {
        await pause(Math.max(error.retry_after_ms ?? 0, backoffMs(item.tries - 1)));
      } else if (item.state === "pending") {
        item.state = "failed";
        item.code = error.code;
        this.#changed(item);
      }
    }
    return true;
  }
}

export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
