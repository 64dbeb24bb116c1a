// When a page should look after its connection at once: timers sleep in hidden tabs, and networks come and go.

/**
 * @param {(networkChanged: boolean) => void} wake
 * @param {() => void} hide the page may not come back: last chance to write things down
 * @returns {() => void} stops it
 */
export function watchPage(wake, hide) {
  if (typeof window === "undefined" || typeof document === "undefined") return () => {};
  const ears = new AbortController();
  const { signal } = ears;
  window.addEventListener("online", () => wake(true), { signal });
  window.addEventListener("pageshow", (event) => event.persisted && wake(true), { signal });
  window.addEventListener("pagehide", hide, { signal });
  document.addEventListener(
    "visibilitychange",
    () => (document.visibilityState === "visible" ? wake(false) : hide()),
    { signal },
  );
  return () => ears.abort();
}
