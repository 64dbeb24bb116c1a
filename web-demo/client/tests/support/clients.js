// Clients for tests: short patience, everything noted, closed at the end.

import WebSocket from "ws";

import { EdgewayClient } from "../../src/index.js";

/** The same behaviour as in production, sooner. */
export const QUICK = { wsWelcome: 400, sseWelcome: 500, attach: 3000, probes: [300, 600, 900], backoffFirst: 50, backoffMax: 400 };

/** @param {{ after: (run: () => any) => void }} t @param {any} server @param {string} user @param {any} [options] */
export function clientOf(t, server, user, { ttl, url = server.url, ...options } = {}) {
  const client = new EdgewayClient({ url, token: server.tokensOf(user, ttl), WebSocket, timing: QUICK, ...options });
  const seen = [];
  const states = [];
  client.on("message_new", ({ message }) => seen.push(message));
  client.on("state", (state) => states.push(state));
  t.after(() => client.close());
  return Object.assign(client, { seen, states, texts: () => seen.map(({ body }) => body.text) });
}

/** The numbers 1 to `count` as texts. */
export const numbers = (count) => Array.from({ length: count }, (_, i) => String(i + 1));
