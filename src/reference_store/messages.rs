//! Messages: committed once, read in pages, marked as read.

use rusqlite::{Row, params};
use uuid::Uuid;

use super::events;
use super::failure::Failure;
use super::members::{self, Admission, number, sql_number};
use super::outbox;
use super::transactions::Transaction;
use crate::application::ports::store::{HistoryPage, HistoryRange, ReadMark, Sent};
use crate::domain::ids::{ClientMessageId, DialogId, MessageId, UserId};
use crate::domain::message::{Draft, Message};
use crate::domain::time::UnixMillis;

/// Commits a message at the end of its dialog; a repeat is answered with the first one.
pub(super) fn send(
    tx: &Transaction<'_>,
    admission: Admission,
    sender: &UserId,
    draft: Draft,
    now: UnixMillis,
) -> Result<Sent, Failure> {
    // First of all, so that a repeat hears what became of the first, whatever has changed since then.
    if let Some(message) = find(tx, sender, &draft.client_message_id)? {
        let same = message.dialog_id == draft.dialog_id
            && message.body == draft.body
            && message.reply_to == draft.reply_to;
        return if same { Ok(Sent { message, duplicate: true }) } else { Err(Failure::Conflict) };
    }
    let (dialog, seat) = members::require(tx, admission, &draft.dialog_id, sender)?;
    if !seat.role.can_write() {
        return Err(Failure::NotMember);
    }
    let message = Message {
        message_id: MessageId::parse(&Uuid::now_v7().to_string()).map_err(|_| Failure::Internal)?,
        dialog_id: draft.dialog_id,
        seq: dialog.last_seq + 1,
        sender_id: sender.clone(),
        client_message_id: draft.client_message_id,
        body: draft.body,
        reply_to: draft.reply_to,
        created_at: now,
    };
    insert(tx, &message)?;
    outbox::enqueue(tx, &events::message_new(&message)?)?;
    Ok(Sent { message, duplicate: false })
}

/// Moves the user's read mark forward, at most to the last message.
pub(super) fn read_upto(
    tx: &Transaction<'_>,
    admission: Admission,
    user: &UserId,
    dialog_id: &DialogId,
    seq: u64,
) -> Result<ReadMark, Failure> {
    let (dialog, seat) = members::require(tx, admission, dialog_id, user)?;
    let read_seq = seq.min(dialog.last_seq).max(seat.read_seq);
    let changed = read_seq > seat.read_seq;
    if changed {
        members::set_read_seq(tx, dialog_id, user, read_seq)?;
        outbox::enqueue(tx, &events::receipt(dialog_id, user, read_seq)?)?;
    }
    Ok(ReadMark { read_seq, unread: dialog.last_seq.saturating_sub(read_seq), changed })
}

/// Reads the `limit` messages that are nearest to where the range begins.
pub(super) fn history(
    tx: &Transaction<'_>,
    admission: Admission,
    user: &UserId,
    dialog: &DialogId,
    range: HistoryRange,
    limit: u32,
) -> Result<HistoryPage, Failure> {
    members::require(tx, admission, dialog, user)?;
    let (sql, edge) = match range {
        HistoryRange::Newest => (BEFORE, i64::MAX),
        HistoryRange::Before(seq) => (BEFORE, sql_number(seq)),
        HistoryRange::After(seq) => (AFTER, sql_number(seq)),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // One more than asked for: whether it is there is whether there are more.
    let rows_max = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let mut statement = tx.statement(sql)?;
    let mut rows = statement.query(params![dialog.as_str(), edge, rows_max])?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        messages.push(message(row)?);
    }
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    if sql == BEFORE {
        messages.reverse();
    }
    Ok(HistoryPage { messages, has_more })
}

const BEFORE: &str =
    "SELECT message_id, dialog_id, seq, sender_id, client_message_id, body, reply_to, created_at_ms
    FROM messages WHERE dialog_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
const AFTER: &str =
    "SELECT message_id, dialog_id, seq, sender_id, client_message_id, body, reply_to, created_at_ms
    FROM messages WHERE dialog_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
const BY_CLIENT_ID: &str =
    "SELECT message_id, dialog_id, seq, sender_id, client_message_id, body, reply_to, created_at_ms
    FROM messages WHERE sender_id = ?1 AND client_message_id = ?2";

fn find(tx: &Transaction<'_>, sender: &UserId, id: &ClientMessageId) -> Result<Option<Message>, Failure> {
    let mut statement = tx.statement(BY_CLIENT_ID)?;
    let mut rows = statement.query([sender.as_str(), id.as_str()])?;
    rows.next()?.map(message).transpose()
}

fn insert(tx: &Transaction<'_>, message: &Message) -> Result<(), Failure> {
    tx.statement("UPDATE dialogs SET last_seq = ?2 WHERE dialog_id = ?1")?
        .execute(params![message.dialog_id.as_str(), sql_number(message.seq)])?;
    tx.statement(
        "INSERT INTO messages
         (message_id, dialog_id, seq, sender_id, client_message_id, body, reply_to, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        message.message_id.as_str(),
        message.dialog_id.as_str(),
        sql_number(message.seq),
        message.sender_id.as_str(),
        message.client_message_id.as_str(),
        events::body_to_json(&message.body)?,
        message.reply_to.as_ref().map(MessageId::as_str),
        sql_number(message.created_at.0),
    ])?;
    Ok(())
}

fn message(row: &Row<'_>) -> Result<Message, Failure> {
    let text = |column| row.get::<_, String>(column);
    let corrupt = |_| Failure::Internal;
    let reply_to: Option<String> = row.get(6)?;
    Ok(Message {
        message_id: MessageId::parse(&text(0)?).map_err(corrupt)?,
        dialog_id: DialogId::parse(&text(1)?).map_err(corrupt)?,
        seq: number(row, 2)?,
        sender_id: UserId::parse(&text(3)?).map_err(corrupt)?,
        client_message_id: ClientMessageId::parse(&text(4)?).map_err(corrupt)?,
        body: events::body_from_json(&text(5)?)?,
        reply_to: reply_to.as_deref().map(MessageId::parse).transpose().map_err(corrupt)?,
        created_at: UnixMillis(number(row, 7)?),
    })
}
