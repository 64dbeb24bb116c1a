// The list of messages: in the order of their seq, whatever way and order they came in. Everything that people or
// servers wrote goes in as text, never as markup.

/** Beyond this the oldest rows make room. */
const ROWS_MAX = 1_000;
/** So near to the end the list follows what comes in. */
const FOLLOW_WITHIN_PX = 80;

export class MessageList {
  #list;
  #me = "";
  #actions;
  /** In display order: `{order, element, message?, itemId?}`; `order` is [seq, n], with Infinity for what waits. */
  #rows = [];
  #byMessage = new Map();
  #byItem = new Map();
  #reads = new Map();
  #watcher;
  #notes = 0;

  /** @param actions `seen(seq)`, `retry(id)`, `discard(id)` */
  constructor(list, actions) {
    this.#list = list;
    this.#actions = actions;
    this.#watcher = new IntersectionObserver((entries) => this.#seen(entries), { root: list, threshold: 0.6 });
  }

  /** Empties the list for another dialog or user. */
  reset(me) {
    this.#me = me;
    this.#watcher.disconnect();
    this.#list.replaceChildren();
    this.#rows = [];
    for (const map of [this.#byMessage, this.#byItem, this.#reads]) map.clear();
  }

  get isFull() {
    return this.#rows.length >= ROWS_MAX;
  }

  get oldestSeq() {
    return this.#rows.find((row) => row.message)?.message.seq;
  }

  /** A message from an event (with `offset`) or from history (without). */
  show(message, offset) {
    const known = this.#byMessage.get(message.message_id);
    if (known) {
      known.message = { ...known.message, ...message };
      if (offset !== undefined) known.offset = offset;
      this.#fill(known);
      return;
    }
    const row = { order: [message.seq, 0], message, offset, element: element("li") };
    this.#byMessage.set(message.message_id, row);
    this.#fill(row);
    this.#place(row);
    if (message.sender_id !== this.#me) this.#watcher.observe(row.element);
  }

  /** A message of ours on its way: `state` is `pending`, `sent` or `failed`. */
  showOutgoing(item) {
    const row = this.#byItem.get(item.id);
    if (item.state === "sent") return this.#sent(item, row);
    if (row) {
      row.item = item;
      return this.#fill(row);
    }
    this.#notes += 1;
    const fresh = { order: [Infinity, this.#notes], item, element: element("li") };
    this.#byItem.set(item.id, fresh);
    this.#fill(fresh);
    this.#place(fresh, true);
  }

  /** A line of the page's own: somebody joined, a gap. */
  note(text) {
    this.#notes += 1;
    const last = this.#rows.findLast((row) => row.message)?.message.seq ?? 0;
    const row = { order: [last, this.#notes], element: element("li", "note", text) };
    this.#place(row);
  }

  /** Somebody has read up to a message. */
  read(user, seq) {
    if (user === this.#me) return;
    this.#reads.set(user, Math.max(this.#reads.get(user) ?? 0, seq));
    for (const row of this.#rows) {
      if (row.message?.sender_id === this.#me && row.message.seq <= seq) this.#fill(row);
    }
  }

  /** Looks again at what is in view: the page was hidden before. */
  lookAgain() {
    for (const row of this.#rows) {
      if (!row.message || row.message.sender_id === this.#me) continue;
      this.#watcher.unobserve(row.element);
      this.#watcher.observe(row.element);
    }
  }

  #sent(item, row) {
    this.#byItem.delete(item.id);
    const { message_id, seq, created_at } = item.reply;
    if (row) this.#remove(row);
    this.show({
      message_id,
      seq,
      created_at,
      sender_id: this.#me,
      client_message_id: item.id,
      body: item.body,
    });
  }

  #seen(entries) {
    if (document.visibilityState !== "visible") return;
    const inView = new Set(entries.filter(({ isIntersecting }) => isIntersecting).map(({ target }) => target));
    if (inView.size === 0) return;
    const newest = this.#rows.findLast((row) => inView.has(row.element));
    if (newest) this.#actions.seen(newest.message.seq);
  }

  // ------------------------------------------------------------------------------------------------ Rows and marks

  #fill(row) {
    const { message, item } = row;
    const body = message?.body ?? item.body;
    const sender = message?.sender_id ?? this.#me;
    const isOwn = sender === this.#me;
    const state = message ? "sent" : item.state;
    row.element.className = `message ${isOwn ? "own" : "other"} ${state}`;
    row.element.dataset.state = state;
    if (message) row.element.dataset.seq = message.seq;
    if (row.offset !== undefined) row.element.dataset.offset = row.offset;
    row.element.style.setProperty("--hue", hueOf(sender));

    const head = element("div", "head");
    head.append(element("span", "who", isOwn ? `${sender} (you)` : sender));
    if (message) head.append(timeElement(message.created_at));
    const parts = [head];
    if (message?.reply_to) parts.push(element("p", "aside", `in reply to ${message.reply_to}`));
    if (body?.text) parts.push(element("p", "text", body.text));
    for (const { name } of body?.attachments ?? []) parts.push(element("p", "aside", `attachment: ${name}`));
    const foot = element("div", "foot");
    if (message) foot.append(element("span", "place", placeOf(message.seq, row.offset)));
    if (isOwn) foot.append(this.#mark(row, state));
    if (state === "failed") foot.append(...this.#choices(item));
    row.element.replaceChildren(...parts, foot);
  }

  #mark(row, state) {
    if (state === "pending") return element("span", "mark", "◷ pending");
    if (state === "failed") return element("span", "mark", `✕ failed (${row.item.code})`);
    const readers = [...this.#reads].filter(([, seq]) => seq >= row.message.seq).map(([user]) => user);
    if (readers.length === 0) return element("span", "mark", "✓ sent");
    const mark = element("span", "mark read", `✓✓ read by ${readers.length}`);
    mark.title = readers.join(", ");
    return mark;
  }

  #choices(item) {
    const retry = element("button", "small", "Try again");
    retry.type = "button";
    retry.onclick = () => this.#actions.retry(item.id);
    const discard = element("button", "small", "Discard");
    discard.type = "button";
    discard.onclick = () => {
      this.#remove(this.#byItem.get(item.id));
      this.#byItem.delete(item.id);
      this.#actions.discard(item.id);
    };
    return [retry, discard];
  }

  #place(row, follow = false) {
    const list = this.#list;
    const fromEndPx = list.scrollHeight - list.scrollTop - list.clientHeight;
    let at = this.#rows.length;
    while (at > 0 && isBefore(row.order, this.#rows[at - 1].order)) at -= 1;
    list.insertBefore(row.element, this.#rows[at]?.element ?? null);
    this.#rows.splice(at, 0, row);
    if (this.#rows.length > ROWS_MAX) this.#remove(this.#rows[0]);
    if (follow || fromEndPx < FOLLOW_WITHIN_PX) list.scrollTop = list.scrollHeight;
  }

  #remove(row) {
    this.#watcher.unobserve(row.element);
    row.element.remove();
    this.#rows = this.#rows.filter((other) => other !== row);
    if (row.message) this.#byMessage.delete(row.message.message_id);
  }
}

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The same colour for the same name, everywhere. */
export function hueOf(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 360;
  return String(hash);
}

function timeElement(createdAt) {
  const made = element("time");
  const at = new Date(createdAt);
  if (!Number.isNaN(at.getTime())) {
    made.dateTime = createdAt;
    made.title = at.toLocaleString();
    made.textContent = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  }
  return made;
}

function placeOf(seq, offset) {
  return offset === undefined ? `#${seq}` : `#${seq} · offset ${offset}`;
}

function isBefore([seq, n], [otherSeq, otherN]) {
  return seq === otherSeq ? n < otherN : seq < otherSeq;
}
