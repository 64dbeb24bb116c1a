// Events, typed by a map from name to value.

/** @template {Record<string, any>} Events */
export class Emitter {
  /** @type {Map<keyof Events, Set<(value: any) => void>>} */
  #listeners = new Map();

  /**
   * @template {keyof Events} K
   * @param {K} type
   * @param {(value: Events[K]) => void} listener
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {() => void} takes the listener off
   */
  on(type, listener, { signal } = {}) {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    const off = () => void listeners.delete(listener);
    signal?.addEventListener("abort", off, { once: true });
    return off;
  }

  /**
   * @template {keyof Events} K
   * @param {K} type
   * @param {Events[K]} value
   */
  emit(type, value) {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        // Its author should hear of it, and the connection must not suffer.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  get isHeard() {
    return [...this.#listeners.values()].some(({ size }) => size > 0);
  }
}
