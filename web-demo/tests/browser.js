// Debian's Chromium, and what a test does in a page of the demo.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const SHOTS = fileURLToPath(new URL("../../target/screenshots/", import.meta.url));
const ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const DESKTOP = { width: 1360, height: 820 };
export const PHONE = { width: 390, height: 780 };

const LOOK_MS = 20_000;
const LOOK_EVERY_MS = 50;
/** How long a page that doesn't answer at all is asked how it is. */
const STATE_MS = 2000;

export async function startBrowser() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: ARGUMENTS });
}

/**
 * A window of its own, as somebody in a dialog. What goes wrong in it, fails the test.
 *
 * @param {import("node:test").TestContext} t
 */
export async function openDemo(t, browser, url, user, { dialog = "lobby", viewport = DESKTOP, ttl, isOnline = true, ...options } = {}) {
  const context = await browser.newContext({ viewport, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    // A connection that breaks is what the tests are about; the browser notes each.
    const isNetwork = /Failed to load resource|WebSocket connection|net::ERR/.test(message.text());
    if (message.type() === "error" && !isNetwork) errors.push(message.text());
  });
  t.after(async () => {
    await context.close();
    if (errors.length > 0) throw new Error(`${user}'s page: ${errors.join("\n")}`);
  });
  const hash = new URLSearchParams({ user, dialog, ...(ttl && { ttl }) });
  await page.goto(`${url}/#${hash}`);
  const demo = demoOf(page, context);
  if (isOnline) await demo.online();
  return demo;
}

function demoOf(page, context) {
  /** Looks by a timer: a page that the browser doesn't draw gets no animation frames. Says how the page was, if in vain. */
  const look = async (run, argument) => {
    try {
      return await page.waitForFunction(run, argument, { timeout: LOOK_MS, polling: LOOK_EVERY_MS });
    } catch (cause) {
      throw new Error(`in vain for ${LOOK_MS} ms; the page: ${await stateOf(page)}`, { cause });
    }
  };
  const pressed = (name) => page.locator("#panel").getByRole("button", { name, exact: true });
  return {
    page,
    context,
    online: (transport) => look((name) => {
      const { state } = window.edgeway.client;
      return state.state === "online" && (!name || state.transport === name);
    }, transport),
    state: (name) => look((wanted) => window.edgeway.client.state.state === wanted, name),
    transport: () => page.evaluate(() => window.edgeway.client.state.transport),
    session: () => page.evaluate(() => window.edgeway.client.position.session),
    async say(text) {
      await page.locator("#text").fill(text);
      await page.locator("#text").press("Enter");
    },
    sees: (text) => page.locator("#messages .text").filter({ hasText: text }).first().waitFor({ timeout: LOOK_MS }),
    texts: () => page.locator("#messages .text").allTextContents(),
    async use(transport) {
      await page.evaluate(() => document.querySelector("#app").dataset.panel !== "open" && document.querySelector("#state").click());
      await page.locator(`#panel [name=transport][value=${transport}]`).check({ force: true });
      if (transport !== "auto") await this.online(transport);
    },
    press: (name) => pressed(name).click(),
    /** Nothing lost, nothing twice, nothing unsent: by the page's own count and the library's. */
    async proof() {
      return page.evaluate(() => {
        const { client, proof } = window.edgeway;
        return { lost: proof.lost, repeated: proof.repeated, missing: client.stats.missing, unsent: client.outbox.length };
      });
    },
    received: (count) => look((least) => window.edgeway.proof.received >= least, count),
    async shot(name) {
      await mkdir(SHOTS, { recursive: true });
      await page.screenshot({ path: `${SHOTS}${name}.png` });
    },
  };
}

/** What the library and the page say of themselves, for the message of a test that failed. */
async function stateOf(page) {
  const told = page.evaluate(() => {
    const { client, proof } = window.edgeway;
    const { received, repeated, lost } = proof;
    const { visibilityState } = document;
    return JSON.stringify({ ...client.state, stats: client.stats, unsent: client.outbox.length, received, repeated, lost, visibilityState });
  });
  const silence = new Promise((tell) => setTimeout(tell, STATE_MS, "does not answer"));
  return Promise.race([told.catch((error) => error.message), silence]);
}

export const CLEAN = { lost: 0, repeated: 0, missing: 0, unsent: 0 };
