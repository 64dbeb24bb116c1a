// Commands and their replies: matched by `ref`, sent again over the next connection, never waited for without end.

import { EdgewayError } from "./errors.js";

const WAITING_MAX = 500;
/** Below the 64 KiB that the gateway takes, with room for what goes around it. */
const COMMAND_MAX_CHARS = 60_000;

/**
 * @typedef {import("./wire.d.ts").Frame} Frame
 * @typedef {{ command: Frame, stays: boolean, resolve: (reply: any) => void, reject: (error: EdgewayError) => void }} Waiting
 */

export class Requests {
  /** In the order they were asked. @type {Map<string, Waiting>} */
  #waiting = new Map();
  #prefix = Math.random().toString(36).slice(2, 8);
  #last = 0;
  /** @type {((command: Frame) => void) | null} */
  #send = null;
  #replyMs;

  /** @param {number} replyMs how long a reply may take */
  constructor(replyMs) {
    this.#replyMs = replyMs;
  }

  /**
   * @param {Frame} command
   * @param {import("./wire.d.ts").CallOptions & { stays?: boolean }} [options] `stays`: waits for a connection, and is
   *   sent again over the next one. All commands may be repeated.
   * @returns {Promise<any>} the reply; rejects with an {@link EdgewayError}
   */
  ask(command, { signal, timeoutMs = this.#replyMs, stays = true } = {}) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(aborted(signal));
      if (!stays && !this.#send) return reject(new EdgewayError("network", { retryable: true }));
      if (this.#waiting.size >= WAITING_MAX) return reject(new EdgewayError("overflow", { retryable: true }));
      if (JSON.stringify(command).length > COMMAND_MAX_CHARS) return reject(new EdgewayError("too_large"));
      const ref = `${this.#prefix}.${++this.#last}`;
      const full = { ...command, ref };
      const give = (/** @type {EdgewayError} */ error) => this.#take(ref)?.reject(error);
      const late = () => give(new EdgewayError("timeout", { retryable: true, unknownOutcome: true }));
      const timer = Number.isFinite(timeoutMs) ? setTimeout(late, timeoutMs) : undefined;
      const abort = () => give(aborted(signal));
      signal?.addEventListener("abort", abort, { once: true });
      const done = (/** @type {(value: any) => void} */ settle) => (/** @type {any} */ value) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        settle(value);
      };
      this.#waiting.set(ref, { command: full, stays, resolve: done(resolve), reject: done(reject) });
      this.#send?.(full);
    });
  }

  /** A reply has come. False: nobody waits for it (any more). @param {Frame} frame */
  settle(frame) {
    const waiting = this.#take(frame.ref ?? "");
    if (!waiting) return false;
    if (frame.type === "error") waiting.reject(EdgewayError.of(frame));
    else waiting.resolve(frame);
    return true;
  }

  /** There is a connection: what waits goes up. @param {(command: Frame) => void} send */
  resume(send) {
    this.#send = send;
    for (const { command } of this.#waiting.values()) send(command);
  }

  /** There is none; what doesn't stay is over. @param {string} [code] `closed`: all is over */
  pause(code = "network") {
    this.#send = null;
    for (const [ref, { stays }] of this.#waiting) {
      if (stays && code === "network") continue;
      this.#take(ref)?.reject(new EdgewayError(code, { retryable: code === "network", unknownOutcome: true }));
    }
  }

  /** @param {string} ref */
  #take(ref) {
    const waiting = this.#waiting.get(ref);
    this.#waiting.delete(ref);
    return waiting;
  }
}

/** A name that nobody else has. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {AbortSignal} [signal] */
export function aborted(signal) {
  return new EdgewayError("aborted", { cause: signal?.reason });
}
