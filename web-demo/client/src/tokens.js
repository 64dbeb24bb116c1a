// The token of now: fetched once for all who need it, and anew before it ends.

import { EdgewayError } from "./errors.js";

const FETCH_MAX_MS = 15_000;
/** A token that lives shorter than this is not worth attaching with. */
const TOO_OLD_MS = 5_000;
/** So long before its end a token is renewed. */
const AHEAD_MS = 60_000;

export class Tokens {
  #source;
  #token = "";
  #endsAt = Infinity;
  /** @type {Promise<string> | null} */
  #fetching = null;

  /** @param {() => string | Promise<string>} source */
  constructor(source) {
    this.#source = source;
  }

  get current() {
    return this.#token;
  }

  /** Milliseconds until it should be renewed. */
  get dueMs() {
    const leftMs = this.#endsAt - Date.now();
    return leftMs - Math.min(AHEAD_MS, leftMs / 2);
  }

  /** A token that will do for an attach. */
  async good() {
    return this.#token && this.#endsAt - Date.now() > TOO_OLD_MS ? this.#token : this.renew();
  }

  /** A new one; whoever asks meanwhile shares it. */
  renew() {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = null;
    });
    return this.#fetching;
  }

  /** The server has refused it. */
  forget() {
    this.#token = "";
  }

  /** What the server says of it; our clock may be wrong, so its own counts. @param {{ token_expires_at?: string, server_time?: string }} told */
  learn({ token_expires_at: end = "", server_time: now = "" }) {
    const endsAt = Date.parse(end) - (Date.parse(now) || Date.now()) + Date.now();
    if (!Number.isNaN(endsAt)) this.#endsAt = endsAt;
  }

  async #fetch() {
    let timer;
    try {
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error("the token took too long")), FETCH_MAX_MS);
      });
      this.#token = /** @type {string} */ (await Promise.race([this.#source(), late]));
      this.#endsAt = Infinity;
      return this.#token;
    } catch (cause) {
      if (cause instanceof EdgewayError) throw cause;
      throw new EdgewayError("token", { message: `no token: ${/** @type {any} */ (cause)?.message}`, retryable: true, cause });
    } finally {
      clearTimeout(timer);
    }
  }
}
