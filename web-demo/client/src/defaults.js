// What is so unless somebody says otherwise.

/** @type {import("./wire.d.ts").Timing} */
export const TIMING = {
  wsWelcome: 1500,
  sseWelcome: 3000,
  attach: 10_000,
  probes: [30_000, 300_000, 900_000],
  sseSilence: 35_000,
  pong: 10_000,
  reply: 15_000,
  backoffFirst: 500,
  backoffMax: 30_000,
};

/** @type {import("./wire.d.ts").Limits} the protocol's; an attach tells the server's */
export const LIMITS = {
  frame_bytes: 65_536,
  body_bytes: 16_384,
  text_chars: 4096,
  attachments: 10,
  subscriptions: 1000,
  batch_commands: 64,
  typing_every_ms: 3000,
  typing_expires_ms: 6000,
  typing_max_members: 200,
};
