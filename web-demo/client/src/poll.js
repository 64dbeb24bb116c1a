// Long-poll. Each request is an attach, and only the next one's cursor acknowledges what this one brought.

import { endOf, get } from "./http.js";
import { commandPoster } from "./post.js";
import { pause } from "./timers.js";

const WAIT_MS = 25_000;
/** What a poll may take beyond its own wait. */
const GRACE_MS = 10_000;
/** An empty answer that came faster than this did not wait: don't spin. */
const TOO_FAST_MS = 100;
const HELD_MS = 50;

/**
 * @param {import("./wire.d.ts").Host} host
 * @returns {import("./wire.d.ts").Link}
 */
export function openPoll(host) {
  const aborter = new AbortController();
  const { signal } = aborter;
  const close = () => aborter.abort();
  let askedAt = Date.now();

  const end = (/** @type {import("./wire.d.ts").End} */ why) => {
    if (signal.aborted) return;
    close();
    host.end(why);
  };

  const run = async () => {
    // The first doesn't wait: it tells whether the session is still there.
    for (let waitMs = 0; !signal.aborted; waitMs = WAIT_MS) {
      while (host.held()) await pause(HELD_MS);
      askedAt = Date.now();
      const patience = AbortSignal.any([signal, AbortSignal.timeout(waitMs + GRACE_MS)]);
      const response = await get(host, "v1/poll", { ...host.attach(), wait_ms: waitMs }, patience);
      if (response.status !== 200) return end(await endOf(response));
      const { session, resume, cursor, events } = await response.json();
      if (signal.aborted) return;
      if (typeof session !== "string" || !Array.isArray(events)) return end({ message: "not the answer of a gateway" });
      const isWelcomed = events[0]?.type === "welcome";
      if (waitMs === 0 && !isWelcomed) host.frame({ type: "welcome", session, resume });
      for (const event of events) {
        if (!signal.aborted) host.frame(event);
      }
      // Only now: all of the batch is here.
      if (!signal.aborted && cursor) host.frame({ type: "cursor", cursor });
      if (events.length === 0 && waitMs > 0 && Date.now() - askedAt < TOO_FAST_MS) await pause(1000);
    }
  };
  run().catch((error) => end({ message: error.message }));

  return {
    send: commandPoster(host, signal, end),
    close,
    check(changed) {
      if (changed || Date.now() - askedAt > WAIT_MS + GRACE_MS) end({ message: "the network has changed", now: true });
    },
  };
}
