// Which transport first: the one that is preferred, unless it has shown that it doesn't get through.

/** So many tries in a row without a frame, and a transport goes to the end. */
const MISSES_MAX = 3;

export class Ranking {
  /** @type {Map<string, number>} */
  #misses = new Map();

  /** @param {import("./wire.d.ts").TransportName[]} preferred */
  constructor(preferred) {
    this.preferred = preferred;
  }

  get order() {
    const gone = this.preferred.filter((name) => this.isDemoted(name));
    return [...this.preferred.filter((name) => !gone.includes(name)), ...gone];
  }

  /** @param {string} name */
  isDemoted(name) {
    return (this.#misses.get(name) ?? 0) >= MISSES_MAX;
  }

  /** Not one frame came this way while another transport got through. @param {string} name */
  missed(name) {
    this.#misses.set(name, (this.#misses.get(name) ?? 0) + 1);
  }

  /** @param {string} name */
  worked(name) {
    this.#misses.delete(name);
  }

  /** Whether `a` is preferred to `b`. @param {string} a @param {string} b */
  prefers(a, b) {
    const place = (/** @type {any} */ name) => this.preferred.indexOf(name);
    return place(a) >= 0 && (place(b) < 0 || place(a) < place(b));
  }
}
