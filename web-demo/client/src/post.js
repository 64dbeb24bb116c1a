// Commands beside a one-way transport: in order, one batch at a time; the replies come back like frames.

import { backoffMs } from "./advice.js";
import { endOf } from "./http.js";
import { pause } from "./timers.js";

const BATCH_MAX_COMMANDS = 32;
/** Of the 64 KiB that a batch may have. */
const BATCH_MAX_BYTES = 62_000;
const POST_MAX_MS = 20_000;
/** Up to this size a batch gets through although its page goes away; a browser has 64 KiB in all for such (Fetch, 5.7). */
const KEEPALIVE_MAX_CHARS = 4096;
const BACKOFF = { backoffFirst: 250, backoffMax: 5000 };

/**
 * @param {import("./wire.d.ts").Host} host
 * @param {AbortSignal} signal when the transport closes
 * @param {(end: import("./wire.d.ts").End) => void} end
 * @returns {(command: import("./wire.d.ts").Frame) => void}
 */
export function commandPoster(host, signal, end) {
  /** @type {import("./wire.d.ts").Frame[]} */
  const queue = [];
  let isBusy = false;
  let failures = 0;

  const pump = async () => {
    if (isBusy) return;
    isBusy = true;
    await null; // what is asked in one go travels in one batch
    while (queue.length > 0 && !signal.aborted) {
      const batch = nextBatch(queue);
      const outcome = await post(host, batch, signal);
      if (signal.aborted) return;
      if (outcome.replies) {
        queue.splice(0, batch.length);
        outcome.replies.forEach((reply, i) => host.frame({ ...reply, ref: batch[i]?.ref }));
        failures = 0;
      } else if (outcome.code === "session_gone") {
        return end(outcome);
      } else if (outcome.code === "token_expired" || (outcome.code === "unauthorized" && failures === 0)) {
        await host.renewToken().catch(() => {});
        failures += 1;
      } else if (outcome.code && outcome.retryable === false) {
        // All of it is refused: it would be again.
        for (const { ref } of queue.splice(0, batch.length)) host.frame({ ...outcome, type: "error", ref });
      } else {
        await pause(Math.max(outcome.retryAfterMs ?? 0, backoffMs(failures++, BACKOFF)));
      }
    }
    isBusy = false;
  };

  return (command) => {
    queue.push(command);
    host.sent(command);
    pump();
  };
}

/** @param {import("./wire.d.ts").Frame[]} queue */
function nextBatch(queue) {
  const batch = [];
  let bytes = 2;
  for (const command of queue) {
    bytes += new TextEncoder().encode(JSON.stringify(command)).length + 1;
    if (batch.length > 0 && (bytes > BATCH_MAX_BYTES || batch.length === BATCH_MAX_COMMANDS)) break;
    batch.push(command);
  }
  return batch;
}

/**
 * @param {import("./wire.d.ts").Host} host
 * @param {import("./wire.d.ts").Frame[]} batch
 * @param {AbortSignal} signal
 * @returns {Promise<import("./wire.d.ts").End & { replies?: import("./wire.d.ts").Frame[] }>}
 */
async function post(host, batch, signal) {
  const url = new URL("v1/commands", host.base);
  url.searchParams.set("session", host.session() ?? "");
  const body = JSON.stringify(batch);
  try {
    const response = await host.fetch(url, {
      method: "POST",
      headers: { Authorization: `Bearer ${host.token()}`, "Content-Type": "application/json" },
      body,
      keepalive: body.length <= KEEPALIVE_MAX_CHARS,
      signal: AbortSignal.any([signal, AbortSignal.timeout(POST_MAX_MS)]),
    });
    return response.status === 200 ? await response.json() : await endOf(response);
  } catch (error) {
    return { message: /** @type {any} */ (error).message };
  }
}
