// WebSocket. A page can't set headers on an upgrade, so the token travels in the first frame.

const WATCH_EVERY_MS = 1000;
/** Until `welcome` says better: silence after which we ask for a pong. Pages don't see the protocol's own pings. */
const PING_MS = 25_000;
/** When there is a reason for doubt. */
const QUICK_PONG_MS = 3000;

/**
 * @param {import("./wire.d.ts").Host} host
 * @param {import("./wire.d.ts").Timing} timing
 * @returns {import("./wire.d.ts").Link}
 */
export function openWebSocket(host, timing) {
  if (!host.WebSocket) {
    queueMicrotask(() => host.end({ message: "no WebSocket here" }));
    return { send() {}, check() {}, close() {} };
  }
  const url = new URL("v1/ws", host.base);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new host.WebSocket(url.href, ["edgeway.v1"]);
  let pingMs = PING_MS;
  let seenAt = Date.now();
  /** By when something must have come; 0 if nothing was asked. */
  let deadline = 0;

  const send = (/** @type {import("./wire.d.ts").Frame} */ frame) => {
    if (socket.readyState !== 1) return;
    socket.send(JSON.stringify(frame));
    host.sent(frame);
  };
  const ping = (/** @type {number} */ patienceMs) => {
    deadline = Date.now() + patienceMs;
    send({ type: "ping" });
  };
  const watch = setInterval(() => {
    const now = Date.now();
    if (deadline && now > deadline) return end({ message: "no pong", now: true });
    if (!deadline && now - seenAt > pingMs) ping(timing.pong);
  }, WATCH_EVERY_MS);
  const close = () => {
    clearInterval(watch);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  };
  const end = (/** @type {import("./wire.d.ts").End} */ why) => {
    close();
    host.end(why);
  };

  socket.onopen = () => {
    send({ type: "hello", token: host.token(), ...host.attach() });
  };
  socket.onmessage = ({ data }) => {
    seenAt = Date.now();
    deadline = 0;
    const welcomed = typeof data === "string" && /"ping_ms":(\d+)/.exec(data.slice(0, 2000));
    if (welcomed) pingMs = Number(welcomed[1]);
    host.frame(data);
  };
  socket.onclose = ({ code }) => end({ closeCode: code, message: `closed with ${code}` });
  socket.onerror = () => {}; // `close` follows

  return {
    send,
    close,
    check() {
      // Asked before the page fell asleep, or not at all: ask now, and don't wait for long.
      if (socket.readyState === 1) ping(QUICK_PONG_MS);
    },
  };
}
