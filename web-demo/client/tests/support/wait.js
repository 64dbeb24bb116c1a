// Waiting for something to be so, with a deadline: never for a time to pass.

const PATIENCE_MS = 10_000;

/** Resolves when `look()` is truthy, with what it gave. @template T @param {() => T | Promise<T>} look @returns {Promise<T>} */
export async function until(look, what = look.toString(), patienceMs = PATIENCE_MS) {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The next event of a client that passes. */
export function next(emitter, type, passes = () => true, patienceMs = PATIENCE_MS) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      off();
      reject(new Error(`no ${type} in time`));
    }, patienceMs);
    const off = emitter.on(type, (value) => {
      if (!passes(value)) return;
      clearTimeout(timer);
      off();
      resolve(value);
    });
  });
}
