// Waiting, in one place.

/** Timers by name: starting one again replaces it. */
export class Timers {
  #ids = new Map();

  start(name, ms, run) {
    this.cancel(name);
    const id = setTimeout(() => {
      this.#ids.delete(name);
      run();
    }, ms);
    this.#ids.set(name, id);
  }

  runs(name) {
    return this.#ids.has(name);
  }

  cancel(name) {
    clearTimeout(this.#ids.get(name));
    this.#ids.delete(name);
  }

  cancelAll() {
    for (const name of [...this.#ids.keys()]) this.cancel(name);
  }
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
