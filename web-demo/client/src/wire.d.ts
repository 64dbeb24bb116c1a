// The protocol's objects, as they travel. Their meaning: docs/protocol.md of the project.

export type TransportName = "ws" | "sse" | "poll";
export type Resume = "new" | "resumed" | "rebuilt" | "expired";

export interface Attachment {
  id: string;
  name: string;
  mime: string;
  size: number;
  url?: string;
}
export interface Body {
  text?: string;
  attachments?: Attachment[];
}
export interface Message {
  message_id: string;
  dialog_id: string;
  seq: number;
  sender_id: string;
  client_message_id: string;
  body: Body;
  reply_to?: string;
  created_at: string;
}
export interface PresentUser {
  user_id: string;
  state: "online" | "away" | "offline";
  last_active: string;
}
/** What `subscribe` answers for one dialog. */
export interface SubscribedDialog {
  dialog_id: string;
  epoch: string;
  offset: number;
  last_message_seq?: number;
  read_seq?: number;
  role: string;
  replayed?: number;
  presence?: PresentUser[];
}
export interface FailedDialog {
  dialog_id: string;
  code: string;
}
export interface Limits {
  frame_bytes: number;
  body_bytes: number;
  text_chars: number;
  attachments: number;
  subscriptions: number;
  batch_commands: number;
  typing_every_ms: number;
  typing_expires_ms: number;
  typing_max_members: number;
}
/** After a resume by long-poll only `session` and `resume` are there. */
export interface Welcome {
  type: "welcome";
  session: string;
  resume: Resume;
  cursor?: string;
  user_id?: string;
  ping_ms?: number;
  resume_ms?: number;
  token_expires_at?: string;
  server_time?: string;
  limits?: Limits;
  node?: string;
}

interface Logged {
  cursor: string;
  offset: number;
  dialog_id: string;
}
/** `restored`: made up for after a `gap`; then it has neither `offset` nor `cursor`. */
export interface MessageNew extends Partial<Logged> {
  type: "message_new";
  dialog_id: string;
  message: Message;
  restored?: boolean;
}
export interface Receipt extends Logged {
  type: "receipt";
  user_id: string;
  read_seq: number;
}
export interface MembershipEvent extends Logged {
  type: "membership";
  user_id: string;
  change: "added" | "removed";
  role?: string;
  by?: string;
  feed: "dialog" | "user";
}
export interface Gap {
  type: "gap";
  cursor: string;
  dialog_id?: string;
  feed?: "user";
  epoch: string;
  from_offset: number;
  to_offset: number;
  reason: "trimmed" | "log_reset" | "too_far";
  messages_restored: boolean;
}
export interface AppEvent extends Logged {
  type: `x.${string}`;
  data: unknown;
}
export interface Typing {
  type: "typing";
  dialog_id: string;
  user_id: string;
  state: "started" | "stopped";
  expires_in_ms: number;
}
export interface Presence extends PresentUser {
  type: "presence";
  dialog_id: string;
}
/** What a dialog tells. */
export type DialogEvent = MessageNew | Receipt | MembershipEvent | Gap | AppEvent | Typing | Presence;

export interface SendReply {
  message_id: string;
  seq: number;
  created_at: string;
  duplicate: boolean;
}
export interface HistoryReply {
  messages: Message[];
  has_more: boolean;
}
export interface ReadReply {
  read_seq: number;
  unread: number;
}

/** Any frame, before it is known which. */
export interface Frame {
  type: string;
  ref?: string;
  cursor?: string;
  [field: string]: any;
}
/** How a connection ended. */
export interface End {
  /** The protocol's, if the server said one. */
  code?: string;
  message?: string;
  retryable?: boolean;
  retryAfterMs?: number;
  closeCode?: number;
  status?: number;
  /** False: the session has ended, too. */
  resumable?: boolean;
  /** Nobody's fault: come back at once. */
  now?: boolean;
}

/** What a transport needs of the connection. */
export interface Host {
  base: URL;
  fetch: typeof fetch;
  WebSocket: (new (url: string, protocols?: string[]) => WebSocket) | undefined;
  token(): string;
  renewToken(): Promise<string>;
  session(): string | null;
  /** The parameters of the next attach; raises the counter. */
  attach(): { session?: string; cursor?: string; attach: number };
  /** Whether the session may be on its way to another transport just now. */
  held(): boolean;
  /** A frame as text, or what it was parsed into. */
  frame(frame: unknown): void;
  sent(frame: Frame): void;
  end(end: End): void;
}
/** An open transport. */
export interface Link {
  send(command: Frame): void;
  /** Finds out whether the connection still lives; `changed`: the network is another one. */
  check(changed: boolean): void;
  close(): void;
}

/** What survives a reload, if there is a storage. */
export interface SavedState {
  session: string | null;
  cursor: string | null;
  attach: number;
  logs: Record<string, SavedLog>;
  outbox: OutboxItem[];
}
export interface SavedLog {
  epoch: string | null;
  last: number | null;
  head?: number;
  seq: number;
}
export interface OutboxItem {
  client_message_id: string;
  dialog_id: string;
  body: Body;
  reply_to?: string;
  state: "pending" | "failed";
  /** Why it failed. */
  code?: string;
}
export interface Storage {
  load(): SavedState | null | Promise<SavedState | null>;
  save(state: SavedState): void | Promise<void>;
}

/** How patient the client is, in milliseconds. */
export interface Timing {
  /** No `welcome` by WebSocket for this long: the next transport is started beside it. */
  wsWelcome: number;
  /** No `welcome` in an event stream for this long: something holds it back. */
  sseWelcome: number;
  /** From opening any transport to its `welcome`. */
  attach: number;
  /** When the preferred transport is tried again while another one serves. */
  probes: number[];
  /** Silence on an event stream that means that it is dead. */
  sseSilence: number;
  pong: number;
  reply: number;
  backoffFirst: number;
  backoffMax: number;
}

export interface ClientState {
  state: "idle" | "connecting" | "online" | "waiting" | "closed";
  transport: TransportName | null;
  /** Why it is so, for people. */
  why: string;
  /** While `waiting`: when it goes on, as `Date.now()` counts. */
  returnAt: number;
}
export interface FrameLog {
  direction: "up" | "down";
  transport: TransportName;
  frame: Frame;
}
export interface Stats {
  /** Events that were passed on. */
  received: number;
  /** Events that had been here before, dropped. */
  dropped: number;
  /** Events that a `gap` has announced as lost. */
  gapped: number;
  /** Events that are missing although nothing announced it. */
  missing: number;
  /** Frames that could not be understood. */
  skipped: number;
  attaches: number;
}

export interface ClientEvents {
  state: ClientState;
  /** The session is attached: `fresh` if nothing was carried over. */
  attached: Welcome & { fresh: boolean };
  /** A `subscribe` was answered for a dialog. */
  subscribed: SubscribedDialog;
  /** Every event of every dialog. */
  event: DialogEvent;
  message_new: MessageNew;
  receipt: Receipt;
  membership: MembershipEvent;
  gap: Gap;
  typing: Typing;
  presence: Presence;
  /** A message on its way has changed its state; `reply` when it was sent. */
  outbox: OutboxItem & { reply?: SendReply };
  frame: FrameLog;
  /** Something came that could not be understood. */
  skipped: { transport: TransportName };
}
export interface DialogEvents {
  event: DialogEvent;
  message_new: MessageNew;
  receipt: Receipt;
  membership: MembershipEvent;
  gap: Gap;
  typing: Typing;
  presence: Presence;
}

export interface SubscribeOptions {
  /** See who is here, and be seen. */
  presence?: boolean;
  typing?: boolean;
  /** From where, if the client has no position of its own. */
  since?: { epoch: string; offset: number; message_seq?: number };
}
export interface CallOptions {
  signal?: AbortSignal;
  timeoutMs?: number;
}
export interface ClientOptions {
  /** Where the gateway is, `https://chat.example.com`. In a page: its own origin if left out. */
  url?: string | URL;
  /** A JWT of now. Called when one is needed: at first, ahead of its end, and when it was refused. */
  token: () => string | Promise<string>;
  /** Which, the preferred first. */
  transports?: TransportName[];
  storage?: Storage;
  deviceId?: string;
  /** Instead of the global ones: Node 20 has no `WebSocket`. */
  WebSocket?: new (url: string, protocols?: string[]) => any;
  fetch?: typeof fetch;
  timing?: Partial<Timing>;
}
