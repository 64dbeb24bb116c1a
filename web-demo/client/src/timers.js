// Waiting, in one place.

const MS_MAX = 2 ** 31 - 1; // above it, timers fire at once

/** Timers by name: starting one again replaces it. */
export class Timers {
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #ids = new Map();

  /** @param {string} name @param {number} ms @param {() => void} run */
  start(name, ms, run) {
    this.cancel(name);
    const fire = () => {
      this.#ids.delete(name);
      run();
    };
    this.#ids.set(name, setTimeout(fire, Math.min(Math.max(ms, 0), MS_MAX)));
  }

  /** @param {string} name */
  runs(name) {
    return this.#ids.has(name);
  }

  /** @param {string} name */
  cancel(name) {
    clearTimeout(this.#ids.get(name));
    this.#ids.delete(name);
  }

  cancelAll() {
    for (const name of this.#ids.keys()) this.cancel(name);
  }
}

/** @param {number} ms @returns {Promise<void>} */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
