// What there is to show: dialogs with their messages, who is in them, and what is new. No DOM in here.

const MESSAGES_MAX = 2000;
const HISTORY_PAGE = 40;
const READ_DELAY_MS = 250;
/** Dialogs whose last message is asked for, to show it in the list. */
const PREVIEWS_MAX = 10;

class Dialog {
  /** By `seq`. */
  messages = new Map();
  /** By user: how far they have read. */
  reads = new Map();
  /** By user: the timer that ends their typing. */
  typists = new Map();
  /** By user: `online`, `away`. */
  people = new Map();
  /** What happened besides: `{ afterSeq, text }`. */
  notes = [];
  lastSeq = 0;
  readSeq = 0;
  /** How far the server was told that it has been read. */
  toldSeq = 0;
  readTimer = 0;
  hasMore = true;
  isLoading = false;
  isLoaded = false;
  /** Why it can't be read, if so. */
  trouble = "";

  constructor(id) {
    this.id = id;
  }

  get unread() {
    return Math.max(0, this.lastSeq - this.readSeq);
  }

  get oldestSeq() {
    return Math.min(...this.messages.keys());
  }

  get newest() {
    return this.messages.get(Math.max(...this.messages.keys()));
  }
}

export class Chat {
  dialogs = new Map();
  current = null;
  #client;
  #changed;
  #proof;
  #previews = 0;
  me;

  /**
   * @param client an EdgewayClient
   * @param {(what: "dialogs" | "thread" | "people" | "typing", dialog: Dialog) => void} changed
   */
  constructor(client, me, proof, changed) {
    this.#client = client;
    this.#changed = changed;
    this.#proof = proof;
    this.me = me;
    client.on("subscribed", (entry) => this.#subscribed(entry));
    client.on("attached", () => this.#attached());
    client.on("event", (event) => this.#event(event));
    client.on("outbox", (item) => {
      if (item.reply) this.#sent(item);
      this.#changed("thread", this.#dialog(item.dialog_id));
    });
    client.subscribeAll({ presence: true });
  }

  /** Goes to a dialog, and follows it from now on. */
  open(id) {
    const dialog = this.join(id);
    this.current = dialog;
    this.#changed("dialogs", dialog);
    this.#changed("people", dialog);
    this.#changed("typing", dialog);
    this.#changed("thread", dialog);
    if (!dialog.isLoaded) this.loadOlder();
  }

  join(id) {
    const dialog = this.#dialog(id);
    if (dialog.subscription) return dialog;
    dialog.subscription = this.#client.subscribe(id, { presence: true });
    dialog.subscription.ready.catch(({ code }) => {
      if (code === "closed") return;
      dialog.trouble = code === "not_member" ? "You are not a member of this dialog." : `This dialog can't be read: ${code}`;
      dialog.subscription = null;
      this.#changed("thread", dialog);
    });
    return dialog;
  }

  /** What waits to be sent in the dialog that is open. */
  get outgoing() {
    return this.#client.outbox.filter(({ dialog_id: dialog }) => dialog === this.current?.id);
  }

  async loadOlder() {
    const dialog = this.current;
    if (!dialog || dialog.isLoading || !dialog.hasMore) return;
    dialog.isLoading = true;
    this.#changed("thread", dialog);
    try {
      const beforeSeq = dialog.messages.size > 0 ? dialog.oldestSeq : undefined;
      const { messages, has_more } = await this.#client.history(dialog.id, { beforeSeq, limit: HISTORY_PAGE });
      for (const message of messages) this.#add(dialog, message);
      dialog.hasMore = has_more;
      dialog.isLoaded = true;
    } catch ({ code, retryable }) {
      if (!retryable) dialog.hasMore = false;
      if (code === "not_member") dialog.trouble = "You are not a member of this dialog.";
    }
    dialog.isLoading = false;
    this.#changed("thread", dialog);
    this.#changed("dialogs", dialog);
  }

  /** Everything in the open dialog has been seen. Told once for several in a row, one's own among them. */
  seen() {
    const dialog = this.current;
    if (!dialog || dialog.toldSeq >= dialog.lastSeq) return;
    dialog.readSeq = dialog.toldSeq = dialog.lastSeq;
    this.#changed("dialogs", dialog);
    clearTimeout(dialog.readTimer);
    dialog.readTimer = setTimeout(() => this.#tellRead(dialog), READ_DELAY_MS);
  }

  /** The page may not come back: what has been read is told at once. */
  leave() {
    for (const dialog of this.dialogs.values()) if (dialog.readTimer) this.#tellRead(dialog);
  }

  #tellRead(dialog) {
    clearTimeout(dialog.readTimer);
    dialog.readTimer = 0;
    this.#client.readUpto(dialog.id, dialog.toldSeq).catch(() => {}); // the next one says the same
  }

  get unread() {
    return [...this.dialogs.values()].reduce((sum, { unread }) => sum + unread, 0);
  }

  #dialog(id) {
    const dialog = this.dialogs.get(id) ?? new Dialog(id);
    this.dialogs.set(id, dialog);
    return dialog;
  }

  #subscribed({ dialog_id: id, last_message_seq: last = 0, read_seq: read = 0, presence }) {
    const dialog = this.#dialog(id);
    dialog.trouble = "";
    dialog.lastSeq = Math.max(dialog.lastSeq, last);
    dialog.readSeq = Math.max(dialog.readSeq, read);
    dialog.toldSeq = Math.max(dialog.toldSeq, read);
    if (presence) this.#present(dialog, presence);
    if (dialog === this.current && !dialog.isLoaded) this.loadOlder();
    else if (dialog !== this.current && dialog.messages.size === 0 && last > 0) this.#preview(dialog);
    this.#changed("dialogs", dialog);
  }

  async #preview(dialog) {
    if (this.#previews >= PREVIEWS_MAX) return;
    this.#previews += 1;
    try {
      const { messages } = await this.#client.history(dialog.id, { limit: 1 });
      for (const message of messages) this.#add(dialog, message);
      this.#changed("dialogs", dialog);
    } catch {
      // Then there is none.
    }
  }

  /** What is ephemeral was not told while we were away. */
  async #attached() {
    const dialog = this.current;
    if (!dialog) return;
    try {
      this.#present(dialog, await this.#client.presence(dialog.id));
    } catch {
      // Not a member, or away again: then there is nobody to show.
    }
    if (!dialog.isLoaded) this.loadOlder();
  }

  #present(dialog, users) {
    dialog.people = new Map(users.filter(({ state }) => state !== "offline").map(({ user_id, state }) => [user_id, state]));
    this.#changed("people", dialog);
  }

  #event(event) {
    const dialog = event.dialog_id && this.#dialog(event.dialog_id);
    if (!dialog) return;
    const { type, user_id: user } = event;
    if (type === "message_new") this.#message(dialog, event.message);
    else if (type === "receipt") this.#read(dialog, user, event.read_seq);
    else if (type === "typing") this.#typing(dialog, user, event.state === "started" ? event.expires_in_ms : 0);
    else if (type === "presence") this.#presence(dialog, user, event.state);
    else if (type === "membership") this.#membership(dialog, event);
    else if (type === "gap") this.#note(dialog, gapText(event));
    else this.#note(dialog, `${type}: ${JSON.stringify(event.data ?? null).slice(0, 200)}`);
  }

  #message(dialog, message) {
    this.#proof.message(message);
    this.#typing(dialog, message.sender_id, 0);
    this.#add(dialog, message);
    if (message.sender_id === this.me) dialog.readSeq = Math.max(dialog.readSeq, message.seq);
    this.#changed("thread", dialog);
    this.#changed("dialogs", dialog);
  }

  #add(dialog, message) {
    dialog.messages.set(message.seq, message);
    dialog.lastSeq = Math.max(dialog.lastSeq, message.seq);
    if (dialog.messages.size > MESSAGES_MAX) {
      dialog.messages.delete(dialog.oldestSeq);
      dialog.hasMore = true;
    }
  }

  /** Answered before it came back as an event: it is in its place already. */
  #sent({ dialog_id: id, client_message_id, body, reply_to, reply }) {
    const { message_id, seq, created_at } = reply;
    const dialog = this.#dialog(id);
    if (dialog.messages.has(seq)) return;
    this.#add(dialog, { message_id, dialog_id: id, seq, sender_id: this.me, client_message_id, body, reply_to, created_at });
    dialog.readSeq = Math.max(dialog.readSeq, seq);
  }

  #read(dialog, user, seq) {
    if (user === this.me) dialog.readSeq = Math.max(dialog.readSeq, seq);
    else dialog.reads.set(user, Math.max(dialog.reads.get(user) ?? 0, seq));
    this.#changed("thread", dialog);
    this.#changed("dialogs", dialog);
  }

  #typing(dialog, user, expiresMs) {
    const isKnown = dialog.typists.has(user);
    clearTimeout(dialog.typists.get(user));
    if (expiresMs > 0) dialog.typists.set(user, setTimeout(() => this.#typing(dialog, user, 0), expiresMs));
    else if (!dialog.typists.delete(user)) return;
    if (!isKnown || expiresMs === 0) this.#changed("typing", dialog);
  }

  #presence(dialog, user, state) {
    if (state === "offline") dialog.people.delete(user);
    else dialog.people.set(user, state);
    this.#changed("people", dialog);
  }

  #membership(dialog, { user_id: user, change, by }) {
    const isMe = user === this.me;
    if (isMe && change === "removed") {
      this.#proof.left(dialog.id);
      dialog.trouble = "You are not a member of this dialog any more.";
      dialog.people.clear();
    } else if (isMe) {
      dialog.trouble = "";
    }
    const verb = change === "added" ? (isMe ? "have joined" : "has joined") : isMe ? "were removed" : "has left";
    this.#note(dialog, `${isMe ? "You" : user} ${verb}${by && by !== user ? ` (by ${by})` : ""}`);
    this.#changed("people", dialog);
    this.#changed("dialogs", dialog);
  }

  #note(dialog, text) {
    dialog.notes.push({ afterSeq: dialog.lastSeq, text });
    if (dialog.notes.length > 100) dialog.notes.shift();
    this.#changed("thread", dialog);
  }
}

function gapText({ from_offset: from, to_offset: to, reason }) {
  return to < from ? `The log begins anew (${reason})` : `Some events can't be told any more (${reason}); messages are being fetched`;
}
