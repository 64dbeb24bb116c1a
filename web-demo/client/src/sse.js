// Server-sent events by fetch: unlike EventSource it can set the Authorization header and present the newest cursor.

import { get, endOf } from "./http.js";
import { commandPoster } from "./post.js";
import { SseParser } from "./sse-parser.js";

/** More than the server's heartbeat, 15 s: a stream that was silent so long may be dead. */
const DOUBT_MS = 16_000;

/**
 * @param {import("./wire.d.ts").Host} host
 * @param {import("./wire.d.ts").Timing} timing
 * @returns {import("./wire.d.ts").Link}
 */
export function openEventStream(host, timing) {
  const aborter = new AbortController();
  const { signal } = aborter;
  let seenAt = Date.now();

  const end = (/** @type {import("./wire.d.ts").End} */ why) => {
    if (signal.aborted) return;
    close();
    host.end(why);
  };
  const watch = setInterval(() => {
    if (Date.now() - seenAt > timing.sseSilence) end({ message: "the stream fell silent", now: true });
  }, 1000);
  const close = () => {
    clearInterval(watch);
    aborter.abort();
  };

  const run = async () => {
    const response = await get(host, "v1/sse", host.attach(), signal);
    if (response.status !== 200) return end(await endOf(response));
    const isStream = response.headers.get("Content-Type")?.startsWith("text/event-stream");
    if (!isStream || !response.body) return end({ message: "not an event stream" });
    const parser = new SseParser((data) => signal.aborted || host.frame(data));
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      seenAt = Date.now();
      parser.push(decoder.decode(value, { stream: true }));
    }
    end({ message: "the stream ended" });
  };
  run().catch((error) => end({ message: error.message }));

  return {
    send: commandPoster(host, signal, end),
    close,
    check(changed) {
      if (changed || Date.now() - seenAt > DOUBT_MS) end({ message: "the network has changed", now: true });
    },
  };
}
