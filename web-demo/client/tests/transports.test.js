// The same conversation over each transport.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { clientOf } from "./support/clients.js";
import { startEdgeway } from "./support/edgeway.js";
import { next, until } from "./support/wait.js";

let server;
before(async () => (server = await startEdgeway()));
after(() => server.stop());

for (const transport of ["ws", "sse", "poll"]) {
  describe(transport, () => {
    const options = { transports: [transport] };
    const dialog = (name) => `${transport}.${name}`;

    test("a message reaches the others and its sender", async (t) => {
      const [ann, bob] = [clientOf(t, server, "ann", options), clientOf(t, server, "bob", options)];
      const rooms = [ann, bob].map((client) => client.subscribe(dialog("tea")));
      await Promise.all([ann.connect(), bob.connect(), ...rooms.map(({ ready }) => ready)]);
      assert.equal(ann.state.transport, transport);
      const sent = await bob.send(dialog("tea"), { text: "Kettle is on." });
      assert.equal(sent.seq, 1);
      await until(() => ann.seen.length === 1 && bob.seen.length === 1);
      assert.equal(ann.seen[0].message_id, sent.message_id);
      assert.deepEqual(bob.outbox, []);
    });

    test("a dialog is read by iteration", async (t) => {
      const client = clientOf(t, server, "ann", options);
      const room = client.subscribe(dialog("loop"));
      await client.connect();
      await room.ready;
      for (const text of ["1", "2", "3"]) client.send(dialog("loop"), { text });
      const texts = [];
      for await (const event of room) {
        if (event.type === "message_new") texts.push(event.message.body.text);
        if (texts.length === 3) break;
      }
      assert.deepEqual(texts, ["1", "2", "3"]);
    });

    test("typing, presence, read marks and history", async (t) => {
      const [ann, bob] = [clientOf(t, server, "ann", options), clientOf(t, server, "bob", options)];
      const [hers, his] = [ann, bob].map((client) => client.subscribe(dialog("den"), { presence: true }));
      await Promise.all([ann.connect(), bob.connect(), hers.ready, his.ready]);
      await until(async () => (await ann.presence(dialog("den"))).length === 2, "both are here");
      const typing = next(hers, "typing");
      bob.typing(dialog("den"));
      assert.equal((await typing).user_id, "bob");
      const { seq } = await bob.send(dialog("den"), { text: "hm" });
      const receipt = next(his, "receipt");
      assert.deepEqual((await ann.readUpto(dialog("den"), seq)).unread, 0);
      assert.equal((await receipt).read_seq, seq);
      const { messages, has_more } = await ann.history(dialog("den"));
      assert.deepEqual([messages.length, has_more], [1, false]);
      await ann.status("away");
      await until(async () => (await bob.presence(dialog("den"))).some(({ state }) => state === "away"), "Ann is away");
    });

    test("an error is typed, and tells whether to try again", async (t) => {
      const client = clientOf(t, server, "ann", options);
      await client.connect();
      await assert.rejects(client.history(dialog("x"), { beforeSeq: 1, afterSeq: 1 }), {
        name: "EdgewayError",
        code: "bad_request",
        retryable: false,
      });
      await assert.rejects(client.send(dialog("x"), {}), { code: "bad_request" });
      assert.equal(client.outbox[0].state, "failed");
      await assert.rejects(client.subscribe("no good").ready, { code: "bad_request" });
    });

    test("all dialogs of the user are followed, as they come and go", async (t) => {
      await server.createDialog(dialog("attic"), ["cat"]);
      const cat = clientOf(t, server, "cat", options);
      const all = cat.subscribeAll();
      await cat.connect();
      const entries = await all.ready;
      assert.ok(entries.some(({ dialog_id }) => dialog_id === dialog("attic")));
      await server.createDialog(dialog("cellar"), ["bob"]);
      const joined = next(cat, "subscribed", ({ dialog_id }) => dialog_id === dialog("cellar"));
      await server.add(dialog("cellar"), "cat");
      await joined;
      const bob = clientOf(t, server, "bob", options);
      await bob.connect();
      await bob.send(dialog("cellar"), { text: "mind the step" });
      await until(() => cat.texts().includes("mind the step"));
      const removed = next(all, "membership");
      await server.remove(dialog("cellar"), "cat");
      assert.equal((await removed).change, "removed");
      assert.equal(cat.stats.missing, 0);
    });
  });
}
