// The page: puts the parts together, and turns the address and what is pressed into calls.

import { EdgewayClient, webStorage } from "/client/index.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { $, avatar, setText } from "./dom.js";
import { Network } from "./network.js";
import { Panel, wordsOf } from "./panel.js";
import { Proof } from "./proof.js";
import { showPeople, showTyping, Sidebar } from "./sidebar.js";
import { Thread } from "./thread.js";

const ID = /^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}$/;
const STARTERS = ["lobby", "tea-kitchen", "release-room"];
const ANIMALS = ["badger", "crane", "dormouse", "egret", "ferret", "gecko", "heron", "ibex", "jackdaw", "kestrel", "lynx",
  "marten", "newt", "otter", "puffin", "quail", "raven", "stoat", "tern", "vole", "wren", "yak"];
const NOTICE_MS = 6000;

const pick = (names) => names[Math.floor(Math.random() * names.length)];
const someone = () => `${pick(ANIMALS)}-${Math.floor(10 + Math.random() * 90)}`;

// ------------------------------------------------------------------------------------------------- Who and where

/** From the address; anything that is no id is as good as missing. */
function chosen() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const good = (name) => (ID.test(hash.get(name) ?? "") ? hash.get(name) : null);
  return {
    user: good("user") ?? sessionStorage.getItem("user") ?? someone(),
    dialog: good("dialog") ?? STARTERS[0],
    /** How long tokens live, in seconds, if they are to end soon. */
    ttl: Number(hash.get("ttl")) || undefined,
  };
}

const { user, dialog: first, ttl } = chosen();
sessionStorage.setItem("user", user);
const tab = sessionStorage.getItem("tab") ?? String(Math.random()).slice(2);
sessionStorage.setItem("tab", tab);

function remember(dialog) {
  const address = `#${new URLSearchParams({ user, dialog, ...(ttl && { ttl: String(ttl) }) })}`;
  if (location.hash === "") history.replaceState(null, "", address);
  else if (location.hash !== address) history.pushState(null, "", address);
}

/** Another page would ask its own backend. */
async function token() {
  const body = JSON.stringify({ user_id: user, ttl_s: ttl });
  const response = await network.fetch("/dev/token", { method: "POST", body });
  if (!response.ok) throw new Error(`the token issuer answered ${response.status}`);
  return (await response.json()).token;
}

// ------------------------------------------------------------------------------------------------- The parts

const network = new Network();
const proof = new Proof();
const client = new EdgewayClient({
  token,
  fetch: network.fetch,
  WebSocket: network.WebSocket,
  storage: webStorage(`edgeway-demo/${user}/${tab}`),
});
const chat = new Chat(client, user, proof, (what, dialog) => {
  if (what === "dialogs") changed.add("dialogs");
  else if (dialog === chat.current) changed.add(what);
  if (changed.size > 0 && !frame) frame = requestRender();
});
const thread = new Thread({ list: $("messages"), more: $("more"), jump: $("jump"), trouble: $("trouble") }, chat, {
  retry: (id) => client.retry(id),
  discard: (id) => (client.discard(id), thread.render()),
});
const sidebar = new Sidebar($("dialog-list"), chat, (id) => open(id));
const panel = new Panel($("panel"), { client, network, chat, proof, notify });
new Composer(
  { form: $("composer"), text: $("text"), attach: $("attach"), dialog: $("attach-dialog"), chips: $("chips") },
  {
    send: (body) => {
      client.send(chat.current.id, body).catch(() => {});
      thread.toEnd();
    },
    typing: (state) => client.typing(chat.current.id, state),
  },
);

/** What must be shown anew; many events in one go are one rendering. */
const changed = new Set();
let frame = 0;

/** Soon, also where nobody looks: a hidden tab has no animation frames. */
function requestRender() {
  return setTimeout(() => {
    frame = 0;
    const what = new Set(changed);
    changed.clear();
    if (what.has("thread")) thread.render();
    if (what.has("dialogs")) showDialogs();
    if (what.has("people")) showPeople($("people"), chat.current, user);
    if (what.has("typing")) showTyping($("typing"), chat.current);
  }, 16);
}

function showDialogs() {
  sidebar.render();
  const { unread, current } = chat;
  document.title = `${unread > 0 ? `(${unread}) ` : ""}${current?.id ?? ""} – Edgeway`;
  setText($("elsewhere"), unread > 0 ? String(Math.min(unread, 99)) : "");
}

function showState() {
  const { state } = client;
  document.documentElement.dataset.state = state.state;
  document.documentElement.dataset.transport = state.transport ?? "";
  setText($("state-words"), wordsOf(state));
  $("back-here").hidden = state.state !== "closed";
}

function open(id) {
  chat.open(id);
  remember(id);
  setText($("title"), id);
  $("app").dataset.view = "chat";
}

let noticeTimer = 0;
function notify(text) {
  setText($("notice"), text);
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => setText($("notice"), ""), NOTICE_MS);
}

// ------------------------------------------------------------------------------------------------- What is pressed

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("join-name").value.trim();
  if (!ID.test(name)) return;
  $("join-name").value = "";
  open(name);
  $("text").focus();
});
$("back").addEventListener("click", () => {
  $("app").dataset.view = "dialogs";
  $("dialog-list").querySelector("[aria-current]")?.focus();
});
$("back-here").addEventListener("click", () => client.connect().catch(() => {}));
$("skip").addEventListener("click", () => $("text").focus());
$("second").addEventListener("click", () => {
  window.open(`#${new URLSearchParams({ user: someone(), dialog: chat.current.id })}`, "_blank", "noopener");
});

function showPanel(isOpen) {
  $("app").dataset.panel = isOpen ? "open" : "closed";
  for (const button of document.querySelectorAll("[aria-controls=panel]")) button.setAttribute("aria-expanded", String(isOpen));
}
$("state").addEventListener("click", () => showPanel($("app").dataset.panel !== "open"));
$("close-panel").addEventListener("click", () => {
  showPanel(false);
  $("state").focus();
});

const THEMES = ["auto", "light", "dark"];
function showTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-label", `Colours: ${theme}`);
  $("theme").title = `Colours: ${theme}`;
  localStorage.setItem("theme", theme);
}
$("theme").addEventListener("click", () => {
  const now = localStorage.getItem("theme") ?? "auto";
  showTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && $("app").dataset.panel === "open" && !$("attach-dialog").open) $("close-panel").click();
  if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    event.preventDefault();
    open(sidebar.neighbour(event.key === "ArrowUp" ? -1 : 1));
  }
});
window.addEventListener("pagehide", () => chat.leave());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") chat.leave();
  client.status(document.visibilityState === "visible" ? "online" : "away").catch(() => {});
});
window.addEventListener("popstate", () => {
  const { user: other, dialog } = chosen();
  if (other !== user) location.reload();
  else open(dialog);
});

// ------------------------------------------------------------------------------------------------- Beginning

setText($("me"), user);
$("me").before(avatar(user));
showTheme(localStorage.getItem("theme") ?? "auto");
showPanel(window.matchMedia("(min-width: 1100px)").matches);
client.on("state", showState);
client.on("attached", () => document.visibilityState === "hidden" && client.status("away").catch(() => {}));
setInterval(showState, 1000);
for (const id of STARTERS) chat.join(id);
open(first);
panel.render();
showState();
client.connect().catch(() => {}); // the state tells why
// For whoever looks with the console, and for the tests.
Object.assign(window, { edgeway: { client, chat, network, proof } });
