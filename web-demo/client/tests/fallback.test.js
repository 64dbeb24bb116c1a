// What stands in between, and which transport gets through.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { clientOf, numbers, QUICK } from "./support/clients.js";
import { startEdgeway } from "./support/edgeway.js";
import { startProxy } from "./support/proxy.js";
import { next, until } from "./support/wait.js";

let server;
before(async () => (server = await startEdgeway({ env: { EDGEWAY__LIMITS__SENDS_PER_SECOND: "100", EDGEWAY__LIMITS__COMMANDS_PER_SECOND: "200" } })));
after(() => server.stop());

async function behind(t, settings = {}) {
  const proxy = Object.assign(await startProxy(server.url), settings);
  t.after(() => proxy.close());
  return proxy;
}

const on = (client, transport) => until(() => client.state.transport === transport, `on ${transport}`);

test("a WebSocket that is refused gives way to the event stream at once", async (t) => {
  const proxy = await behind(t, { ws: "refuse" });
  const client = clientOf(t, server, "ann", { url: proxy.url, timing: { ...QUICK, wsWelcome: 60_000 } });
  await client.connect();
  assert.equal(client.state.transport, "sse");
  assert.match(client.state.why, /ws did not get through/);
});

for (const ws of ["swallow", "hang"]) {
  test(`a WebSocket that opens and says nothing (${ws}) gives way after its patience`, async (t) => {
    const proxy = await behind(t, { ws });
    const client = clientOf(t, server, "ann", { url: proxy.url, timing: { ...QUICK, probes: [60_000] } });
    await client.connect();
    assert.equal(client.state.transport, "sse");
    await client.send(`quiet.${ws}`, { text: "still works" });
  });
}

test("an event stream that is held back gives way to long-poll", async (t) => {
  const proxy = await behind(t, { ws: "refuse", sse: "hold" });
  const client = clientOf(t, server, "ann", { url: proxy.url, timing: { ...QUICK, probes: [60_000] } });
  const room = client.subscribe("held");
  await client.connect();
  assert.equal(client.state.transport, "poll");
  await room.ready;
  await client.send("held", { text: "hello" });
  await until(() => client.texts().includes("hello"));
});

test("three tries without a frame demote a transport: the next round begins with another", async (t) => {
  const proxy = await behind(t, { ws: "hang" });
  const client = clientOf(t, server, "ann", { url: proxy.url, timing: { ...QUICK, attach: 450, probes: [60_000] } });
  await client.connect();
  for (let round = 2; round <= 4; round += 1) {
    proxy.requests.length = 0;
    proxy.cut();
    await until(() => client.state.state === "waiting");
    proxy.restore();
    await on(client, "sse");
    if (round <= 3) await until(() => proxy.requests.includes("UPGRADE /v1/ws"));
    // The WebSocket of this round has been given up.
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  assert.ok(!proxy.requests.includes("UPGRADE /v1/ws"), proxy.requests.join());
});

test("as soon as WebSocket works again the session moves back, and nothing is lost or repeated", async (t) => {
  const proxy = await behind(t, { ws: "refuse" });
  const reader = clientOf(t, server, "ann", { url: proxy.url });
  const writer = clientOf(t, server, "bob");
  const room = reader.subscribe("move");
  await Promise.all([reader.connect(), writer.connect(), room.ready]);
  assert.equal(reader.state.transport, "sse");
  const { session } = reader.position;
  const sending = Promise.all(numbers(40).map((text) => writer.send("move", { text })));
  proxy.ws = "pass";
  await on(reader, "ws");
  await sending;
  await until(() => reader.seen.length >= 40);
  assert.deepEqual(reader.texts(), numbers(40));
  assert.equal(reader.position.session, session);
  assert.equal(reader.stats.missing, 0);
});

test("a probe that swallows the session costs nothing but a moment", async (t) => {
  const proxy = await behind(t, { ws: "refuse" });
  const reader = clientOf(t, server, "ann", { url: proxy.url });
  const writer = clientOf(t, server, "bob");
  const room = reader.subscribe("swallowed");
  await Promise.all([reader.connect(), writer.connect(), room.ready]);
  proxy.ws = "swallow";
  await until(() => proxy.requests.filter((line) => line === "UPGRADE /v1/ws").length >= 2, "a probe went out");
  await Promise.all(numbers(10).map((text) => writer.send("swallowed", { text })));
  await until(() => reader.seen.length >= 10, "all are here", 15_000);
  assert.deepEqual(reader.texts(), numbers(10));
  assert.notEqual(reader.state.transport, "ws");
});

for (const from of ["ws", "sse", "poll"]) {
  for (const to of ["ws", "sse", "poll"].filter((name) => name !== from)) {
    test(`a live move from ${from} to ${to} loses and repeats nothing`, async (t) => {
      const reader = clientOf(t, server, "ann", { transports: [from] });
      const writer = clientOf(t, server, "bob");
      const dialog = `move.${from}.${to}`;
      const room = reader.subscribe(dialog);
      await Promise.all([reader.connect(), writer.connect(), room.ready]);
      const { session } = reader.position;
      const sending = Promise.all(numbers(30).map((text) => writer.send(dialog, { text })));
      await until(() => reader.seen.length >= 3);
      reader.use([to]);
      await on(reader, to);
      await sending;
      await until(() => reader.seen.length >= 30);
      assert.deepEqual(reader.texts(), numbers(30));
      assert.equal(reader.position.session, session);
      assert.equal(reader.stats.missing, 0);
    });
  }
}

test("moving to a better transport keeps the old one until the new one is welcomed", async (t) => {
  const reader = clientOf(t, server, "ann", { transports: ["sse", "poll"] });
  await reader.connect();
  reader.states.length = 0;
  reader.use(["ws", "sse", "poll"]);
  await on(reader, "ws");
  assert.deepEqual(reader.states.map(({ state }) => state), ["online"]);
  assert.match(reader.state.why, /moved from sse/);
});

test("a slow WebSocket that makes a second session beside the first gives it back", async (t) => {
  const proxy = await behind(t, {});
  const client = clientOf(t, server, "dora", { url: proxy.url, timing: { ...QUICK, wsWelcome: 0, probes: [60_000] } });
  await client.connect();
  await on(client, "ws");
  const { session } = client.position;
  // The session that is ours is the one that is carried on.
  await client.send("stray", { text: "one" });
  assert.equal(client.position.session, session);
  assert.equal(client.welcome.session, session);
});

test("frames that can't be understood are counted and skipped", async (t) => {
  const { default: WebSocket } = await import("ws");
  class Noisy extends WebSocket {
    set onmessage(listener) {
      super.onmessage = listener && ((event) => {
        for (const data of ["{", "null", "[]", '{"type":7}', '{"type":"message_new","offset":"1"}', '{"type":"message_new","dialog_id":"d","offset":1}']) {
          if (event.data.includes("welcome")) continue;
          listener({ data });
        }
        listener(event);
      });
    }
  }
  const client = clientOf(t, server, "ann", { transports: ["ws"], WebSocket: Noisy });
  const room = client.subscribe("noise");
  await client.connect();
  await room.ready;
  assert.equal(client.stats.skipped, 6);
  const arrived = next(room, "message_new");
  await client.send("noise", { text: "clear" });
  assert.equal((await arrived).message.body.text, "clear");
});
