// The demo in a real browser: what a person sees, on every transport and whatever happens to the network.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { startEdgeway } from "../client/tests/support/edgeway.js";
import { startProxy } from "../client/tests/support/proxy.js";
import { until } from "../client/tests/support/wait.js";
import { CLEAN, openDemo, PHONE, startBrowser } from "./browser.js";
import { startNginx } from "./nginx.js";

const GENEROUS = { EDGEWAY__LIMITS__SENDS_PER_SECOND: "200", EDGEWAY__LIMITS__COMMANDS_PER_SECOND: "400", EDGEWAY__LIMITS__SESSIONS_PER_USER: "500" };

const AXE = await readFile(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");

let server;
let browser;
before(async () => ([server, browser] = await Promise.all([startEdgeway({ env: GENEROUS }), startBrowser()])));
after(() => Promise.all([server.stop(), browser.close()]));

const open = (t, user, options) => openDemo(t, browser, options?.url ?? server.url, user, options);
/** Sends so many numbered messages by the library, not waiting. */
const burst = (demo, dialog, count) =>
  demo.page.evaluate(([name, many]) => {
    for (let i = 1; i <= many; i += 1) window.edgeway.client.send(name, { text: `n${i}` }).catch(() => {});
  }, [dialog, count]);
/** What axe has to say about a page. */
async function violations(page) {
  // By the debugger: the page itself may load nothing from elsewhere.
  await page.evaluate(AXE);
  const { violations: found } = await page.evaluate(() => window.axe.run());
  return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" ")}`);
}
const numbered = (count) => Array.from({ length: count }, (_, i) => `n${i + 1}`);

describe("a chat", () => {
  for (const transport of ["ws", "sse", "poll"]) {
    test(`over ${transport}: messages, typing, presence, unread counts and read marks`, async (t) => {
      const dialog = `chat.${transport}`;
      const [ann, bob] = await Promise.all([open(t, "ann", { dialog }), open(t, "bob", { dialog })]);
      await Promise.all([ann.use(transport), bob.use(transport)]);
      await ann.page.locator("#people").filter({ hasText: "bob is here" }).waitFor();
      await bob.page.locator("#text").pressSequentially("Ket");
      await ann.page.locator("#typing").filter({ hasText: "bob is typing" }).waitFor();
      await bob.say("Kettle is on.");
      await ann.sees("Kettle is on.");
      await bob.page.locator(".own .mark.read").first().waitFor();
      await bob.page.evaluate(() => window.edgeway.chat.open("lobby"));
      await ann.say("Milk?");
      await bob.page.locator(".dialog.unread", { hasText: dialog }).locator(".count", { hasText: "1" }).waitFor();
      await bob.page.locator(".dialog.unread", { hasText: dialog }).filter({ hasText: "ann: Milk?" }).waitFor();
      await bob.page.locator(".dialog", { hasText: dialog }).click();
      await bob.sees("Milk?");
      await bob.page.locator(".dialog.unread", { hasText: dialog }).waitFor({ state: "detached" });
      assert.deepEqual([await ann.proof(), await bob.proof()], [CLEAN, CLEAN]);
      await ann.shot(`chat-${transport}`);
    });
  }

  test("two windows of one user show the same, and what is read in one is read in the other", async (t) => {
    const [first, second, bob] = await Promise.all([open(t, "dora"), open(t, "dora", { dialog: "tea-kitchen" }), open(t, "bob", { dialog: "tea-kitchen" })]);
    await first.page.evaluate(() => window.edgeway.chat.open("release-room"));
    await second.page.evaluate(() => window.edgeway.chat.open("lobby"));
    await bob.say("Oolong?");
    for (const window of [first, second]) await window.page.locator(".dialog.unread", { hasText: "tea-kitchen" }).waitFor();
    await first.page.locator(".dialog", { hasText: "tea-kitchen" }).click();
    await first.sees("Oolong?");
    await second.page.locator(".dialog.unread", { hasText: "tea-kitchen" }).waitFor({ state: "detached" });
    assert.notEqual(await first.session(), await second.session());
  });

  for (const transport of ["ws", "poll"]) {
    test(`over ${transport}: what was read just before the page went away has been read`, async (t) => {
      const dialog = `away.${transport}`;
      const [reader, bob] = await Promise.all([open(t, "rita", { dialog }), open(t, "bob", { dialog })]);
      await reader.use(transport);
      await reader.page.evaluate((id) => {
        const read = () => (window.edgeway.chat.dialogs.get(id).readSeq > 0 ? location.replace("about:blank") : setTimeout(read));
        read();
      }, dialog);
      await bob.say("gone already?");
      await reader.page.waitForURL("about:blank");
      await bob.page.locator(".mark.read").waitFor();
    });
  }

  test("older messages come when one scrolls back, and what was in view stays there", async (t) => {
    const ann = await open(t, "ann", { dialog: "long" });
    await burst(ann, "long", 90);
    await ann.received(90);
    await ann.page.reload();
    await ann.online();
    await ann.sees("n90");
    assert.ok((await ann.texts()).length < 90);
    await until(async () => {
      await ann.page.locator("#messages").evaluate((list) => (list.scrollTop = 0));
      return (await ann.texts()).length === 90;
    }, "all are here");
    assert.deepEqual(await ann.texts(), numbered(90));
    await ann.page.locator("#jump").click();
    assert.ok(await ann.page.locator("#messages").evaluate((list) => list.scrollHeight - list.scrollTop - list.clientHeight < 2));
  });

  test("a message that is refused says so, and can be discarded", async (t) => {
    await server.createDialog("closed", ["bob"]);
    const ann = await open(t, "ann", { dialog: "closed" });
    await ann.page.locator("#trouble", { hasText: "not a member" }).waitFor();
    await ann.say("let me in");
    await ann.page.locator(".failed", { hasText: "you are not a member" }).waitFor();
    await ann.shot("failed");
    await ann.page.getByRole("button", { name: "Discard" }).click();
    await ann.page.locator(".failed").waitFor({ state: "detached" });
  });

  test("who is removed sees nothing more, and sees again after the return", async (t) => {
    await server.createDialog("attic", ["ann", "bob"]);
    const [ann, bob] = await Promise.all([open(t, "ann", { dialog: "attic" }), open(t, "bob", { dialog: "attic" })]);
    await server.remove("attic", "bob");
    await bob.page.locator(".note", { hasText: "You were removed" }).waitFor();
    await ann.say("without bob");
    await ann.sees("without bob");
    await server.add("attic", "bob");
    await bob.page.locator(".note", { hasText: "You have joined" }).waitFor();
    await ann.say("welcome back");
    await bob.sees("welcome back");
    assert.equal((await ann.proof()).lost, 0);
  });
});

describe("everybody", () => {
  test("can use it without a mouse", async (t) => {
    const ann = await open(t, "ann", { dialog: "lobby" });
    const { page } = ann;
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "skip");
    await page.keyboard.press("Enter");
    await page.keyboard.type("by hand");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("on two lines");
    await page.keyboard.press("Enter");
    await ann.sees("on two lines");
    await page.keyboard.press("Alt+ArrowDown");
    await page.locator("#title", { hasText: "tea-kitchen" }).waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#panel").waitFor({ state: "hidden" });
    assert.equal(await page.evaluate(() => document.activeElement.id), "state");
  });

  for (const [name, options] of Object.entries({
    light: { colorScheme: "light" },
    dark: { colorScheme: "dark" },
    phone: { viewport: PHONE },
  })) {
    test(`can read it: ${name}`, async (t) => {
      const [ann, bob] = await Promise.all([open(t, "ann", { dialog: `look.${name}`, ...options }), open(t, "bob", { dialog: `look.${name}` })]);
      await bob.say("Is the 2.4 release still on for today?");
      await ann.sees("2.4");
      await ann.say("Yes: https://status.example.org looks good since last night.");
      await bob.say("Going to push the button after lunch.");
      await ann.sees("push the button");
      await ann.say("Fine!");
      await bob.say("Who brings the cake?");
      await ann.sees("cake");
      await ann.shot(`look-${name}`);
      assert.deepEqual(await violations(ann.page), []);
      if (name !== "phone") return;
      await ann.page.locator("#state").click();
      await ann.shot("look-phone-network");
      await ann.page.locator("#close-panel").click();
      await ann.page.locator("#back").click();
      await ann.shot("look-phone-dialogs");
      assert.deepEqual(await violations(ann.page), []);
      // Nothing is wider than the screen.
      assert.ok(await ann.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    });
  }
});

describe("bad input", () => {
  test("markup and script are shown as the text they are", async (t) => {
    const hostile = [`<img src=x onerror="window.broken=1">`, "<script>window.broken=2</script>", "</p></li><h1>hi</h1>", "&lt;b&gt; {{7*7}} ${7*7}"];
    const [ann, bob] = await Promise.all([open(t, "ann", { dialog: "markup" }), open(t, "bob", { dialog: "markup" })]);
    for (const text of hostile) await bob.say(text);
    await ann.sees(hostile.at(-1));
    assert.deepEqual(await ann.texts(), hostile);
    assert.equal(await ann.page.evaluate(() => window.broken), undefined);
    assert.equal(await ann.page.locator("#messages img, #messages script, #messages h1").count(), 0);
  });

  test("only http and https become links", async (t) => {
    const [ann, bob] = await Promise.all([open(t, "ann", { dialog: "links" }), open(t, "bob", { dialog: "links" })]);
    const urls = ["https://example.org/a.pdf", "http://example.org/b", "javascript:alert(1)", " JaVaScRiPt:alert(1)", "data:text/html,<script>alert(1)</script>", "file:///etc/passwd", "//example.org", "vbscript:x", "blob:https://example.org/1"];
    await bob.page.evaluate((all) => window.edgeway.client.send("links", {
      text: "see https://example.org/c?d=1, javascript:alert(2) and <https://example.org/e>",
      attachments: all.map((url, i) => ({ id: `a${i}`, name: `<b>${i}</b>`, mime: "x/y", size: 1, url })),
    }), urls);
    await ann.sees("see");
    const links = await ann.page.locator("#messages a").evaluateAll((all) => all.map(({ href, rel, target }) => ({ href, rel, target })));
    assert.deepEqual(links.map(({ href }) => href), ["https://example.org/c?d=1", "https://example.org/e", "https://example.org/a.pdf", "http://example.org/b"]);
    assert.ok(links.every(({ rel, target }) => rel.includes("noopener") && target === "_blank"));
    assert.equal(await ann.page.locator("#messages .attachment").count(), urls.length);
  });

  test("a link is attached by the form, and nothing else than a link", async (t) => {
    const ann = await open(t, "ann", { dialog: "attach" });
    await ann.page.getByRole("button", { name: "Attach a link" }).click();
    const form = ann.page.locator("#attach-dialog");
    await form.getByLabel("Address").fill("javascript:alert(1)");
    await form.getByRole("button", { name: "Attach", exact: true }).click();
    assert.ok(await form.isVisible());
    await form.getByLabel("Address").fill("https://example.org/plan.pdf");
    await form.getByRole("button", { name: "Attach", exact: true }).click();
    await ann.page.locator("#chips", { hasText: "plan.pdf" }).waitFor();
    await ann.page.getByRole("button", { name: "Send", exact: true }).click();
    await ann.page.locator("#messages .attachment a", { hasText: "plan.pdf" }).waitFor();
  });

  test("the page may load and call nothing but its own server", async () => {
    const response = await fetch(server.url);
    const policy = response.headers.get("content-security-policy");
    assert.match(policy, /default-src 'none'/);
    for (const part of policy.split(";")) assert.doesNotMatch(part, /unsafe|\*|https?:/);
    const html = await response.text();
    assert.doesNotMatch(html, /<script(?![^>]* src=)|<style| on[a-z]+=| style=/);
  });
});

describe("the network", () => {
  test("messages that come while it is cut are there when it is back: none lost, none twice", async (t) => {
    const [ann, bob] = await Promise.all([open(t, "ann", { dialog: "cut" }), open(t, "bob", { dialog: "cut" })]);
    await bob.use("sse");
    await burst(bob, "cut", 20);
    await ann.sees("n3");
    await ann.press("Cut the network");
    await ann.state("waiting");
    await ann.say("from the tunnel");
    await ann.page.locator(".own.pending").waitFor();
    await bob.received(20);
    await ann.shot("cut");
    await ann.press("Cut the network");
    await ann.online();
    await ann.received(21);
    await bob.sees("from the tunnel");
    assert.deepEqual(await ann.texts(), [...numbered(20), "from the tunnel"]);
    assert.deepEqual([await ann.proof(), await bob.proof()], [CLEAN, CLEAN]);
    assert.equal(await ann.page.locator("[data-part=lost]").textContent(), "0");
    assert.equal(await ann.page.locator("[data-part=repeated]").textContent(), "0");
  });

  test("a session moves from transport to transport in the midst of it", async (t) => {
    const [ann, bob] = await Promise.all([open(t, "ann", { dialog: "tour" }), open(t, "bob", { dialog: "tour" })]);
    const session = await ann.session();
    for (const [i, transport] of ["sse", "poll", "ws", "poll", "sse", "auto"].entries()) {
      await burst(bob, "tour", 10);
      await ann.use(transport);
      await ann.received((i + 1) * 10);
    }
    await ann.online("ws");
    assert.equal(await ann.session(), session);
    assert.deepEqual(await ann.proof(), CLEAN);
  });

  test("a slow network changes nothing but the time", async (t) => {
    const [ann, bob] = await Promise.all([open(t, "ann", { dialog: "slow" }), open(t, "bob", { dialog: "slow" })]);
    await ann.page.locator("[data-part=delay]").selectOption("200");
    for (const transport of ["ws", "sse", "poll"]) {
      await ann.use(transport);
      await burst(bob, "slow", 5);
      await ann.say(`by ${transport}`);
      await bob.sees(`by ${transport}`);
    }
    await ann.received(18);
    assert.deepEqual(await ann.proof(), CLEAN);
  });

  test("where WebSocket is blocked, the event stream carries it", async (t) => {
    const proxy = await startProxy(server.url);
    t.after(() => proxy.close());
    proxy.ws = "refuse";
    const [ann, bob] = await Promise.all([open(t, "ann", { url: proxy.url, dialog: "blocked" }), open(t, "bob", { dialog: "blocked" })]);
    assert.equal(await ann.transport(), "sse");
    await ann.page.locator("[data-part=why]", { hasText: "WebSocket did not get through" }).waitFor();
    await ann.say("by the side door");
    await bob.sees("by the side door");
    await ann.shot("blocked");
  });

  test("behind an nginx that holds streams back, long-poll carries it", async (t) => {
    const nginx = await startNginx(server.url);
    t.after(() => nginx.stop());
    const [ann, bob] = await Promise.all([open(t, "ann", { url: nginx.url, dialog: "nginx" }), open(t, "bob", { dialog: "nginx" })]);
    assert.equal(await ann.transport(), "poll");
    await ann.say("slowly but surely");
    await bob.say("and back");
    await bob.sees("slowly but surely");
    await ann.sees("and back");
    assert.deepEqual(await ann.proof(), CLEAN);
  });

  for (const transport of ["ws", "sse", "poll"]) {
    test(`offline and back, over ${transport}`, async (t) => {
      const dialog = `offline.${transport}`;
      const [ann, bob] = await Promise.all([open(t, "ann", { dialog }), open(t, "bob", { dialog })]);
      await ann.use(transport);
      await ann.context.setOffline(true);
      await ann.say("written offline");
      await bob.say("while you were away");
      await bob.sees("while you were away");
      await ann.context.setOffline(false);
      await ann.sees("while you were away");
      await bob.sees("written offline");
      await until(async () => (await ann.proof()).unsent === 0, "all is sent");
      assert.deepEqual(await ann.proof(), CLEAN);
    });
  }

  test("a tab that was asleep catches up when it is looked at", async (t) => {
    const [ann, bob] = await Promise.all([open(t, "ann", { dialog: "sleep" }), open(t, "bob", { dialog: "sleep" })]);
    const tab = await ann.context.newCDPSession(ann.page);
    await tab.send("Page.setWebLifecycleState", { state: "frozen" });
    await burst(bob, "sleep", 30);
    await bob.received(30);
    await tab.send("Page.setWebLifecycleState", { state: "active" });
    await ann.received(30);
    assert.deepEqual(await ann.proof(), CLEAN);
  });

  test("a tab that nobody looks at is away and leaves messages unread", async (t) => {
    const [ann, bob] = await Promise.all([open(t, "hanna", { dialog: "hidden" }), open(t, "bob", { dialog: "hidden" })]);
    const look = (state) => ann.page.evaluate((wanted) => {
      Object.defineProperty(document, "visibilityState", { value: wanted, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, state);
    await look("hidden");
    await bob.page.locator("#people .avatar.away[title^=hanna]").waitFor({ state: "attached" });
    await bob.say("anybody?");
    const unread = () => ann.page.evaluate(() => window.edgeway.chat.dialogs.get("hidden").unread);
    await until(async () => (await unread()) === 1 && /^\(\d+\)/.test(await ann.page.title()), "the title tells of it");
    await look("visible");
    await until(async () => (await unread()) === 0, "it has been read");
    await bob.page.locator(".mark.read").waitFor();
  });
});

describe("the server", () => {
  test("a node that is killed with all it holds loses nothing", async (t) => {
    const [ann, bob] = await Promise.all([open(t, "ann", { dialog: "kill" }), open(t, "bob", { dialog: "kill" })]);
    await bob.use("poll");
    const [session, node] = await ann.page.evaluate(() => [window.edgeway.client.position.session, window.edgeway.client.welcome.node]);
    await burst(bob, "kill", 25);
    await ann.press("Kill the node");
    await ann.page.waitForFunction((old) => window.edgeway.client.welcome.node !== old, node);
    await Promise.all([ann.received(25), bob.received(25)]);
    assert.deepEqual(await ann.texts(), numbered(25));
    assert.equal(await ann.session(), session);
    assert.deepEqual([await ann.proof(), await bob.proof()], [CLEAN, CLEAN]);
    await ann.page.locator("[data-part=resume]", { hasText: "rebuilt" }).waitFor();
    await ann.shot("killed");
  });

  test("a server that is restarted with its messages goes on; what was written meanwhile is sent once", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "edgeway-demo-"));
    t.after(() => rm(folder, { recursive: true }));
    const db = `sqlite:${join(folder, "chat.db")}`;
    let own = await startEdgeway({ db, env: GENEROUS });
    t.after(() => own.stop());
    const ann = await open(t, "ann", { url: own.url, dialog: "phoenix" });
    await ann.say("before");
    await ann.sees("before");
    await own.stop("SIGKILL");
    await ann.state("waiting");
    await ann.say("meanwhile");
    own = await startEdgeway({ db, port: own.port, env: GENEROUS });
    await ann.online();
    await until(async () => (await ann.proof()).unsent === 0, "it is sent");
    await ann.page.reload();
    await ann.sees("meanwhile");
    assert.deepEqual(await ann.texts(), ["before", "meanwhile"]);
  });

  test("tokens that live for seconds are renewed; one that ran out while away is replaced", async (t) => {
    const own = await startEdgeway({ env: { ...GENEROUS, EDGEWAY__AUTH__LEEWAY: "0s" } });
    t.after(() => own.stop());
    const ann = await open(t, "ann", { url: own.url, dialog: "token", ttl: 3 });
    const session = await ann.session();
    const attaches = await ann.page.evaluate(() => window.edgeway.client.stats.attaches);
    const expiry = () => ann.page.evaluate(() => window.edgeway.client.welcome.token_expires_at);
    assert.ok(Date.parse(await expiry()) < Date.now() + 4000, await expiry());
    const endedAt = Date.now() + 4000;
    await until(() => Date.now() > endedAt);
    await ann.say("with another token");
    await ann.sees("with another token");
    assert.equal(await ann.page.evaluate(() => window.edgeway.client.stats.attaches), attaches, "nobody noticed");
    await ann.press("Cut the network");
    const later = Date.now() + 3500;
    await until(() => Date.now() > later);
    await ann.press("Cut the network");
    await ann.online();
    await ann.say("and another one");
    await until(async () => (await ann.proof()).unsent === 0, "it is sent");
    assert.equal(await ann.session(), session);
  });

  test("a reload goes on with the session, and a copied tab begins one of its own", async (t) => {
    const ann = await open(t, "ann", { dialog: "reload" });
    const session = await ann.session();
    await ann.page.reload();
    await ann.online();
    assert.equal(await ann.session(), session);
    const stored = await ann.page.evaluate(() => Object.entries(sessionStorage));
    const copy = await ann.context.newPage();
    await copy.addInitScript((entries) => entries.forEach(([key, value]) => sessionStorage.setItem(key, value)), stored);
    await copy.goto(ann.page.url());
    await copy.waitForFunction(() => window.edgeway?.client.state.state === "online", undefined, { timeout: 20_000 });
    assert.notEqual(await copy.evaluate(() => window.edgeway.client.position.session), session);
    assert.equal(await ann.session(), session);
    assert.equal(await ann.transport(), "ws");
  });
});

