import assert from "node:assert/strict";
import { test } from "node:test";

import { adviceFor, backoffMs, codeOf, delayMs } from "../src/advice.js";
import { Emitter } from "../src/emitter.js";
import { EdgewayError } from "../src/errors.js";
import { parseFrame } from "../src/frames.js";
import { Outbox } from "../src/outbox.js";
import { commandPoster } from "../src/post.js";
import { Requests } from "../src/requests.js";
import { SseParser } from "../src/sse-parser.js";
import { Subscription } from "../src/subscription.js";

const TIMING = { backoffFirst: 1, backoffMax: 4 };
const settled = () => new Promise((resolve) => setTimeout(resolve, 30));

test("the range of a close code decides where no code is known", () => {
  const when = (end) => adviceFor({ ...end, code: codeOf(end) }).when;
  assert.deepEqual([4000, 4050, 4003].map((closeCode) => when({ closeCode })), ["never", "never", "never"]);
  assert.deepEqual([4100, 4199, 1006, 1011].map((closeCode) => when({ closeCode })), ["later", "later", "later", "later"]);
  assert.deepEqual([4200, 4250].map((closeCode) => when({ closeCode })), ["now", "now"]);
});

test("what can be helped is named", () => {
  const remedy = (end) => adviceFor({ ...end, code: codeOf(end) }).remedy;
  assert.deepEqual([4001, 4201, 4010].map((closeCode) => remedy({ closeCode })), ["token", "token", "session"]);
  assert.deepEqual(["cursor_invalid", "stale_attach", "kicked"].map((code) => remedy({ code })), ["cursor", "session", "session"]);
  assert.equal(adviceFor({ code: "forbidden", retryable: false }).when, "never");
  assert.equal(adviceFor({ status: 404 }).when, "later", "a proxy's word, not the gateway's");
  assert.equal(adviceFor({ code: "overloaded", retryable: true }).when, "later");
});

test("back-off rises, is jittered, ends at its maximum, and obeys the server's number", () => {
  const timing = { backoffFirst: 500, backoffMax: 30_000 };
  for (const [failures, low, high] of [[0, 250, 500], [1, 500, 1000], [3, 2000, 4000], [50, 15_000, 30_000]]) {
    for (let i = 0; i < 50; i += 1) {
      const ms = backoffMs(failures, timing);
      assert.ok(ms >= low && ms <= high, `${failures}: ${ms}`);
    }
  }
  assert.ok(delayMs("later", 0, 9000, timing) >= 9000);
  assert.equal(delayMs("now", 1, 700, timing), 700);
  assert.equal(delayMs("now", 0, 0, timing), 0);
  assert.ok(delayMs("now", 9, 0, timing) >= 15_000, "asked back at once again and again: slower all the same");
});

test("an event stream is read in whatever pieces it comes", () => {
  const stream = ": padding\r\nretry: 100\r\n\r\nid: a\rdata: 1\r\rdata:2\ndata: 3\n\nevent: x\ndata: 4\r\n\r\ndata: cut";
  for (const size of [1, 2, 3, 7, stream.length]) {
    const seen = [];
    const parser = new SseParser((data) => seen.push(data));
    for (let i = 0; i < stream.length; i += size) parser.push(stream.slice(i, i + size));
    assert.deepEqual(seen, ["1", "2\n3", "4"], `pieces of ${size}`);
  }
  assert.throws(() => new SseParser(() => {}).push("x".repeat(2 ** 20 + 1)));
});

test("what is no frame is told from what is", () => {
  for (const raw of ["", "{", "null", "[]", "7", '{"type":1}', '{"type":"message_new","dialog_id":"d","offset":1}', '{"type":"receipt","dialog_id":"d","offset":1.5}', '{"type":"gap","dialog_id":"d"}']) {
    assert.equal(parseFrame(raw), null, raw);
  }
  assert.equal(parseFrame('{"type":"ok","ref":"1","offset":7}')?.ref, "1");
  assert.equal(parseFrame('{"type":"x.poll","dialog_id":"d","offset":1,"cursor":"c","data":{}}')?.type, "x.poll");
});

test("a reply is matched by its ref; what stays goes up again, the rest fails", async () => {
  const requests = new Requests(1000);
  const sent = [];
  const stays = requests.ask({ type: "history" });
  await assert.rejects(requests.ask({ type: "typing" }, { stays: false }), { code: "network", retryable: true });
  requests.resume((command) => sent.push(command));
  const once = requests.ask({ type: "send_message" }, { stays: false });
  requests.pause();
  await assert.rejects(once, { code: "network", unknownOutcome: true });
  requests.resume((command) => sent.push(command));
  assert.deepEqual(sent.map(({ type }) => type), ["history", "send_message", "history"]);
  assert.equal(sent[0].ref, sent[2].ref);
  requests.settle({ type: "error", ref: sent[0].ref, code: "rate_limited", retryable: true, retry_after_ms: 70 });
  await assert.rejects(stays, { code: "rate_limited", retryable: true, retryAfterMs: 70 });
  assert.equal(requests.settle({ type: "ok", ref: sent[0].ref }), false);
  await assert.rejects(requests.ask({ type: "x", text: "x".repeat(70_000) }), { code: "too_large" });
});

function outboxThat(answer) {
  const sent = [];
  const states = [];
  const outbox = new Outbox({
    timing: TIMING,
    changed: ({ client_message_id: id, state, reply }) => states.push(`${id} ${reply ? "sent" : state}`),
    send: async ({ client_message_id: id }) => (sent.push(id), answer(id, sent.length)),
  });
  const add = (id, dialog = "d") => outbox.add({ client_message_id: id, dialog_id: dialog, body: { text: id }, state: "pending" }, {});
  return { outbox, sent, states, add };
}
const fail = (code, details) => {
  throw new EdgewayError(code, details);
};

test("a dialog's messages go up one after the other, so that trying again keeps their order", async () => {
  const { sent, add } = outboxThat((id, count) => (count === 1 ? fail("unavailable", { retryable: true }) : { seq: count }));
  await Promise.all([add("a"), add("b"), add("c")]);
  assert.deepEqual(sent, ["a", "a", "b", "c"]);
});

test("without a connection a message waits; after it, it goes up with the same id", async () => {
  let isDown = true;
  const { outbox, sent, add } = outboxThat(() => (isDown ? fail("network", { retryable: true }) : { seq: 1 }));
  const adding = add("a");
  await settled();
  assert.deepEqual([sent, outbox.items[0].state], [["a"], "pending"]);
  isDown = false;
  outbox.flush();
  assert.equal((await adding).seq, 1);
  assert.deepEqual(sent, ["a", "a"]);
});

test("a message that is refused is kept as failed until somebody decides", async () => {
  let isAllowed = false;
  const { outbox, states, add } = outboxThat(() => (isAllowed ? { seq: 1 } : fail("not_member")));
  await assert.rejects(add("a"), { code: "not_member" });
  await add("b").catch(() => {});
  isAllowed = true;
  outbox.retry("a");
  outbox.discard("b");
  await settled();
  assert.deepEqual(outbox.items, []);
  assert.deepEqual(states, ["a pending", "a failed", "b pending", "b failed", "a pending", "a sent"]);
});

test("a message that came back as an event is sent, whatever became of the answer", async () => {
  const { outbox, add } = outboxThat(() => new Promise(() => {}));
  const adding = add("a");
  outbox.settle("a", { seq: 4 });
  assert.equal((await adding).seq, 4);
  assert.deepEqual(outbox.items, []);
});

test("commands beside a stream travel in batches that the gateway takes, and go up again after a failure", async () => {
  const batches = [];
  const replies = [];
  let failures = 1;
  const host = {
    base: new URL("http://gateway/"),
    token: () => "t",
    session: () => "s",
    sent: () => {},
    frame: (frame) => replies.push(frame.ref),
    fetch: async (url, { body }) => {
      if (failures-- > 0) throw new TypeError("no network");
      const commands = JSON.parse(body);
      assert.ok(body.length <= 65_536 && commands.length <= 64);
      batches.push(commands.length);
      return new Response(JSON.stringify({ replies: commands.map(() => ({ type: "ok" })) }));
    },
  };
  const post = commandPoster(host, new AbortController().signal, assert.fail);
  for (let i = 0; i < 70; i += 1) post({ type: "ping", ref: String(i) });
  post({ type: "send_message", ref: "70", text: "ü".repeat(20_000) });
  post({ type: "send_message", ref: "71", text: "ü".repeat(20_000) });
  while (replies.length < 72) await settled();
  assert.deepEqual(replies, Array.from({ length: 72 }, (_, i) => String(i)));
  assert.deepEqual(batches, [32, 32, 7, 1]);
});

test("a loop that is left behind fails instead of losing events in silence", async () => {
  const subscription = new Subscription("d", {}, () => {});
  for (let i = 0; i <= 1000; i += 1) subscription.deliver({ type: "typing", dialog_id: "d" });
  await assert.rejects(subscription[Symbol.asyncIterator]().next(), { code: "overflow" });
});

test("a listener that throws harms neither the others nor the connection", (t) => {
  const emitter = new Emitter();
  const heard = [];
  const later = t.mock.method(globalThis, "queueMicrotask", () => {});
  emitter.on("x", () => fail("oops"));
  const off = emitter.on("x", (value) => heard.push(value));
  emitter.emit("x", 1);
  off();
  emitter.emit("x", 2);
  assert.deepEqual(heard, [1]);
  assert.throws(later.mock.calls[0].arguments[0], { code: "oops" });
});
