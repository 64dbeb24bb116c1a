-- The reference Store's tables. Numbers fit SQLite's signed 64 bits; times are milliseconds since 1970.

CREATE TABLE dialogs (
  dialog_id    TEXT PRIMARY KEY,
  -- Created by DialogAdmin: only members belong to it, in an open Store too.
  created      INTEGER NOT NULL,
  last_seq     INTEGER NOT NULL DEFAULT 0,
  member_count INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
  dialog_id TEXT NOT NULL REFERENCES dialogs,
  user_id   TEXT NOT NULL,
  -- 0 after a removal. The row stays: its version must not fall back, and an open Store must not let the user in again.
  member    INTEGER NOT NULL,
  role      TEXT NOT NULL,
  -- Counted per user, over all dialogs: the event key p:<user_id>:<version> must be unique in the user's feed, too.
  version   INTEGER NOT NULL,
  read_seq  INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (dialog_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX members_by_user ON members (user_id, version);

CREATE TABLE messages (
  dialog_id         TEXT NOT NULL REFERENCES dialogs,
  seq               INTEGER NOT NULL,
  message_id        TEXT NOT NULL UNIQUE,
  sender_id         TEXT NOT NULL,
  client_message_id TEXT NOT NULL,
  -- JSON, as in the event.
  body              TEXT NOT NULL,
  reply_to          TEXT,
  created_at_ms     INTEGER NOT NULL,
  UNIQUE (dialog_id, seq),
  UNIQUE (sender_id, client_message_id)
) STRICT;

-- What happened and is not on the bus yet, oldest first.
CREATE TABLE outbox (
  id        INTEGER PRIMARY KEY,
  -- d:<dialog_id> or u:<user_id>
  feed      TEXT NOT NULL,
  event_key TEXT NOT NULL,
  event     TEXT NOT NULL
) STRICT;

PRAGMA user_version = 1;
