// The three carriages. Each opens with `open(link)` and gives back `{send(command), close()}`; the same JSON objects
// travel on all of them, so everything else in the demo doesn't know which one it is on.
//
// `link` is what a transport needs from the client:
//   token()               the bearer token of now
//   renewToken()          fetches a new one
//   session()             the session's id, once attached
//   nextAttach()          {session?, cursor?, attach}: raises the attach counter, which every attach must
//   onFrame(frame)        a frame from the server, replies included
//   onAttached(details)   the poll's `resume`, where there is no `welcome` to tell it
//   onCursor(cursor)      a batch has been handled up to here
//   onSent(frame)         a frame to the server, for the log
//   onEnd(end)            over: {code?, closeCode?, status?, clean?, retryAfterMs?, message?}; at most once, never
//                         after close()

import { pause } from "./timers.js";

/** Silence on a socket after which we ask for a pong, until `welcome` says better. */
const PING_DEFAULT_MS = 25_000;
/** How long the pong may take. */
const PONG_WAIT_MS = 10_000;
/** Three heartbeats of the server. */
const STREAM_SILENCE_MAX_MS = 45_000;
const WATCH_EVERY_MS = 1_000;
const POLL_WAIT_MS = 25_000;
/** What a poll may take beyond its own wait. */
const POLL_GRACE_MS = 15_000;
/** An empty poll that came back faster than this did not wait: don't spin. */
const POLL_TOO_FAST_MS = 100;
const POLL_SPIN_PAUSE_MS = 1_000;
/** Below the protocol's 64, to stay far below its 64 KiB. */
const BATCH_MAX_COMMANDS = 16;
/** Longest line of an event stream that we'd collect. */
const STREAM_BUFFER_MAX_CHARS = 1_048_576;

export const TRANSPORTS = { ws: openWebSocket, sse: openEventStream, poll: openPoll };

// ---------------------------------------------------------------------------------------------------- WebSocket

function openWebSocket(link) {
  const url = new URL("/v1/ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, "edgeway.v1");
  let over = false;
  let lastError = null; // an error without `ref` is about the connection, and its close follows
  let pingMs = PING_DEFAULT_MS;
  let lastSeenAt = performance.now();
  let pingSentAt = null;

  const send = (frame) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    socket.send(JSON.stringify(frame));
    link.onSent(frame);
  };

  // Browsers don't show the protocol's own pings, so a dead link is noticed by asking.
  const watch = setInterval(() => {
    if (socket.readyState !== WebSocket.OPEN) return;
    const now = performance.now();
    if (pingSentAt !== null && now - pingSentAt > PONG_WAIT_MS) {
      finish({ message: "no pong" });
    } else if (pingSentAt === null && now - lastSeenAt > pingMs) {
      pingSentAt = now;
      send({ type: "ping" });
    }
  }, WATCH_EVERY_MS);

  const close = () => {
    over = true;
    clearInterval(watch);
    socket.close();
  };
  const finish = (end) => {
    if (over) return;
    close();
    link.onEnd(end);
  };

  socket.onopen = () => {
    // A browser can't set headers on an upgrade, so the token travels in the first frame.
    if (!over) send({ type: "hello", token: link.token(), ...link.nextAttach() });
  };
  socket.onmessage = (message) => {
    if (over) return;
    lastSeenAt = performance.now();
    pingSentAt = null;
    const frame = parsed(message.data);
    if (!frame) return;
    if (frame.type === "welcome" && frame.ping_ms) pingMs = frame.ping_ms;
    if (frame.type === "error" && frame.ref === undefined) lastError = frame;
    link.onFrame(frame);
  };
  socket.onclose = (event) => finish({ ...endOfError(lastError), closeCode: event.code });

  return { send, close };
}

// ------------------------------------------------------------------------------------------- Server-sent events

function openEventStream(link) {
  // Not an EventSource: that one can't set the Authorization header, nor present a newer cursor in its URL.
  const aborter = new AbortController();
  const { finish, close } = endingOnce(link, aborter);
  let lastSeenAt = performance.now();
  const watch = setInterval(() => {
    if (performance.now() - lastSeenAt > STREAM_SILENCE_MAX_MS) finish({ message: "the stream fell silent" });
  }, WATCH_EVERY_MS);
  aborter.signal.addEventListener("abort", () => clearInterval(watch));

  const run = async () => {
    const response = await fetch(attachUrl("/v1/sse", link.nextAttach()), {
      headers: { Authorization: `Bearer ${link.token()}`, Accept: "text/event-stream" },
      cache: "no-store",
      signal: aborter.signal,
    });
    if (response.status !== 200) return finish(await endOfResponse(response));
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      return finish({ message: "not an event stream" });
    }
    const parser = new EventStreamParser((data) => {
      const frame = parsed(data);
      if (frame && !aborter.signal.aborted) link.onFrame(frame);
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      lastSeenAt = performance.now();
      parser.push(value);
    }
    finish({ clean: true, retryAfterMs: parser.retryMs });
  };
  run().catch((error) => finish({ message: error.message }));

  return { send: commandPoster(link, aborter.signal, finish), close };
}

/** Reads `text/event-stream` (WHATWG HTML §9.2.6) as far as the gateway uses it: `data`, `retry`, comments. */
export class EventStreamParser {
  #buffer = "";
  #data = [];
  #onData;
  /** The last `retry` of the stream, in milliseconds. */
  retryMs = undefined;

  constructor(onData) {
    this.#onData = onData;
  }

  push(text) {
    this.#buffer += text;
    // A CR at the very end may be the first half of a CRLF: it waits for what follows.
    const lines = this.#buffer.split(/\r\n|\n|\r(?!$)/);
    this.#buffer = lines.pop();
    if (this.#buffer.length > STREAM_BUFFER_MAX_CHARS) throw new Error("a line of the stream is too long");
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === "") {
      const data = this.#data.join("\n");
      this.#data = [];
      if (data !== "") this.#onData(data);
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
    // `id` repeats the cursor inside the event; a comment has the empty field name.
  }
}

// ---------------------------------------------------------------------------------------------------- Long-poll

function openPoll(link) {
  const aborter = new AbortController();
  const { finish, close } = endingOnce(link, aborter);

  const run = async () => {
    // The first poll doesn't wait: it tells whether the session is still there.
    for (let waitMs = 0; ; waitMs = POLL_WAIT_MS) {
      const startedAt = performance.now();
      const body = await pollOnce(link, waitMs, aborter.signal);
      if (aborter.signal.aborted) return;
      if (body.end) return finish(body.end);
      const frames = framesOf(body);
      const welcomed = frames.some((frame) => frame.type === "welcome");
      const news = waitMs === 0 || (body.resume && body.resume !== "resumed");
      if (news && !welcomed) link.onAttached({ session: body.session, resume: body.resume ?? "resumed" });
      for (const frame of frames) {
        link.onFrame(frame);
        if (aborter.signal.aborted) return; // a goaway, or the page switched in the middle: the cursor stays behind
      }
      // Presenting it in the next poll is what acknowledges this batch, so it moves only now.
      if (body.cursor) link.onCursor(body.cursor);
      const idle = frames.length === 0 && waitMs > 0;
      if (idle && performance.now() - startedAt < POLL_TOO_FAST_MS) await pause(POLL_SPIN_PAUSE_MS);
      if (aborter.signal.aborted) return;
    }
  };
  run().catch((error) => finish({ message: error.message }));

  return { send: commandPoster(link, aborter.signal, finish), close };
}

async function pollOnce(link, waitMs, signal) {
  const url = attachUrl("/v1/poll", { ...link.nextAttach(), wait_ms: waitMs });
  const limit = AbortSignal.timeout(waitMs + POLL_GRACE_MS);
  const giveUp = new AbortController();
  for (const cause of [signal, limit]) cause.addEventListener("abort", () => giveUp.abort(), { once: true });
  const response = await fetch(url, {
    headers: { Authorization: `Bearer ${link.token()}` },
    cache: "no-store",
    signal: giveUp.signal,
  });
  return response.status === 200 ? response.json() : { end: await endOfResponse(response) };
}

function framesOf(body) {
  if (body.type === "welcome") return [body];
  const events = body.events ?? [];
  return body.welcome ? [body.welcome, ...events] : events;
}

// ------------------------------------------------------------------------------- Commands beside a one-way stream

/** Commands go up in order, one batch at a time; the replies come back through `onFrame` like on a socket. */
function commandPoster(link, signal, finish) {
  const queue = [];
  let busy = false;

  const pump = async () => {
    if (busy) return;
    busy = true;
    await null; // what is asked in one go travels in one batch
    while (queue.length > 0 && !signal.aborted) {
      const batch = queue.splice(0, BATCH_MAX_COMMANDS);
      const replies = await postBatch(link, batch, signal);
      if (signal.aborted) break;
      batch.forEach((command, i) => link.onFrame({ ...replies[i], ref: command.ref }));
      if (replies[0]?.code === "session_gone") finish({ code: "session_gone" });
    }
    busy = false;
  };

  return (command) => {
    queue.push(command);
    link.onSent(command);
    pump();
  };
}

async function postBatch(link, batch, signal, lastTry = false) {
  const failed = (error) => batch.map(() => ({ type: "error", retryable: true, ...error }));
  try {
    const url = new URL("/v1/commands", location.href);
    url.searchParams.set("session", link.session());
    const response = await fetch(url, {
      method: "POST",
      headers: { Authorization: `Bearer ${link.token()}`, "Content-Type": "application/json" },
      body: JSON.stringify(batch),
      signal,
    });
    if (response.status === 200) {
      const replies = (await response.json()).replies ?? [];
      return batch.map((_, i) => replies[i] ?? { type: "error", code: "internal", retryable: true });
    }
    const end = await endOfResponse(response);
    if (end.status === 401 && !lastTry) {
      await link.renewToken();
      return await postBatch(link, batch, signal, true);
    }
    const { code = "internal", message, retryAfterMs, retryable = end.status >= 500 } = end;
    return failed({ code, message, retryable, retry_after_ms: retryAfterMs });
  } catch (error) {
    return failed({ code: "network", message: error.message });
  }
}

// ------------------------------------------------------------------------------------------------- Small things

function endingOnce(link, aborter) {
  const close = () => aborter.abort();
  const finish = (end) => {
    if (aborter.signal.aborted) return;
    close();
    link.onEnd(end);
  };
  return { finish, close };
}

function attachUrl(path, parameters) {
  const url = new URL(path, location.href);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null) url.searchParams.set(name, value);
  }
  return url;
}

function endOfError(error) {
  if (!error) return {};
  const { code, message, retryable, retry_after_ms: retryAfterMs } = error;
  return { code, message, retryable, retryAfterMs };
}

async function endOfResponse(response) {
  const error = parsed(await response.text().catch(() => ""));
  const end = { ...endOfError(error), status: response.status };
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  if (end.retryAfterMs === undefined && Number.isFinite(seconds)) end.retryAfterMs = seconds * 1000;
  return end;
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
