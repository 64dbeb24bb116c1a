//! A session's record as the fields of a hash.

use std::collections::HashMap;
use std::hash::BuildHasher;

use serde::{Deserialize, Serialize};

use crate::domain::event::LogPosition;
use crate::domain::ids::{DeviceId, DialogId, FeedKey, SessionId, UserId};
use crate::session::cursor::Cursor;
use crate::session::snapshot::{SentSnapshot, SessionSnapshot, SubscribeOptions, SubscriptionSnapshot};

const USER: &str = "user";
const DEVICE: &str = "device";
const FIRST_EPOCH: &str = "first_epoch";
const ACKNOWLEDGED: &str = "acknowledged";
const ATTACH: &str = "attach";
const FOLLOW_ALL: &str = "follow_all";
const SUBSCRIPTIONS: &str = "subscriptions";
const SENT: &str = "sent";

#[derive(Serialize, Deserialize)]
struct Options {
    presence: bool,
    typing: bool,
}

#[derive(Serialize, Deserialize)]
struct Subscription<'a> {
    /// `d:<dialog>` or `u:<user>`.
    feed: String,
    epoch: &'a str,
    offset: u64,
    seq: u64,
    presence: bool,
    typing: bool,
}

/// Short names: a record may hold as many as a queue does.
#[derive(Serialize, Deserialize)]
struct Sent<'a> {
    /// The event's number in the session.
    n: u64,
    /// `d:<dialog>` or `u:<user>`.
    f: String,
    /// Its log's generation.
    e: &'a str,
    /// Its offset.
    o: u64,
    /// The message's place in the dialog, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
}

/// Fields and values, without `epoch` and `node`, which the script writes.
pub(super) fn written(snapshot: &SessionSnapshot) -> Result<Vec<(&'static str, String)>, serde_json::Error> {
    let subscriptions: Vec<Subscription<'_>> = snapshot
        .subscriptions
        .iter()
        .map(|kept| Subscription {
            feed: kept.feed.to_string(),
            epoch: &kept.delivered.epoch,
            offset: kept.delivered.offset,
            seq: kept.last_message_seq,
            presence: kept.options.presence,
            typing: kept.options.typing,
        })
        .collect();
    let sent: Vec<Sent<'_>> = snapshot
        .sent
        .iter()
        .map(|sent| Sent {
            n: sent.number,
            f: sent.feed.to_string(),
            e: &sent.position.epoch,
            o: sent.position.offset,
            s: sent.message_seq,
        })
        .collect();
    let mut fields = vec![
        (USER, snapshot.user_id.to_string()),
        (FIRST_EPOCH, snapshot.first_epoch.to_string()),
        (ACKNOWLEDGED, snapshot.acknowledged.to_string()),
        (SUBSCRIPTIONS, serde_json::to_string(&subscriptions)?),
        (SENT, serde_json::to_string(&sent)?),
    ];
    if let Some(device) = &snapshot.device_id {
        fields.push((DEVICE, device.to_string()));
    }
    if let Some(attach) = snapshot.highest_attach {
        fields.push((ATTACH, attach.to_string()));
    }
    if let Some(SubscribeOptions { presence, typing }) = snapshot.follow_all {
        fields.push((FOLLOW_ALL, serde_json::to_string(&Options { presence, typing })?));
    }
    Ok(fields)
}

/// The snapshot in a record; `None` for what this version has not written.
pub(super) fn read<S: BuildHasher>(
    id: &SessionId,
    fields: &HashMap<String, String, S>,
) -> Option<SessionSnapshot> {
    let field = |name: &str| fields.get(name).map(String::as_str);
    let subscriptions: Vec<Subscription<'_>> = serde_json::from_str(field(SUBSCRIPTIONS)?).ok()?;
    let sent: Vec<Sent<'_>> = serde_json::from_str(field(SENT)?).ok()?;
    Some(SessionSnapshot {
        id: id.clone(),
        user_id: UserId::parse(field(USER)?).ok()?,
        device_id: field(DEVICE).map(DeviceId::parse).transpose().ok()?,
        first_epoch: field(FIRST_EPOCH)?.parse().ok()?,
        acknowledged: acknowledged(field(ACKNOWLEDGED)?, field("epoch")?)?,
        highest_attach: field(ATTACH).map(str::parse).transpose().ok()?,
        follow_all: field(FOLLOW_ALL).map(options).transpose().ok()?,
        subscriptions: subscriptions.into_iter().map(subscription).collect::<Option<_>>()?,
        sent: sent.into_iter().map(handed_out).collect::<Option<_>>()?,
    })
}

/// The cursor, in the generation that the record is of: a node that has only claimed the session raised it.
fn acknowledged(cursor: &str, epoch: &str) -> Option<Cursor> {
    Some(Cursor { epoch: epoch.parse().ok()?, ..cursor.parse().ok()? })
}

fn options(json: &str) -> serde_json::Result<SubscribeOptions> {
    serde_json::from_str::<Options>(json)
        .map(|Options { presence, typing }| SubscribeOptions { presence, typing })
}

fn feed_key(text: &str) -> Option<FeedKey> {
    match text.split_once(':')? {
        ("d", dialog) => Some(FeedKey::Dialog(DialogId::parse(dialog).ok()?)),
        ("u", user) => Some(FeedKey::User(UserId::parse(user).ok()?)),
        _ => None,
    }
}

fn handed_out(sent: Sent<'_>) -> Option<SentSnapshot> {
    Some(SentSnapshot {
        number: sent.n,
        feed: feed_key(&sent.f)?,
        position: LogPosition { epoch: sent.e.into(), offset: sent.o },
        message_seq: sent.s,
    })
}

fn subscription(kept: Subscription<'_>) -> Option<SubscriptionSnapshot> {
    Some(SubscriptionSnapshot {
        feed: feed_key(&kept.feed)?,
        delivered: LogPosition { epoch: kept.epoch.into(), offset: kept.offset },
        last_message_seq: kept.seq,
        options: SubscribeOptions { presence: kept.presence, typing: kept.typing },
    })
}
