// Places where session, positions and outbox survive a reload.

/** How long a page that is being left may hold on to its state. */
const HANDOVER_MS = 1000;

/**
 * Keeps the state in `sessionStorage` (a tab's own) or `localStorage` (survives the browser). One page at a time: a
 * second one with the same key gets nothing and keeps nothing, so that two tabs don't fight for a session.
 *
 * @param {string} key
 * @param {globalThis.Storage} [area]
 * @returns {import("./wire.d.ts").Storage}
 */
export function webStorage(key, area = sessionStorage) {
  let isOurs = false;
  return {
    async load() {
      isOurs = await holdLock(`edgeway ${key}`);
      return isOurs ? JSON.parse(area.getItem(key) ?? "null") : null;
    },
    save(state) {
      if (isOurs) area.setItem(key, JSON.stringify(state));
    },
  };
}

/** Holds a lock for as long as the page lives. @param {string} name @returns {Promise<boolean>} */
function holdLock(name) {
  const { locks } = navigator;
  if (!locks) return Promise.resolve(true); // not a secure page: without the safeguard
  return new Promise((resolve) => {
    const signal = AbortSignal.timeout(HANDOVER_MS);
    const hold = () => {
      resolve(true);
      return new Promise(() => {});
    };
    locks.request(name, { signal }, hold).catch(() => resolve(false));
  });
}
