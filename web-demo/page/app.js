// The page: what is chosen, typed and pressed goes to the client; what the client knows is shown.

import { Client } from "./client.js";
import { element, MessageList } from "./messages.js";

const LOG_MAX_FRAMES = 200;
const LOG_LINE_MAX_CHARS = 600;
const PEOPLE_MAX = 200;
const BURST_MESSAGES = 10;
const CLOCK_MS = 500;
const ID = /^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}$/;
const TRANSPORTS = ["auto", "ws", "sse", "poll"];
const ANIMALS = ["badger", "crane", "dormouse", "egret", "ferret", "gecko", "heron", "ibex", "jackdaw", "kestrel",
  "lynx", "marten", "newt", "otter", "puffin", "quail", "raven", "stoat", "tern", "vole", "wren", "yak"];

const $ = (id) => document.getElementById(id);
let client = null;
/** By user: the timer that ends "is typing". */
const typists = new Map();
/** By user: `online`, `away` or `offline`. */
const people = new Map();
/** Whether what came before we did has been asked for. */
let hasHistory = false;

// ------------------------------------------------------------------------------------ What is chosen, in the address

/** From the hash, else the query, else made up; anything that is no id is as good as missing. */
function chosen() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const query = new URLSearchParams(location.search);
  const pick = (name, isGood) => [hash.get(name), query.get(name)].find((value) => value !== null && isGood(value));
  const animal = ANIMALS[Math.floor(Math.random() * ANIMALS.length)];
  return {
    user: pick("user", (value) => ID.test(value)) ?? `${animal}-${Math.floor(10 + Math.random() * 90)}`,
    dialog: pick("dialog", (value) => ID.test(value)) ?? "lobby",
    transport: pick("transport", (value) => TRANSPORTS.includes(value)) ?? "auto",
  };
}

function remember({ user, dialog, transport }) {
  history.replaceState(null, "", `#${new URLSearchParams({ user, dialog, transport })}`);
  document.title = `${user} in ${dialog} – Edgeway demo`;
  $("user").value = user;
  $("dialog").value = dialog;
  $("chat-title").textContent = dialog;
  for (const radio of document.getElementsByName("transport")) radio.checked = radio.value === transport;
}

/** Makes the page what is chosen: another user is another client, the rest changes on the live session. */
function apply(choice) {
  remember(choice);
  if (client?.user !== choice.user) {
    client?.leave();
    client = new Client({ ...choice, page });
    resetChat();
    if (isCut()) client.connection.cut(true);
    else client.connection.connect();
    return;
  }
  if (client.dialog !== choice.dialog) {
    sayTyping("");
    client.enter(choice.dialog);
    resetChat();
  }
  if (client.connection.choice !== choice.transport) client.connection.use(choice.transport);
}

function isCut() {
  return $("cut").getAttribute("aria-pressed") === "true";
}

function resetChat() {
  messages.reset(client.user);
  for (const user of [...typists.keys()]) stopTyping(user);
  people.clear();
  showPeople();
  hasHistory = false;
  $("older").disabled = true;
  for (const item of client.unanswered) page.outgoing(item);
}

// --------------------------------------------------------------------------------------------- What the client tells

const page = {
  changed: () => showState(),

  attached() {
    if (document.visibilityState === "hidden") client.status("away");
  },

  subscribed(entry) {
    if (entry.dialog_id !== client.dialog) return;
    if (entry.last_message_seq === 0) hasHistory = true;
    if (!hasHistory) loadHistory();
  },

  event(frame) {
    if (frame.dialog_id !== client.dialog) return;
    switch (frame.type) {
      case "message_new":
        messages.show(frame.message, frame.offset);
        return stopTyping(frame.message.sender_id);
      case "receipt":
        return messages.read(frame.user_id, frame.read_seq);
      case "typing":
        return showTyping(frame);
      case "presence":
        people.set(frame.user_id, frame.state);
        if (frame.state === "offline" && people.size > PEOPLE_MAX) people.delete(frame.user_id);
        return showPeople();
      case "membership":
        return messages.note(`${frame.user_id} was ${frame.change}`);
      case "gap":
        return messages.note(gapText(frame));
      default:
        return messages.note(`${frame.type}: ${JSON.stringify(frame.data ?? null).slice(0, LOG_LINE_MAX_CHARS)}`);
    }
  },

  messages(dialog, found, hasMore) {
    if (dialog !== client.dialog) return;
    for (const message of found) messages.show(message);
    if (hasMore !== undefined) $("older").disabled = !hasMore || messages.isFull;
  },

  presence(dialog, users) {
    if (dialog !== client.dialog) return;
    people.clear();
    for (const { user_id: user, state } of users) people.set(user, state);
    showPeople();
  },

  outgoing(item) {
    if (item.dialog_id === client?.dialog) messages.showOutgoing(item);
  },

  logged: (direction, frame) => log(direction, frame),
  notice: (text) => messages.note(text),
};

const messages = new MessageList($("messages"), {
  seen: (seq) => client.readUpTo(client.dialog, seq),
  retry: (id) => client.retry(id),
  discard: (id) => {
    client.discard(id);
    showState();
  },
});

function gapText({ from_offset: from, to_offset: to, reason, messages_restored: restored }) {
  const what = to < from ? "The log begins anew" : `Offsets ${from} to ${to} can't be replayed`;
  return `${what} (${reason}); ${restored ? "their messages follow" : "asking history"}`;
}

async function loadHistory() {
  const oldest = messages.oldestSeq;
  const list = $("messages");
  const fromEndPx = list.scrollHeight - list.scrollTop;
  $("older").disabled = true;
  try {
    await client.history(oldest);
    hasHistory = true;
    // What was in view stays where it was; the first page begins at its end.
    list.scrollTop = oldest === undefined ? list.scrollHeight : list.scrollHeight - fromEndPx;
  } catch (error) {
    $("older").disabled = false;
    if (error.code !== "network") messages.note(`History could not be loaded: ${error.code}`);
  }
}

// ------------------------------------------------------------------------------------------------- What is on show

function showState() {
  if (!client) return;
  const { connection, counters, position } = client;
  const { state, detail } = connection;
  const seconds = Math.max(0, (connection.returnAt - Date.now()) / 1000).toFixed(1);
  const words = {
    connecting: `Connecting by ${connection.transport}`,
    online: `Online by ${connection.transport}`,
    waiting: `Waiting to come back: ${detail}`,
    stopped: `Stopped: ${detail === "superseded" ? "another page has taken the session over" : detail}`,
    cut: "Network cut",
  };
  $("state").dataset.state = state;
  setText("state-words", words[state]);
  setText("countdown", state === "waiting" ? `${seconds} s` : "");
  $("reconnect").hidden = state !== "waiting" && state !== "stopped";
  for (const name of ["received", "repeated", "gapped", "restored", "lost"]) setText(name, counters[name]);
  $("lost").dataset.some = counters.lost > 0;
  setText("unanswered", client.unanswered.length);
  setText("transport", state === "online" ? connection.transport : `none (${connection.transport} chosen)`);
  setText("session", connection.session ?? "–");
  setText("cursor", connection.cursor ?? "–");
  setText("attach", connection.attach);
  setText("resume", connection.resume ?? "–");
  const outcomes = Object.entries(client.resumes).map(([outcome, count]) => `${outcome} ${count}`);
  setText("outcomes", outcomes.join(", ") || "–");
  setText("position", position ? `offset ${position.last ?? "–"}, seq ${position.seq}, epoch ${position.epoch ?? "–"}` : "–");
  $("end").disabled = state !== "online";
}

/** Leaves what is the same alone, so that nobody is read the same status twice. */
function setText(id, value) {
  const text = String(value);
  if ($(id).textContent !== text) $(id).textContent = text;
}

function showPeople() {
  const order = ["online", "away", "offline"];
  const sorted = [...people].sort(([a, x], [b, y]) => order.indexOf(x) - order.indexOf(y) || a.localeCompare(b));
  const rows = sorted.slice(0, PEOPLE_MAX).map(([user, state]) => {
    const name = user === client.user ? `${user} (you)` : user;
    return element("li", order.includes(state) ? state : "offline", state === "online" ? name : `${name}, ${state}`);
  });
  if (people.size > PEOPLE_MAX) rows.push(element("li", "offline", `and ${people.size - PEOPLE_MAX} more`));
  $("people").replaceChildren(...rows);
}

function showTyping({ user_id: user, state, expires_in_ms: expiresMs }) {
  stopTyping(user);
  if (state !== "started") return;
  typists.set(user, setTimeout(() => stopTyping(user), expiresMs ?? client.limits.typing_expires_ms));
  showTypists();
}

function stopTyping(user) {
  clearTimeout(typists.get(user));
  if (typists.delete(user)) showTypists();
}

function showTypists() {
  const names = [...typists.keys()];
  const who = names.length > 3 ? `${names.length} people are` : `${names.join(", ")} ${names.length > 1 ? "are" : "is"}`;
  setText("typing", names.length === 0 ? "" : `${who} typing…`);
}

function log(direction, frame) {
  const { token, ...rest } = frame;
  const line = JSON.stringify(token === undefined ? frame : { ...rest, token: "(not shown)" });
  const time = new Date().toISOString().slice(11, 23);
  const row = element("li", direction, `${time} ${direction === "up" ? "→" : "←"} ${line.slice(0, LOG_LINE_MAX_CHARS)}`);
  $("log").prepend(row);
  if ($("log").childElementCount > LOG_MAX_FRAMES) $("log").lastElementChild.remove();
}

// --------------------------------------------------------------------------------------------- What a person does

let typingSaidAt = -Infinity;

/** Tells that we type, no oftener than the server passes on; or that we stopped, once. */
function sayTyping(text) {
  const now = performance.now();
  const isTyping = text.trim() !== "";
  if (isTyping && now - typingSaidAt >= client.limits.typing_every_ms) {
    typingSaidAt = now;
    client.typing("started");
  } else if (!isTyping && typingSaidAt > -Infinity) {
    typingSaidAt = -Infinity;
    client.typing("stopped");
  }
}

/** What the protocol takes: newline and tab are the only control characters. */
function clean(text) {
  return text.replace(/\r\n?/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "").trim();
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = clean($("text").value);
  if (text === "" || !client.send(text)) return;
  $("text").value = "";
  typingSaidAt = -Infinity; // the message itself ends it
  showState();
});
$("text").addEventListener("input", () => sayTyping($("text").value));
$("text").addEventListener("blur", () => sayTyping(""));
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  apply({ user: $("user").value, dialog: $("dialog").value, transport: client.connection.choice });
});
$("transports").addEventListener("change", (event) => {
  apply({ user: client.user, dialog: client.dialog, transport: event.target.value });
});
$("cut").addEventListener("click", () => {
  const willCut = !isCut();
  $("cut").setAttribute("aria-pressed", willCut);
  client.connection.cut(willCut);
});
$("reconnect").addEventListener("click", () => client.connection.connect());
$("older").addEventListener("click", loadHistory);
$("burst").addEventListener("click", () => {
  for (let number = 1; number <= BURST_MESSAGES; number += 1) client.send(`number ${number} of ${BURST_MESSAGES}`);
  showState();
});
$("end").addEventListener("click", () => {
  client.connection.end().catch((error) => messages.note(`The session could not be ended: ${error.message}`));
});

window.addEventListener("hashchange", () => apply(chosen()));
window.addEventListener("online", () => client.connection.nudge());
window.addEventListener("pagehide", () => client.saveNow());
document.addEventListener("visibilitychange", () => {
  const isVisible = document.visibilityState === "visible";
  client.status(isVisible ? "online" : "away");
  if (!isVisible) return;
  client.connection.nudge();
  messages.lookAgain();
});

apply(chosen());
setInterval(showState, CLOCK_MS);
