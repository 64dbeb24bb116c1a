// What survives a reload: session, positions, and messages that are not sent yet.

import { Timers } from "./timers.js";

const SAVE_DELAY_MS = 100;
/** The very last state may not have been written: so many attaches may have happened since. */
const ATTACH_MARGIN = 1000;

export class Persistence {
  #storage;
  #connection;
  #ledger;
  #outbox;
  #timers = new Timers();
  /** @type {Promise<void> | null} */
  #loading = null;

  /**
   * @param {import("./wire.d.ts").Storage | undefined} storage
   * @param {import("./connection.js").Connection} connection
   * @param {import("./ledger.js").Ledger} ledger
   * @param {import("./outbox.js").Outbox} outbox
   */
  constructor(storage, connection, ledger, outbox) {
    this.#storage = storage;
    this.#connection = connection;
    this.#ledger = ledger;
    this.#outbox = outbox;
  }

  /** Reads what there is, once. What can't be read is as good as nothing. */
  load() {
    return (this.#loading ??= this.#load().catch(() => {}));
  }

  soon() {
    if (this.#storage && !this.#timers.runs("save")) this.#timers.start("save", SAVE_DELAY_MS, () => this.now());
  }

  now() {
    this.#timers.cancel("save");
    const storage = this.#storage;
    if (!storage || !this.#loading) return; // nothing was read yet: nothing is overwritten
    const state = { ...this.#connection.saved, logs: this.#ledger.toJSON(), outbox: this.#outbox.items };
    // Full, or not allowed: the client goes on, only a reload will begin anew.
    new Promise((resolve) => resolve(storage.save(state))).catch(() => {});
  }

  async #load() {
    const { session, cursor, attach, logs, outbox } = (await this.#storage?.load()) ?? {};
    if (attach === undefined) return;
    Object.assign(this.#connection.saved, { session, cursor, attach: attach + ATTACH_MARGIN });
    this.#ledger.load(logs);
    this.#outbox.items.unshift(...(outbox ?? []));
  }
}
