// A fresh token for a session that goes on, ahead of the old one's end.

import { backoffMs } from "./advice.js";
import { pause } from "./timers.js";

/** A source of tokens that live for moments must not be asked all the time. */
const EVERY_MIN_MS = 1000;

export class Refresh {
  #tokens;
  #ask;
  #timing;
  #timers;
  #isRunning = false;

  /**
   * @param {import("./tokens.js").Tokens} tokens
   * @param {(command: import("./wire.d.ts").Frame) => Promise<any>} ask rejects when there is no connection
   * @param {import("./wire.d.ts").Timing} timing
   * @param {import("./timers.js").Timers} timers
   */
  constructor(tokens, ask, timing, timers) {
    this.#tokens = tokens;
    this.#ask = ask;
    this.#timing = timing;
    this.#timers = timers;
  }

  plan() {
    const { dueMs } = this.#tokens;
    if (dueMs < Infinity) this.#timers.start("refresh", Math.max(dueMs, EVERY_MIN_MS), () => this.run());
  }

  /** Until it is done, or `plan` or `run` is not called any more since the connection is another one. */
  async run() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let tries = 0; ; tries += 1) {
      try {
        const token = await this.#tokens.renew();
        this.#tokens.learn(await this.#ask({ type: "refresh", token }));
        this.plan();
        break;
      } catch (error) {
        // Without a connection the next attach takes the new token.
        if (/** @type {any} */ (error).code === "network" || tries > 5) break;
        await pause(backoffMs(tries, this.#timing));
      }
    }
    this.#isRunning = false;
  }
}
