// The token of a user, from the development issuer. A real page would ask its own backend.

/** A token that lives shorter than this is not worth attaching with. */
const TOO_OLD_MS = 10_000;
const FETCH_MAX_MS = 10_000;

export class Tokens {
  #user;
  #token = null;
  #expiresAt = 0;
  #fetching = null;

  constructor(user) {
    this.#user = user;
  }

  /** The token of now; `null` before the first. */
  get current() {
    return this.#token;
  }

  /** A token that will do for an attach. */
  async good() {
    return this.#token && this.#expiresAt - Date.now() > TOO_OLD_MS ? this.#token : this.renew();
  }

  /** Forgets the token: the server has refused it. */
  forget() {
    this.#token = null;
  }

  /** A new token; whoever asks meanwhile shares it. */
  renew() {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = null;
    });
    return this.#fetching;
  }

  async #fetch() {
    const response = await fetch("/dev/token", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user_id: this.#user }),
      signal: AbortSignal.timeout(FETCH_MAX_MS),
    });
    if (!response.ok) throw new Error(`the token issuer answered ${response.status}`);
    const { token, expires_at: expiresAt } = await response.json();
    this.#token = token;
    // A time that can't be read means: ask again only when told to.
    this.#expiresAt = Date.parse(expiresAt) || Infinity;
    return token;
  }
}
