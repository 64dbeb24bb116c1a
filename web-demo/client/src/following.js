// Which dialogs are wanted, and which the session follows: the one is made the other after every attach.

import { backoffMs } from "./advice.js";
import { EdgewayError } from "./errors.js";
import { Timers } from "./timers.js";

/** @import { DialogEvent, SubscribedDialog, SubscribeOptions, Timing } from "./wire.d.ts" */
/** @import { Subscription } from "./subscription.js" */

const SUBSCRIBE_MAX_DIALOGS = 200;
/** Of a dialog that was refused: it may be otherwise later. */
const PASSING = ["unavailable", "timeout", "internal", "overloaded", "rate_limited", "draining"];
/** The name of all dialogs. */
export const ALL = "";

export class Following {
  /** By dialog, or {@link ALL}. @type {Map<string, Subscription>} */
  #wanted = new Map();
  /** Dialogs that are followed because all are. @type {Set<string>} */
  #members = new Set();
  #isAsking = false;
  #timers = new Timers();
  #owner;

  /**
   * @param {{
   *   ask: (command: import("./wire.d.ts").Frame) => Promise<any>,
   *   isOnline: () => boolean,
   *   ledger: import("./ledger.js").Ledger,
   *   answered: (entry: SubscribedDialog) => void,
   *   timing: Timing,
   * }} owner
   */
  constructor(owner) {
    this.#owner = owner;
  }

  /** @param {Subscription} subscription takes the place of an older one */
  add(subscription) {
    const name = subscription.dialogId ?? ALL;
    this.#wanted.get(name)?.end();
    this.#wanted.set(name, subscription);
    queueMicrotask(() => this.reconcile()); // those of one go travel in one command
  }

  /** @param {Subscription} subscription @returns {boolean} whether it was wanted */
  remove(subscription) {
    const name = subscription.dialogId ?? ALL;
    subscription.end();
    return this.#wanted.get(name) === subscription && this.#wanted.delete(name);
  }

  /** All is over. */
  clear() {
    this.#timers.cancelAll();
    for (const subscription of this.#wanted.values()) subscription.end();
    this.#wanted.clear();
  }

  /** A new session follows nothing. */
  reset() {
    for (const subscription of this.#wanted.values()) subscription.isFollowed = false;
  }

  /** @param {DialogEvent} event */
  deliver(event) {
    const { dialog_id: dialog } = event;
    if (dialog) this.#wanted.get(dialog)?.deliver(event);
    this.#wanted.get(ALL)?.deliver(event);
  }

  /** The user has joined or left. @param {string} dialog @param {"added" | "removed"} change */
  membership(dialog, change) {
    const subscription = this.#wanted.get(dialog);
    if (subscription) subscription.isFollowed = false;
    if (change === "removed") return this.#members.delete(dialog);
    // Followed by itself if all are; asked for to know the log's epoch.
    if (this.#wanted.has(ALL)) this.#members.add(dialog);
    return this.reconcile([dialog]);
  }

  /** Makes the session follow what is wanted. @param {string[]} [joined] dialogs to ask about */
  async reconcile(joined = []) {
    if (this.#isAsking || !this.#owner.isOnline()) return;
    this.#isAsking = true;
    let isPassing = false;
    try {
      for (const { options, dialogs } of this.#groups(joined)) {
        for (let i = 0; i < dialogs.length; i += SUBSCRIBE_MAX_DIALOGS) {
          const some = dialogs.slice(i, i + SUBSCRIBE_MAX_DIALOGS);
          isPassing = (await this.#ask({ dialogs: some }, options)) || isPassing;
        }
      }
      const all = this.#wanted.get(ALL);
      if (all && !all.isFollowed) isPassing = (await this.#ask({ all: true }, all.options)) || isPassing;
    } catch (thrown) {
      const { code, retryable } = /** @type {EdgewayError} */ (thrown);
      if (code === "network") return; // the next attach does it
      isPassing = retryable;
      if (!retryable) for (const [name, { isFollowed }] of [...this.#wanted]) isFollowed || this.#refuse(name, code);
    } finally {
      this.#isAsking = false;
    }
    const isMore = [...this.#wanted.values()].some(({ isFollowed }) => !isFollowed);
    if (isPassing) this.#timers.start("again", backoffMs(2, this.#owner.timing), () => this.reconcile());
    else if (isMore) this.reconcile(); // it was wanted while we were asking
  }

  /** What is to be asked for, by its options. @param {string[]} joined */
  #groups(joined) {
    /** @type {Map<string, { options: SubscribeOptions, dialogs: any[] }>} */
    const groups = new Map();
    const add = (/** @type {string} */ dialog, /** @type {SubscribeOptions} */ options, goesOn = false) => {
      const { presence = false, typing = true, since } = options;
      const key = `${presence} ${typing}`;
      const group = groups.get(key) ?? { options: { presence, typing }, dialogs: [] };
      const from = goesOn ? undefined : (this.#owner.ledger.since(dialog) ?? since);
      group.dialogs.push(from ? { dialog_id: dialog, since: from } : dialog);
      groups.set(key, group);
    };
    for (const [name, { options, isFollowed }] of this.#wanted) {
      if (name !== ALL && !isFollowed) add(name, options);
    }
    const all = this.#wanted.get(ALL);
    if (all) {
      const members = all.isFollowed ? joined : [...this.#members];
      for (const dialog of members) if (!this.#wanted.has(dialog)) add(dialog, all.options, all.isFollowed);
    }
    return groups.values();
  }

  /**
   * @param {object} what
   * @param {SubscribeOptions} options
   * @returns {Promise<boolean>} whether something is to be tried again
   */
  async #ask(what, { presence = false, typing = true }) {
    const { dialogs, failed } = await this.#owner.ask({ type: "subscribe", ...what, presence, typing });
    for (const entry of /** @type {SubscribedDialog[]} */ (dialogs)) {
      this.#owner.ledger.begin(entry);
      if (this.#wanted.has(ALL)) this.#members.add(entry.dialog_id);
      this.#wanted.get(entry.dialog_id)?.follow(entry);
      this.#owner.answered(entry);
    }
    if ("all" in what) this.#wanted.get(ALL)?.follow(dialogs);
    const lasting = failed.filter((/** @type {any} */ { code }) => !PASSING.includes(code));
    for (const { dialog_id: dialog, code } of lasting) this.#refuse(dialog, code);
    return lasting.length < failed.length;
  }

  /** @param {string} name @param {string} code */
  #refuse(name, code) {
    this.#members.delete(name);
    this.#wanted.get(name)?.end(new EdgewayError(code));
    this.#wanted.delete(name);
  }
}
