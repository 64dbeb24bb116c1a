// A chat client on one session: which dialog it follows, what it sends and has read, and what must survive a reload.

import { backoffMs } from "./backoff.js";
import { Connection } from "./connection.js";
import { Ledger } from "./ledger.js";
import { Outbox } from "./outbox.js";
import { Timers } from "./timers.js";
import { Tokens } from "./tokens.js";

const SAVE_DELAY_MS = 100;
/** Reading several messages in a row is told once. */
const READ_DELAY_MS = 300;
const HISTORY_PAGE = 50;
const REFILL_PAGE = 200;
/** After a gap: so many pages are asked for at the most. */
const REFILL_PAGES_MAX = 5;
/** Codes after which a dialog that could not be subscribed is tried again. */
const PASSING_CODES = new Set(["unavailable", "timeout", "internal", "overloaded", "rate_limited", "draining"]);

export class Client {
  #page;
  #storageKey;
  #ledger;
  #outbox;
  #timers = new Timers();
  /** Dialogs the session is subscribed to, as far as we were told. */
  #subscribed;
  #subscribing = false;
  /** By dialog: how far a person has read, and how far this transport has been told. */
  #read = { wanted: new Map(), told: new Map() };

  user;
  dialog;
  connection;
  /** How often each outcome of `resume` was met. */
  resumes;
  /** The server's, once attached; until then the protocol's defaults. */
  limits = { text_chars: 4096, typing_every_ms: 3000, typing_expires_ms: 6000 };

  /**
   * @param page `changed()`, `attached()`, `subscribed(entry)`, `event(frame)`, `messages(dialog, messages, hasMore)`
   *   (history; without `hasMore` it says nothing about older ones), `presence(dialog, users)`, `outgoing(item)`,
   *   `logged(direction, frame)`, `notice(text)`
   */
  constructor({ user, dialog, transport, page }) {
    this.user = user;
    this.dialog = dialog;
    this.#page = page;
    this.#storageKey = `edgeway-demo/${user}`;
    const saved = load(this.#storageKey);
    this.resumes = saved?.resumes ?? {};
    this.#subscribed = new Set(saved?.subscribed ?? []);
    this.#ledger = new Ledger(saved?.ledger);
    this.#outbox = new Outbox(
      saved?.outbox,
      (command) => this.connection.request(command),
      (item) => {
        this.#save();
        page.outgoing(item);
      },
    );
    this.connection = new Connection({
      choice: transport,
      tokens: new Tokens(user),
      saved: saved?.connection,
      owner: {
        attached: (isNew, welcome) => this.#attached(isNew, welcome),
        event: (frame) => this.#event(frame),
        logged: (direction, frame) => page.logged(direction, frame),
        changed: () => page.changed(),
        save: () => this.#save(),
        saveNow: () => this.saveNow(),
      },
    });
  }

  /** Proof of delivery, over all dialogs. */
  get counters() {
    return { ...this.#ledger.counters, lost: this.#ledger.lost };
  }

  /** `{epoch, last, seq}` of the dialog that is open, or null. */
  get position() {
    return this.#ledger.position(this.dialog);
  }

  /** Messages that the server has not answered, or has refused. */
  get unanswered() {
    return this.#outbox.items;
  }

  /** Goes to another dialog, in the same session. */
  enter(dialog) {
    this.dialog = dialog;
    this.#reconcile();
    this.#page.changed();
  }

  /** Lets another user take the page over. */
  leave() {
    this.connection.leave();
    this.#timers.cancelAll();
  }

  send(text) {
    if (!this.#outbox.add(this.dialog, text)) {
      this.#page.notice("Too many messages are waiting already.");
      return false;
    }
    this.#outbox.flush();
    return true;
  }

  retry(id) {
    this.#outbox.retry(id);
    this.#outbox.flush();
  }

  discard(id) {
    this.#outbox.discard(id);
    this.#save();
  }

  typing(state) {
    this.connection.attempt({ type: "typing", dialog_id: this.dialog, state });
  }

  status(state) {
    this.connection.attempt({ type: "status", state });
  }

  readUpTo(dialog, seq) {
    if (seq <= (this.#read.wanted.get(dialog) ?? 0)) return;
    this.#read.wanted.set(dialog, seq);
    if (!this.#timers.runs("read")) this.#timers.start("read", READ_DELAY_MS, () => this.#tellRead());
  }

  /** Asks for messages before `beforeSeq`, or for the newest. Rejects with the error of the reply. */
  async history(beforeSeq) {
    const dialog = this.dialog;
    const command = { type: "history", dialog_id: dialog, before_seq: beforeSeq, limit: HISTORY_PAGE };
    const { messages, has_more: hasMore } = await this.connection.request(command);
    for (const { seq } of messages) this.#ledger.sawSeq(dialog, seq);
    this.#page.messages(dialog, messages, hasMore);
  }

  saveNow() {
    this.#timers.cancel("save");
    const state = {
      connection: this.connection,
      subscribed: [...this.#subscribed],
      resumes: this.resumes,
      ledger: this.#ledger,
      outbox: this.#outbox,
    };
    try {
      sessionStorage.setItem(this.#storageKey, JSON.stringify(state));
    } catch {
      // No storage, or it is full: the demo goes on, only a reload will begin anew.
    }
  }

  #save() {
    if (!this.#timers.runs("save")) this.#timers.start("save", SAVE_DELAY_MS, () => this.saveNow());
  }

  // ------------------------------------------------------------------------------------------------------- Events

  #event(frame) {
    if (frame.type === "typing" || frame.type === "presence") return this.#page.event(frame);
    const lastSeq = this.#ledger.position(frame.dialog_id)?.seq ?? 0;
    const isNews = this.#ledger.enter(frame);
    this.#page.changed();
    if (!isNews) return;
    const { message } = frame;
    if (message?.sender_id === this.user) this.#outbox.settle(message.client_message_id, message);
    this.#page.event(frame);
    if (frame.type === "gap" && frame.messages_restored !== true) this.#refill(frame.dialog_id, lastSeq);
    if (frame.type === "membership" && frame.user_id === this.user) this.#membershipChanged(frame);
  }

  #membershipChanged({ dialog_id: dialog, change }) {
    if (change === "removed") this.#subscribed.delete(dialog);
    else if (dialog === this.dialog) this.#reconcile();
  }

  /** A gap came without its messages: history has them. */
  async #refill(dialog, afterSeq) {
    try {
      let after = afterSeq;
      for (let page = 0; page < REFILL_PAGES_MAX && dialog === this.dialog; page += 1) {
        const command = { type: "history", dialog_id: dialog, after_seq: after, limit: REFILL_PAGE };
        const { messages, has_more: hasMore } = await this.connection.request(command);
        for (const { seq } of messages) this.#ledger.sawSeq(dialog, seq);
        this.#page.messages(dialog, messages);
        if (!hasMore || messages.length === 0) return;
        after = Math.max(...messages.map(({ seq }) => seq));
      }
    } catch (error) {
      this.#page.notice(`What the gap left out could not be loaded: ${error.code}`);
    }
  }

  // ------------------------------------------------------------------------------------------------ After an attach

  #attached(isNew, { resume, limits }) {
    if (isNew) this.#subscribed.clear();
    this.resumes[resume] = (this.resumes[resume] ?? 0) + 1;
    this.limits = { ...this.limits, ...limits };
    this.#read.told.clear(); // what was told may not have arrived; a repeat is harmless
    this.#page.attached();
    const goesOn = this.#subscribed.has(this.dialog);
    this.#reconcile();
    if (goesOn) this.#catchUp();
    this.#outbox.flush();
    this.#tellRead();
  }

  /** The session goes on as it was; only ephemeral events have passed us by. */
  async #catchUp() {
    const { dialog } = this;
    this.#page.subscribed({ dialog_id: dialog });
    const reply = await this.connection.request({ type: "presence", dialog_id: dialog }).catch(() => null);
    if (reply?.users) this.#page.presence(dialog, reply.users);
  }

  /** Makes the session's subscriptions what we want: exactly the dialog that is open. */
  async #reconcile() {
    if (this.#subscribing || !this.connection.online) return;
    this.#subscribing = true;
    const { dialog } = this;
    let retryMs = null;
    try {
      const left = [...this.#subscribed].filter((name) => name !== dialog);
      if (left.length > 0) {
        await this.connection.request({ type: "unsubscribe", dialogs: left });
        for (const name of left) this.#subscribed.delete(name);
      }
      if (!this.#subscribed.has(dialog)) retryMs = await this.#subscribe(dialog);
    } catch (error) {
      if (error.code === "network") return; // the next attach reconciles
      this.#page.notice(`${dialog}: ${error.code}`);
      if (error.retryable) retryMs = error.retry_after_ms ?? backoffMs(2);
    } finally {
      this.#subscribing = false;
    }
    if (dialog !== this.dialog) this.#reconcile(); // it was changed while we were asking
    else if (retryMs !== null) this.#timers.start("subscribe", retryMs, () => this.#reconcile());
  }

  /** @returns milliseconds to wait before trying again, or null */
  async #subscribe(dialog) {
    // Where we have been before, the server goes on from there, also in a new session.
    const since = this.#ledger.since(dialog);
    const wish = since ? { dialog_id: dialog, since } : dialog;
    const reply = await this.connection.request({ type: "subscribe", dialogs: [wish], presence: true });
    const failure = reply.failed?.find((entry) => entry.dialog_id === dialog);
    if (failure) {
      this.#page.notice(`${dialog}: ${failure.code}`);
      return PASSING_CODES.has(failure.code) ? backoffMs(2) : null;
    }
    const entry = reply.dialogs.find((candidate) => candidate.dialog_id === dialog);
    // With `since`, the events themselves bring us to where the answer says the log is, and a gap if need be.
    if (!since) this.#ledger.begin(entry);
    this.#subscribed.add(dialog);
    this.#read.wanted.set(dialog, Math.max(this.#read.wanted.get(dialog) ?? 0, entry.read_seq ?? 0));
    this.#save();
    this.#page.subscribed(entry);
    if (entry.presence) this.#page.presence(dialog, entry.presence);
    this.#page.changed();
    return null;
  }

  async #tellRead() {
    for (const [dialog, seq] of this.#read.wanted) {
      if (!this.connection.online || seq <= (this.#read.told.get(dialog) ?? 0)) continue;
      this.#read.told.set(dialog, seq);
      try {
        await this.connection.request({ type: "read_upto", dialog_id: dialog, seq });
      } catch (error) {
        if (error.code === "network" || !error.retryable) continue; // the next attach, or never
        this.#read.told.delete(dialog);
        this.#timers.start("read", error.retry_after_ms ?? backoffMs(2), () => this.#tellRead());
      }
    }
  }
}

function load(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}
