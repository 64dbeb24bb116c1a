import assert from "node:assert/strict";
import { test } from "node:test";

import { Inbox } from "../src/inbox.js";
import { Ledger } from "../src/ledger.js";

const event = (offset, rest = {}) => ({ type: "receipt", dialog_id: "d", offset, ...rest });
const message = (offset, seq) => ({ type: "message_new", dialog_id: "d", offset, message: { message_id: `m${seq}`, dialog_id: "d", seq } });
const gap = (epoch, from, to, reason = "trimmed") => ({ type: "gap", dialog_id: "d", epoch, from_offset: from, to_offset: to, reason });

test("an event is news once, in the order of its log", () => {
  const ledger = new Ledger();
  assert.deepEqual([1, 2, 2, 1, 3].map((offset) => ledger.enter(event(offset))), [true, true, false, false, true]);
  assert.deepEqual([ledger.received, ledger.dropped, ledger.missing], [3, 2, 0]);
});

test("a hole is seen, unless a gap has told of it", () => {
  const ledger = new Ledger();
  ledger.enter(event(1));
  ledger.enter(event(4));
  assert.equal(ledger.missing, 2);
  ledger.enter(gap("e", 5, 9));
  ledger.enter(event(10));
  assert.deepEqual([ledger.missing, ledger.gapped], [2, 5]);
});

test("one's own coming is told by one's own log, and is no hole in the dialog's", () => {
  const ledger = new Ledger();
  ledger.enter(event(1));
  ledger.enter({ type: "membership", feed: "user", dialog_id: "d", offset: 7, change: "added" });
  ledger.enter(event(3));
  assert.equal(ledger.missing, 0);
});

test("a log that begins anew takes us back; any other gap that is behind us doesn't", () => {
  const ledger = new Ledger();
  ledger.begin({ dialog_id: "d", epoch: "one", offset: 0 });
  ledger.enter(event(5));
  assert.equal(ledger.enter(gap("one", 1, 4)), false);
  assert.equal(ledger.enter(gap("two", 1, 0, "log_reset")), true);
  assert.equal(ledger.enter(event(1)), true);
  assert.deepEqual(ledger.since("d"), { epoch: "two", offset: 1 });
});

test("the answer to subscribe is a position only as long as nothing has come", () => {
  const ledger = new Ledger();
  ledger.begin({ dialog_id: "d", epoch: "e", offset: 10, last_message_seq: 6 });
  assert.deepEqual(ledger.since("d"), { epoch: "e", offset: 10, message_seq: 6 });
  // Events overtaken by the answer, on another connection, are no repeats.
  assert.equal(ledger.enter(message(9, 5)), true);
  assert.equal(ledger.enter(message(10, 6)), true);
  assert.deepEqual(ledger.since("d"), { epoch: "e", offset: 10, message_seq: 6 });
});

test("a restored message that comes once more with an offset is no news", () => {
  const ledger = new Ledger();
  const { offset, ...restored } = message(0, 3);
  assert.equal(ledger.enter({ ...restored, restored: true }), true);
  assert.equal(ledger.enter({ ...restored, restored: true }), false);
  assert.equal(ledger.enter(message(8, 3)), false);
  assert.equal(ledger.enter(message(9, 4)), true);
});

test("a message that a new log tells once more is no news, also after a reload", () => {
  const [before, later] = [new Ledger(), new Ledger()];
  before.enter(message(1, 1));
  before.enter(message(2, 2));
  later.load(JSON.parse(JSON.stringify(before)));
  for (const ledger of [before, later]) {
    assert.equal(ledger.enter(gap("two", 1, 0, "log_reset")), true);
    assert.deepEqual([message(1, 1), message(2, 2), message(3, 3)].map((told) => ledger.enter(told)), [false, false, true]);
    assert.deepEqual(ledger.since("d"), { epoch: "two", offset: 3, message_seq: 3 });
  }
});

test("a message that the same log tells at two offsets is news once", () => {
  const ledger = new Ledger();
  assert.deepEqual([message(1, 1), message(2, 1), message(3, 2)].map((told) => ledger.enter(told)), [true, false, true]);
  assert.equal(ledger.missing, 0);
});

test("positions survive a reload", () => {
  const [before, later] = [new Ledger(), new Ledger()];
  before.begin({ dialog_id: "d", epoch: "e", offset: 0 });
  before.enter(message(1, 1));
  later.load(JSON.parse(JSON.stringify(before)));
  assert.deepEqual(later.since("d"), before.since("d"));
  assert.equal(later.enter(message(1, 1)), false);
});

test("a gap without its messages is made up for from the history, and nothing comes twice", async () => {
  const told = [];
  let answer;
  const inbox = new Inbox({
    ledger: new Ledger(),
    replied: () => {},
    deliver: (frame) => told.push(frame.message?.seq ?? frame.type),
    arrived: () => {},
    membership: () => {},
    history: (dialog, { afterSeq }) => (assert.deepEqual([dialog, afterSeq], ["d", 1]), new Promise((resolve) => (answer = resolve))),
  });
  inbox.take(message(1, 1));
  inbox.take({ ...gap("e", 2, 4), messages_restored: false });
  inbox.take(message(5, 4));
  answer({ has_more: false, messages: [2, 3, 4].map((seq) => message(0, seq).message) });
  await new Promise(setImmediate);
  inbox.take(message(6, 3));
  assert.deepEqual(told, [1, "gap", 4, 2, 3]);
});
