//! A session's record as the fields of a hash.

use std::collections::HashMap;
use std::hash::BuildHasher;

use serde::{Deserialize, Serialize};

use crate::domain::event::LogPosition;
use crate::domain::ids::{DeviceId, DialogId, FeedKey, SessionId, UserId};
use crate::session::cursor::Cursor;
use crate::session::snapshot::{SessionSnapshot, SubscribeOptions, SubscriptionSnapshot};

const USER: &str = "user";
const DEVICE: &str = "device";
const FIRST_EPOCH: &str = "first_epoch";
const ACKNOWLEDGED: &str = "acknowledged";
const ATTACH: &str = "attach";
const FOLLOW_ALL: &str = "follow_all";
const SUBSCRIPTIONS: &str = "subscriptions";

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
    let mut fields = vec![
        (USER, snapshot.user_id.to_string()),
        (FIRST_EPOCH, snapshot.first_epoch.to_string()),
        (ACKNOWLEDGED, snapshot.acknowledged.to_string()),
        (SUBSCRIPTIONS, serde_json::to_string(&subscriptions)?),
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
    Some(SessionSnapshot {
        id: id.clone(),
        user_id: UserId::parse(field(USER)?).ok()?,
        device_id: field(DEVICE).map(DeviceId::parse).transpose().ok()?,
        first_epoch: field(FIRST_EPOCH)?.parse().ok()?,
        acknowledged: acknowledged(field(ACKNOWLEDGED)?, field("epoch")?)?,
        highest_attach: field(ATTACH).map(str::parse).transpose().ok()?,
        follow_all: field(FOLLOW_ALL).map(options).transpose().ok()?,
        subscriptions: subscriptions.into_iter().map(subscription).collect::<Option<_>>()?,
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

fn subscription(kept: Subscription<'_>) -> Option<SubscriptionSnapshot> {
    let feed = match kept.feed.split_once(':')? {
        ("d", dialog) => FeedKey::Dialog(DialogId::parse(dialog).ok()?),
        ("u", user) => FeedKey::User(UserId::parse(user).ok()?),
        _ => return None,
    };
    Some(SubscriptionSnapshot {
        feed,
        delivered: LogPosition { epoch: kept.epoch.into(), offset: kept.offset },
        last_message_seq: kept.seq,
        options: SubscribeOptions { presence: kept.presence, typing: kept.typing },
    })
}
