// What a client survives: cuts, restarts, ends of sessions and tokens, reloads.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { clientOf, numbers, QUICK } from "./support/clients.js";
import { startEdgeway } from "./support/edgeway.js";
import { startProxy } from "./support/proxy.js";
import { next, until } from "./support/wait.js";

let server;
before(async () => (server = await startEdgeway()));
after(() => server.stop());

for (const transport of ["ws", "sse", "poll"]) {
  test(`${transport}: what is said during a cut comes after it, once`, async (t) => {
    const proxy = await startProxy(server.url);
    t.after(() => proxy.close());
    const reader = clientOf(t, server, "ann", { url: proxy.url, transports: [transport] });
    const writer = clientOf(t, server, "bob");
    const dialog = `cut.${transport}`;
    const room = reader.subscribe(dialog);
    await Promise.all([reader.connect(), writer.connect(), room.ready]);
    const sending = Promise.all(numbers(12).map((text) => writer.send(dialog, { text })));
    await until(() => reader.seen.length >= 2);
    proxy.cut();
    await until(() => reader.state.state === "waiting");
    const own = reader.send(dialog, { text: "from the tunnel" });
    await sending;
    assert.equal(reader.outbox[0].state, "pending");
    proxy.restore();
    await own;
    await until(() => reader.seen.length >= 13);
    assert.deepEqual(reader.texts(), [...numbers(12), "from the tunnel"]);
    assert.deepEqual([reader.stats.missing, reader.outbox.length], [0, 0]);
  });

  test(`${transport}: a session that is gone is followed by a new one that goes on from the same place`, async (t) => {
    const reader = clientOf(t, server, "ann", { transports: [transport] });
    const writer = clientOf(t, server, "bob");
    const dialog = `gone.${transport}`;
    const room = reader.subscribe(dialog);
    await Promise.all([reader.connect(), writer.connect(), room.ready]);
    await writer.send(dialog, { text: "1" });
    await until(() => reader.seen.length === 1);
    const { session } = reader.position;
    const attached = next(reader, "attached");
    const token = await server.tokensOf("ann")();
    const [ended] = await Promise.all([
      fetch(`${server.url}/v1/sessions/${session}`, { method: "DELETE", headers: { Authorization: `Bearer ${token}` } }),
      writer.send(dialog, { text: "2" }),
    ]);
    assert.equal(ended.status, 204);
    assert.equal((await attached).fresh, true);
    await writer.send(dialog, { text: "3" });
    await until(() => reader.seen.length >= 3);
    assert.deepEqual(reader.texts(), ["1", "2", "3"]);
    assert.notEqual(reader.position.session, session);
  });

  test(`${transport}: a token is renewed ahead of its end, and nobody notices`, async (t) => {
    let fetched = 0;
    const source = server.tokensOf("ann", 6);
    const token = () => ((fetched += 1), source());
    const client = clientOf(t, server, "ann", { transports: [transport], token });
    await client.connect();
    const attaches = client.stats.attaches;
    await until(() => fetched >= 2, "the token was renewed");
    await client.send(`token.${transport}`, { text: "still here" });
    assert.equal(client.stats.attaches, attaches);
    assert.ok(fetched < 6, `${fetched} tokens were fetched`);
  });
}

test("an expired token is replaced at an attach, and refused ones are not tried for ever", async (t) => {
  let fetched = 0;
  const bad = clientOf(t, server, "ann", { token: () => ((fetched += 1), "no.such.token") });
  await assert.rejects(bad.connect(), { code: "unauthorized", retryable: false });
  assert.ok(fetched <= 4, `${fetched} tokens`);
  assert.equal(bad.state.state, "closed");
});

test("a source of tokens that fails is asked again, later", async (t) => {
  let asked = 0;
  const source = server.tokensOf("ann");
  const token = async () => {
    if ((asked += 1) < 3) throw new Error("the backend is down");
    return source();
  };
  const client = clientOf(t, server, "ann", { token });
  await client.connect();
  assert.equal(asked, 3);
});

test("a restarted server that kept its messages: nothing said is lost, the outbox goes up once", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "edgeway-client-"));
  t.after(() => rm(folder, { recursive: true }));
  const db = `sqlite:${join(folder, "chat.db")}`;
  let own = await startEdgeway({ db });
  t.after(() => own.stop());
  const { port } = own;
  const client = clientOf(t, server, "ann", { url: own.url, token: () => own.tokensOf("ann")(), timing: QUICK });
  const room = client.subscribe("phoenix");
  await client.connect();
  await room.ready;
  await client.send("phoenix", { text: "before" });
  await until(() => client.seen.length === 1);
  await own.stop("SIGKILL");
  await until(() => client.state.state === "waiting");
  const sent = client.send("phoenix", { text: "meanwhile" }, { clientMessageId: "mean.while" });
  own = await startEdgeway({ db, port });
  assert.equal((await sent).seq, 2);
  await until(() => client.seen.length >= 2);
  assert.deepEqual(client.texts(), ["before", "meanwhile"]);
  const { messages } = await client.history("phoenix");
  assert.deepEqual(messages.map(({ body }) => body.text), ["before", "meanwhile"]);
});

test("a reload goes on with the same session, the same place and the same outbox", async (t) => {
  const kept = { state: null };
  const storage = { load: () => kept.state && JSON.parse(kept.state), save: (state) => void (kept.state = JSON.stringify(state)) };
  const writer = clientOf(t, server, "bob");
  const before = clientOf(t, server, "ann", { storage });
  const room = before.subscribe("reload");
  await Promise.all([before.connect(), writer.connect(), room.ready]);
  await writer.send("reload", { text: "1" });
  await until(() => before.seen.length === 1);
  const { session } = before.position;
  await before.close({ keep: true });
  before.send("reload", { text: "left behind" }, { clientMessageId: "left" });
  await until(() => kept.state.includes("left behind"));
  await writer.send("reload", { text: "2" });

  const later = clientOf(t, server, "ann", { storage });
  later.subscribe("reload");
  const { resume } = await later.connect();
  assert.deepEqual([resume, later.position.session], ["resumed", session]);
  await until(() => later.seen.length >= 2 && later.outbox.length === 0);
  assert.deepEqual(later.texts(), ["2", "left behind"]);
  assert.equal((await writer.send("reload", { text: "3" })).seq, 4);
});

test("another page that takes the session over is told, and nobody fights for it", async (t) => {
  const kept = { state: null };
  const storage = { load: () => kept.state && JSON.parse(kept.state), save: (state) => void (kept.state = JSON.stringify(state)) };
  const first = clientOf(t, server, "ann", { storage });
  await first.connect();
  const copy = { load: () => JSON.parse(JSON.stringify(first.position)), save: () => {} };
  const second = clientOf(t, server, "ann", { storage: copy });
  await second.connect();
  await until(() => first.state.state === "closed");
  assert.equal(first.state.why, "superseded");
  assert.equal(second.state.state, "online");
});

test("a kicked or closed client rejects what waits", async (t) => {
  const client = clientOf(t, server, "ann");
  const room = client.subscribe("done");
  await client.connect();
  await room.ready;
  const reading = (async () => {
    for await (const event of room) assert.fail(event.type);
  })();
  await client.close();
  await reading;
  await assert.rejects(client.connect({ timeoutMs: 0 }), { name: "EdgewayError" });
});

test("waiting can be given up, by time and by signal", async (t) => {
  const client = clientOf(t, server, "ann", { url: "http://127.0.0.1:9", token: () => "t" });
  await assert.rejects(client.connect({ timeoutMs: 50 }), { code: "timeout" });
  const aborter = new AbortController();
  const sent = client.send("tea", { text: "x" }, { signal: aborter.signal });
  const asked = client.history("tea", { signal: aborter.signal });
  const late = client.history("tea", { timeoutMs: 20 });
  aborter.abort();
  await assert.rejects(sent, { code: "aborted" });
  await assert.rejects(asked, { code: "aborted" });
  await assert.rejects(late, { code: "timeout", retryable: true });
  assert.deepEqual(client.outbox, []);
});

test("many sends at once keep their order, and the rate that the server allows", async (t) => {
  const client = clientOf(t, server, "eve");
  const room = client.subscribe("flood");
  await client.connect();
  await room.ready;
  await Promise.all(numbers(15).map((text) => client.send("flood", { text })));
  await until(() => client.seen.length >= 15);
  assert.deepEqual(client.texts(), numbers(15));
});
