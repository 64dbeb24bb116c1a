// The messages of a dialog, in the order of their numbers, however they came.

import { avatar, clip, dayOf, element, link, linked, safeAddress, setText, timeOf } from "./dom.js";

/** So near to its end the list follows what comes in. */
const FOLLOW_WITHIN_PX = 80;
/** Messages of one person that follow each other this closely stand together. */
const GROUP_WITHIN_MS = 3 * 60_000;

export class Thread {
  #list;
  #more;
  #jump;
  #trouble;
  #chat;
  #actions;
  /** By key: `{ node, print }`; `print` changes when the row must be made anew. */
  #rows = new Map();
  #shown = null;

  /**
   * @param {{ list: HTMLElement, more: HTMLButtonElement, jump: HTMLButtonElement, trouble: HTMLElement }} parts
   * @param {{ retry: (id: string) => void, discard: (id: string) => void }} actions
   */
  constructor({ list, more, jump, trouble }, chat, actions) {
    this.#list = list;
    this.#more = more;
    this.#jump = jump;
    this.#trouble = trouble;
    this.#chat = chat;
    this.#actions = actions;
    list.addEventListener("scroll", () => this.#scrolled());
    more.addEventListener("click", () => chat.loadOlder());
    jump.addEventListener("click", () => this.toEnd());
    document.addEventListener("visibilitychange", () => this.#scrolled());
  }

  render() {
    const dialog = this.#chat.current;
    if (!dialog) return;
    const list = this.#list;
    const isOther = dialog !== this.#shown;
    if (isOther) {
      this.#rows.clear();
      list.replaceChildren();
      this.#shown = dialog;
    }
    const isAtEnd = isOther || this.#isAtEnd;
    const fromEndPx = list.scrollHeight - list.scrollTop;
    const before = list.querySelector(".message")?.dataset.seq;
    list.setAttribute("aria-busy", String(dialog.isLoading));
    this.#place(this.#items(dialog));
    this.#more.hidden = !dialog.hasMore || !dialog.isLoaded;
    this.#more.disabled = dialog.isLoading;
    setText(this.#more, dialog.isLoading ? "Loading…" : "Older messages");
    list.dataset.empty = dialog.isLoaded && !dialog.trouble ? "No messages yet. Say something." : "";
    setText(this.#trouble, dialog.trouble);
    const isOlder = !isOther && before !== undefined && list.querySelector(".message")?.dataset.seq !== before;
    if (isAtEnd) list.scrollTop = list.scrollHeight;
    else if (isOlder) list.scrollTop = list.scrollHeight - fromEndPx; // what was in view stays where it was
    this.#scrolled();
  }

  toEnd() {
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  get #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#list;
    return scrollHeight - scrollTop - clientHeight < FOLLOW_WITHIN_PX;
  }

  #scrolled() {
    const dialog = this.#chat.current;
    if (!dialog) return;
    const isSeen = this.#isAtEnd && document.visibilityState === "visible";
    if (isSeen && dialog.isLoaded) this.#chat.seen();
    this.#jump.hidden = this.#isAtEnd;
    setText(this.#jump, dialog.unread > 0 ? `↓ ${dialog.unread} new` : "↓ To the newest");
    if (this.#list.scrollTop < 60 && dialog.isLoaded && dialog.hasMore && !this.#isAtEnd) this.#chat.loadOlder();
  }

  // ------------------------------------------------------------------------------------------------- Rows

  /** What stands in the list, from top to bottom: `{ key, print, make }`. */
  #items(dialog) {
    const items = [];
    const messages = [...dialog.messages.values()].sort((a, b) => a.seq - b.seq);
    const notes = [...dialog.notes];
    let before = null;
    const addNotes = (seq) => {
      while (notes.length > 0 && notes[0].afterSeq < seq) items.push(noteItem(notes.shift()));
    };
    for (const message of messages) {
      addNotes(message.seq);
      const day = dayOf(message.created_at);
      if (day !== (before && dayOf(before.created_at))) {
        items.push({ key: `day ${message.seq}`, print: day, make: () => element("div", { class: "day" }, element("span", {}, day)) });
        before = null;
      }
      const isFirst = !follows(message, before);
      const readers = message.sender_id === this.#chat.me ? readersOf(dialog, message.seq) : [];
      items.push({
        key: message.message_id,
        print: `${isFirst} ${readers.join()} ${message.created_at}`,
        make: () => this.#message(message, isFirst, readers, dialog),
      });
      before = message;
    }
    addNotes(Infinity);
    for (const item of this.#chat.outgoing) {
      items.push({ key: item.client_message_id, print: `${item.state} ${item.code}`, make: () => this.#outgoing(item) });
    }
    return items;
  }

  #place(items) {
    const keys = new Set(items.map(({ key }) => key));
    for (const [key, { node }] of this.#rows) {
      if (keys.has(key)) continue;
      node.remove();
      this.#rows.delete(key);
    }
    let at = this.#list.firstChild;
    for (const { key, print, make } of items) {
      let row = this.#rows.get(key);
      if (row?.print !== print) {
        const node = make();
        if (row) {
          if (at === row.node) at = node;
          row.node.replaceWith(node);
        }
        row = { node, print };
        this.#rows.set(key, row);
      }
      if (row.node === at) at = at.nextSibling;
      else this.#list.insertBefore(row.node, at);
    }
  }

  #message(message, isFirst, readers, dialog) {
    const { sender_id: sender, body, seq, created_at, reply_to } = message;
    const isOwn = sender === this.#chat.me;
    const answered = reply_to && [...dialog.messages.values()].find(({ message_id }) => message_id === reply_to);
    const row = bubble(isOwn, isFirst, sender, body, answered);
    row.dataset.seq = seq;
    const foot = row.querySelector(".foot");
    foot.append(timeOf(created_at) ?? "");
    if (isOwn) foot.append(mark(readers.length > 0 ? "read" : "sent", readers));
    return row;
  }

  #outgoing({ client_message_id: id, body, state, code }) {
    const row = bubble(true, true, this.#chat.me, body);
    row.classList.add(state);
    row.dataset.state = state;
    const foot = row.querySelector(".foot");
    foot.append(mark(state));
    if (state === "failed") {
      foot.append(element("span", { class: "why" }, `Not sent: ${reasonOf(code)}`));
      foot.append(element("button", { type: "button", class: "small", onclick: () => this.#actions.retry(id) }, "Try again"));
      foot.append(element("button", { type: "button", class: "small", onclick: () => this.#actions.discard(id) }, "Discard"));
    }
    return row;
  }
}

function bubble(isOwn, isFirst, sender, body, answered) {
  const row = element("div", { class: `message ${isOwn ? "own" : "other"}${isFirst ? " first" : ""}` });
  const content = element("div", { class: "bubble" });
  if (isFirst && !isOwn) row.append(avatar(sender));
  // The name is always there for those who listen.
  const name = element("span", { class: isFirst && !isOwn ? "who" : "unseen" }, isOwn ? "You" : sender);
  name.style.setProperty("--hue", avatar(sender).style.getPropertyValue("--hue"));
  content.append(name);
  if (answered) content.append(element("blockquote", {}, `${answered.sender_id}: ${String(answered.body?.text ?? "").slice(0, 120)}`));
  if (body?.text) content.append(element("p", { class: "text" }, ...linked(String(body.text))));
  for (const attachment of body?.attachments ?? []) content.append(attachmentOf(attachment));
  content.append(element("div", { class: "foot" }));
  row.append(content);
  return row;
}

/** A link only if it leads to where a browser may go; else it is a name and nothing more. */
function attachmentOf({ name, url }) {
  const address = url && safeAddress(url);
  const label = String(name ?? "attachment");
  if (!address) return element("p", { class: "attachment" }, clip(), label, element("span", { class: "why" }, " (no link)"));
  return element("p", { class: "attachment" }, clip(), link(address, label), element("span", { class: "why" }, ` ${new URL(address).host}`));
}

const MARKS = { pending: ["◷", "sending"], sent: ["✓", "sent"], read: ["✓✓", "read"], failed: ["!", "not sent"] };

function mark(state, readers = []) {
  const [sign, words] = MARKS[state];
  const who = readers.length > 0 ? `read by ${readers.join(", ")}` : words;
  const shown = element("span", { "aria-hidden": "true" }, sign);
  return element("span", { class: `mark ${state}`, title: who }, shown, element("span", { class: "unseen" }, who));
}

function noteItem(note) {
  note.key ??= `note ${Math.random()}`;
  return { key: note.key, print: "", make: () => element("div", { class: "note" }, note.text) };
}

function readersOf(dialog, seq) {
  return [...dialog.reads].filter(([, read]) => read >= seq).map(([user]) => user);
}

function follows(message, before) {
  const isSame = before?.sender_id === message.sender_id;
  return isSame && Date.parse(message.created_at) - Date.parse(before.created_at) < GROUP_WITHIN_MS;
}

const REASONS = {
  not_member: "you are not a member",
  too_large: "it is too long",
  bad_request: "it can't be sent like this",
  forbidden: "you may not write here",
  conflict: "another message has its name",
};
const reasonOf = (code) => REASONS[code] ?? code;
