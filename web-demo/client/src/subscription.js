// One dialog as an application sees it: events by listeners, or by `for await`.

import { Emitter } from "./emitter.js";
import { EdgewayError } from "./errors.js";

/** Events that wait for a `for await` loop. */
const WAITING_MAX = 1000;

/** @import { DialogEvent, DialogEvents, SubscribedDialog } from "./wire.d.ts" */

/** @extends {Emitter<DialogEvents>} */
export class Subscription extends Emitter {
  /** @type {DialogEvent[]} */
  #waiting = [];
  /** @type {(() => void) | null} */
  #wake = null;
  #isIterated = false;
  /** @type {EdgewayError | null} */
  #error = null;
  #isOver = false;
  #leave;
  /** @type {(entry: any) => void} */
  #resolve = () => {};
  /** @type {(error: EdgewayError) => void} */
  #reject = () => {};

  /**
   * @param {string | null} dialogId null: all dialogs of the user
   * @param {import("./wire.d.ts").SubscribeOptions} options
   * @param {(subscription: Subscription) => void} leave
   */
  constructor(dialogId, options, leave) {
    super();
    this.#leave = leave;
    this.dialogId = dialogId;
    this.options = options;
    /** Whether the session follows it, as far as we were told. */
    this.isFollowed = false;
    /** What the server answered (an array for all dialogs); rejects when it refused. @type {Promise<any>} */
    this.ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ready.catch(() => {});
  }

  /** Stops following. */
  close() {
    this.#leave(this);
  }

  /** @param {DialogEvent} event */
  deliver(event) {
    this.emit("event", event);
    this.emit(/** @type {any} */ (event.type), event);
    if (this.isHeard && !this.#isIterated) return; // listeners have it
    this.#waiting.push(event);
    if (this.#waiting.length > WAITING_MAX) this.end(new EdgewayError("overflow", { message: "events were not read" }));
    this.#wake?.();
  }

  /** @param {SubscribedDialog | SubscribedDialog[]} entry */
  follow(entry) {
    this.isFollowed = true;
    this.#resolve(entry);
  }

  /** No more events. @param {EdgewayError | null} [error] for those who wait */
  end(error = null) {
    this.#isOver = true;
    this.#error ??= error;
    this.#reject(error ?? new EdgewayError("closed"));
    this.#wake?.();
  }

  /** @returns {AsyncGenerator<DialogEvent, void, undefined>} */
  async *[Symbol.asyncIterator]() {
    this.#isIterated = true;
    try {
      for (;;) {
        const event = this.#error?.code === "overflow" ? undefined : this.#waiting.shift();
        if (event) yield event;
        else if (this.#error) throw this.#error;
        else if (this.#isOver) return;
        else await new Promise((resolve) => (this.#wake = () => resolve(null)));
      }
    } finally {
      this.#isIterated = false;
      this.#waiting = [];
    }
  }
}
