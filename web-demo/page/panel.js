// The network panel: how the session is carried just now, what passes over the wire, and buttons to make it hard.

import { element, setText } from "./dom.js";

const LOG_MAX_FRAMES = 200;
const LINE_MAX_CHARS = 2000;
const BURST_MESSAGES = 10;
const CLOCK_MS = 500;
export const NAMES = { ws: "WebSocket", sse: "Event stream", poll: "Long-poll" };
const ORDERS = { auto: ["ws", "sse", "poll"], ws: ["ws"], sse: ["sse"], poll: ["poll"] };
const RESUMES = {
  new: "a new session",
  resumed: "resumed: the same queue",
  rebuilt: "rebuilt from the log",
  expired: "expired: a new session, caught up by offset",
};

export class Panel {
  #root;
  #client;
  #network;
  #proof;
  #resumes = {};
  #log;
  #isPaused = false;

  /** @param {HTMLElement} root */
  constructor(root, { client, network, chat, proof, notify }) {
    this.#root = root;
    this.#client = client;
    this.#network = network;
    this.#proof = proof;
    this.#log = this.#part("log");
    client.on("state", () => this.render());
    client.on("attached", ({ resume }) => {
      this.#resumes[resume] = (this.#resumes[resume] ?? 0) + 1;
      this.#set("resume", RESUMES[resume] ?? resume);
      this.render();
    });
    client.on("frame", (frame) => this.#add(frame));
    for (const radio of /** @type {NodeListOf<HTMLInputElement>} */ (root.querySelectorAll("[name=transport]"))) {
      radio.addEventListener("change", () => client.use(ORDERS[radio.value]));
    }
    const on = (name, run) => this.#part(name).addEventListener("click", run);
    on("cut", ({ currentTarget }) => {
      network.cut(!network.isCut);
      currentTarget.setAttribute("aria-pressed", String(network.isCut));
      document.documentElement.toggleAttribute("data-cut", network.isCut);
    });
    this.#part("delay").addEventListener("change", ({ target }) => (network.delayMs = Number(target.value)));
    on("kill", async () => {
      // Not over the network above: the button works also when that is cut.
      const response = await fetch("/dev/kill", { method: "POST" }).catch(() => null);
      notify(response?.ok ? "The node was killed: its connections, sessions and queues are gone." : "This server can't kill its node.");
    });
    on("burst", () => {
      for (let i = 1; i <= BURST_MESSAGES; i += 1) client.send(chat.current.id, { text: `${i} of ${BURST_MESSAGES}` }).catch(() => {});
    });
    on("pause", ({ currentTarget }) => {
      this.#isPaused = !this.#isPaused;
      currentTarget.setAttribute("aria-pressed", String(this.#isPaused));
    });
    on("clear", () => this.#log.replaceChildren());
    setInterval(() => this.render(), CLOCK_MS);
  }

  render() {
    const { state, position, stats, welcome } = this.#client;
    const { lost, repeated, received } = this.#proof;
    this.#root.dataset.state = state.state;
    this.#set("transport", state.transport ? NAMES[state.transport] : wordsOf(state));
    this.#set("why", this.#network.isCut ? "you have cut the network" : whyOf(state));
    this.#set("session", position.session ?? "–");
    this.#set("cursor", position.cursor ?? "–");
    this.#set("attach", position.attach);
    this.#set("node", welcome?.node ?? "–");
    this.#set("outcomes", Object.entries(this.#resumes).map(([name, count]) => `${name} ${count}`).join(", ") || "–");
    this.#set("received", received);
    this.#set("lost", lost);
    this.#set("repeated", repeated);
    this.#set("dropped", stats.dropped);
    this.#set("gapped", stats.gapped);
    this.#set("unsent", this.#client.outbox.length);
    for (const name of ["lost", "repeated"]) this.#part(name).dataset.bad = Number(this.#part(name).textContent) > 0;
  }

  #add({ direction, transport, frame }) {
    if (this.#isPaused) return;
    const { type, cursor, ...rest } = frame;
    const text = JSON.stringify({ ...(cursor && { cursor }), ...rest }).slice(0, LINE_MAX_CHARS);
    const sign = direction === "up" ? "↑" : "↓";
    const row = element(
      "li",
      { class: direction },
      element("details", {},
        element("summary", {},
          element("span", { class: "when" }, new Date().toISOString().slice(14, 23)),
          element("span", { class: "way" }, element("span", { "aria-hidden": "true" }, sign), element("span", { class: "unseen" }, direction === "up" ? "sent" : "received")),
          element("span", { class: "by" }, transport),
          element("span", { class: "type" }, type),
          element("span", { class: "rest" }, hintOf(frame))),
        element("pre", {}, text)),
    );
    this.#log.prepend(row);
    if (this.#log.childElementCount > LOG_MAX_FRAMES) this.#log.lastElementChild.remove();
  }

  /** @returns {any} */
  #part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }

  #set(name, value) {
    setText(this.#part(name), value);
  }
}

/** The state in a few words. */
export function wordsOf({ state, transport, why, returnAt }) {
  if (transport) return NAMES[transport];
  if (state === "waiting") return `Offline, next try in ${Math.max(0, Math.ceil((returnAt - Date.now()) / 1000))} s`;
  if (state === "closed") return why === "superseded" ? "Open in another window" : `Closed: ${why}`;
  return "Connecting…";
}

/** Why it is so. */
function whyOf({ why }) {
  return why.replace(/\b(ws|sse|poll)\b/g, (name) => NAMES[name]);
}

/** What tells this frame from others of its type. */
function hintOf({ dialog_id: dialog, dialogs, offset, message, body, seq, state, code, resume, reason, ref }) {
  const parts = [
    dialog ?? (Array.isArray(dialogs) ? dialogs.map((entry) => entry.dialog_id ?? entry).join(" ") : ""),
    offset !== undefined ? `@${offset}` : "",
    message?.body?.text ?? body?.text ?? "",
    seq ?? "",
    state ?? code ?? resume ?? reason ?? "",
  ].filter((part) => part !== "");
  return parts.join(" · ").slice(0, 120) || (ref ? `re ${ref}` : "");
}
