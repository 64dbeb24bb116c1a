// What comes in: news is passed on once, and a gap is made up for from the history.

import { isControl, isEphemeral } from "./frames.js";

const REFILL_PAGE = 200;
/** Pages of history that are asked for after a gap. */
const REFILL_PAGES_MAX = 5;

/** @import { DialogEvent, Frame, HistoryReply, Message } from "./wire.d.ts" */

export class Inbox {
  #owner;
  /** Messages that came while a gap of their dialog is being made up for. @type {Map<string, Set<string>>} */
  #refills = new Map();

  /**
   * @param {{
   *   ledger: import("./ledger.js").Ledger,
   *   replied: (frame: Frame) => void,
   *   deliver: (event: DialogEvent) => void,
   *   arrived: (message: Message) => void,
   *   membership: (dialog: string, change: "added" | "removed") => void,
   *   history: (dialog: string, options: { afterSeq: number, limit: number }) => Promise<HistoryReply>,
   * }} owner
   */
  constructor(owner) {
    this.#owner = owner;
  }

  /** @param {Frame} frame */
  take(frame) {
    const { type, dialog_id: dialog, feed, change } = frame;
    if (isControl(type)) return this.#owner.replied(frame);
    const { ledger } = this.#owner;
    const lastSeq = dialog ? (ledger.position(dialog)?.seq ?? 0) : 0;
    if (!isEphemeral(type) && !ledger.enter(frame)) return;
    if (type === "message_new") {
      this.#refills.get(dialog)?.add(frame.message.message_id);
      this.#owner.arrived(frame.message);
    }
    this.#owner.deliver(/** @type {DialogEvent} */ (/** @type {unknown} */ (frame)));
    if (type === "gap" && !frame.messages_restored && lastSeq > 0) this.#refill(dialog, lastSeq);
    if (type === "membership" && feed === "user") this.#owner.membership(dialog, change);
  }

  /** A gap came without its messages: history has them. @param {string} dialog @param {number} after */
  async #refill(dialog, after) {
    if (this.#refills.has(dialog)) return;
    const arrived = new Set();
    this.#refills.set(dialog, arrived);
    try {
      for (let page = 0; page < REFILL_PAGES_MAX; page += 1) {
        const { messages, has_more } = await this.#owner.history(dialog, { afterSeq: after, limit: REFILL_PAGE });
        for (const message of messages) {
          after = Math.max(after, message.seq);
          if (arrived.has(message.message_id) || !this.#owner.ledger.restore(message)) continue;
          this.#owner.deliver({ type: "message_new", dialog_id: dialog, message, restored: true });
        }
        if (!has_more) break;
      }
    } catch {
      // The gap itself was told; what else there is, the application's own `history` shows.
    }
    this.#refills.delete(dialog);
  }
}
