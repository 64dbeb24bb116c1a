//! A session's record as the fields of a hash.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasher;

use serde::{Deserialize, Serialize};

use crate::domain::event::LogPosition;
use crate::domain::ids::{DeviceId, DialogId, FeedKey, SessionId, UserId};
use crate::domain::time::UnixMillis;
use crate::session::cursor::Cursor;
use crate::session::delivered::Teller;
use crate::session::snapshot::{SentSnapshot, SessionSnapshot, SubscribeOptions, SubscriptionSnapshot};
use crate::session::subscriptions::{Confirmed, InStep};

const USER: &str = "user";
const DEVICE: &str = "device";
const FIRST_EPOCH: &str = "first_epoch";
const ACKNOWLEDGED: &str = "acknowledged";
const DELIVERED_AS_OF: &str = "delivered_as_of";
const ATTACH: &str = "attach";
const FOLLOW_ALL: &str = "follow_all";
const SUBSCRIPTIONS: &str = "subscriptions";
const DELIVERED_EXACTLY: &str = "delivered_exactly";
const EXACT_FROM: &str = "exact_from";
const SENT: &str = "sent";
const NEWEST: &str = "newest";

#[derive(Serialize, Deserialize)]
struct Options {
    presence: bool,
    typing: bool,
}

/// A place in a log, as `[epoch, offset]`.
#[derive(Serialize, Deserialize)]
struct Position<'a>(#[serde(borrow)] Cow<'a, str>, u64);

impl<'a> Position<'a> {
    fn of(position: &'a LogPosition) -> Self {
        Self(Cow::Borrowed(&position.epoch), position.offset)
    }
}

impl From<Position<'_>> for LogPosition {
    fn from(Position(epoch, offset): Position<'_>) -> Self {
        Self { epoch: epoch.into(), offset }
    }
}

#[derive(Serialize, Deserialize)]
struct Subscription<'a> {
    /// `d:<dialog>` or `u:<user>`.
    feed: String,
    #[serde(borrow)]
    delivered: Position<'a>,
    /// Nothing of the log beyond this offset was numbered, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    numbered: Option<u64>,
    seq: u64,
    presence: bool,
    typing: bool,
    /// Since when it is in step, if it ever was.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    in_step: Option<Since<'a>>,
    #[serde(borrow)]
    confirmed: Membership<'a>,
}

/// Since when a feed is in step.
#[derive(Serialize, Deserialize)]
struct Since<'a> {
    /// The session's generation.
    epoch: u32,
    number: u64,
    #[serde(borrow)]
    position: Position<'a>,
}

/// When a membership was last confirmed.
#[derive(Serialize, Deserialize)]
struct Membership<'a> {
    #[serde(borrow)]
    feed: Position<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    own: Option<Position<'a>>,
    /// Unix milliseconds of the bus.
    at: u64,
}

/// Short names: a record may hold as many as a queue does.
#[derive(Serialize, Deserialize)]
struct Sent<'a> {
    /// The event's number in the session.
    n: u64,
    /// `d:<dialog>` or `u:<user>`.
    f: String,
    /// Where its receiver stands then, if it says so.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    p: Option<Told<'a>>,
    /// The message's place in the dialog, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
}

/// A place, by what tells the receiver that it stands there.
#[derive(Serialize, Deserialize)]
enum Told<'a> {
    /// An entry of the log.
    #[serde(rename = "e", borrow)]
    Entry(Position<'a>),
    /// A gap.
    #[serde(rename = "g", borrow)]
    Gap(Position<'a>),
}

impl<'a> Told<'a> {
    fn of((position, teller): &'a (LogPosition, Teller)) -> Self {
        let position = Position::of(position);
        match teller {
            Teller::Entry => Self::Entry(position),
            Teller::Gap => Self::Gap(position),
        }
    }
}

impl From<Told<'_>> for (LogPosition, Teller) {
    fn from(told: Told<'_>) -> Self {
        match told {
            Told::Entry(position) => (position.into(), Teller::Entry),
            Told::Gap(position) => (position.into(), Teller::Gap),
        }
    }
}

/// Fields and values, without `epoch`, `node` and `revision`, which the script writes.
pub(super) fn written(snapshot: &SessionSnapshot) -> Result<Vec<(&'static str, String)>, serde_json::Error> {
    let subscriptions: Vec<Subscription<'_>> = snapshot.subscriptions.iter().map(kept).collect();
    let sent: Vec<Sent<'_>> = snapshot.sent.iter().map(sent).collect();
    let mut fields = vec![
        (USER, snapshot.user_id.to_string()),
        (FIRST_EPOCH, snapshot.first_epoch.to_string()),
        (ACKNOWLEDGED, snapshot.acknowledged.to_string()),
        (SUBSCRIPTIONS, serde_json::to_string(&subscriptions)?),
        (DELIVERED_EXACTLY, snapshot.delivered_exactly.to_string()),
        (DELIVERED_AS_OF, serde_json::to_string(&snapshot.delivered_as_of)?),
        (SENT, serde_json::to_string(&sent)?),
        (NEWEST, snapshot.newest.to_string()),
    ];
    if let Some(device) = &snapshot.device_id {
        fields.push((DEVICE, device.to_string()));
    }
    if let Some(exact_from) = snapshot.exact_from {
        fields.push((EXACT_FROM, exact_from.to_string()));
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
        newest: field(NEWEST).map_or(Ok(0), str::parse).ok()?,
        delivered_as_of: serde_json::from_str(field(DELIVERED_AS_OF)?).ok()?,
        highest_attach: field(ATTACH).map(str::parse).transpose().ok()?,
        follow_all: field(FOLLOW_ALL).map(options).transpose().ok()?,
        subscriptions: subscriptions.into_iter().map(subscription).collect::<Option<_>>()?,
        delivered_exactly: field(DELIVERED_EXACTLY)?.parse().ok()?,
        exact_from: field(EXACT_FROM).map(str::parse).transpose().ok()?,
        revision: field("revision").map_or(Ok(0), str::parse).ok()?,
        based_on: None,
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

fn sent(snapshot: &SentSnapshot) -> Sent<'_> {
    Sent {
        n: snapshot.number,
        f: snapshot.feed.to_string(),
        p: snapshot.position.as_ref().map(Told::of),
        s: snapshot.message_seq,
    }
}

fn handed_out(sent: Sent<'_>) -> Option<SentSnapshot> {
    Some(SentSnapshot {
        number: sent.n,
        feed: feed_key(&sent.f)?,
        position: sent.p.map(Into::into),
        message_seq: sent.s,
    })
}

fn kept(snapshot: &SubscriptionSnapshot) -> Subscription<'_> {
    let SubscribeOptions { presence, typing } = snapshot.options;
    Subscription {
        feed: snapshot.feed.to_string(),
        delivered: Position::of(&snapshot.delivered),
        numbered: snapshot.numbered,
        seq: snapshot.last_message_seq,
        presence,
        typing,
        in_step: snapshot.in_step.as_ref().map(|in_step| Since {
            epoch: in_step.epoch,
            number: in_step.number,
            position: Position::of(&in_step.position),
        }),
        confirmed: Membership {
            feed: Position::of(&snapshot.confirmed.feed),
            own: snapshot.confirmed.own.as_ref().map(Position::of),
            at: snapshot.confirmed.at.0,
        },
    }
}

fn subscription(kept: Subscription<'_>) -> Option<SubscriptionSnapshot> {
    Some(SubscriptionSnapshot {
        feed: feed_key(&kept.feed)?,
        delivered: kept.delivered.into(),
        numbered: kept.numbered,
        last_message_seq: kept.seq,
        options: SubscribeOptions { presence: kept.presence, typing: kept.typing },
        in_step: kept.in_step.map(|since| InStep {
            epoch: since.epoch,
            number: since.number,
            position: since.position.into(),
        }),
        confirmed: Confirmed {
            feed: kept.confirmed.feed.into(),
            own: kept.confirmed.own.map(Into::into),
            at: UnixMillis(kept.confirmed.at),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::subscriptions::NOWHERE;

    fn position(epoch: &str, offset: u64) -> LogPosition {
        LogPosition { epoch: epoch.into(), offset }
    }

    fn dialog() -> FeedKey {
        FeedKey::Dialog(DialogId::parse("d:1").unwrap())
    }

    fn own() -> FeedKey {
        FeedKey::User(UserId::parse("a:b").unwrap())
    }

    /// With and without everything that may be missing, and no two numbers alike.
    fn full() -> SessionSnapshot {
        let followed = SubscriptionSnapshot {
            feed: dialog(),
            delivered: position("e\"1", u64::MAX),
            numbered: Some(24),
            last_message_seq: 7,
            options: SubscribeOptions { presence: true, typing: false },
            in_step: Some(InStep { epoch: u32::MAX, number: 8, position: position("e2", 9) }),
            confirmed: Confirmed {
                feed: position("e3", 10),
                own: Some(position("e4", 11)),
                at: UnixMillis(12),
            },
        };
        let never_in_step = SubscriptionSnapshot {
            feed: own(),
            delivered: position(NOWHERE, 0),
            numbered: None,
            last_message_seq: 0,
            options: SubscribeOptions { presence: false, typing: true },
            in_step: None,
            confirmed: Confirmed { feed: position("e5", 13), own: None, at: UnixMillis(u64::MAX) },
        };
        let sent = |number, feed, position, message_seq| SentSnapshot { number, feed, position, message_seq };
        SessionSnapshot {
            id: SessionId::parse("s").unwrap(),
            user_id: UserId::parse("a:b").unwrap(),
            device_id: Some(DeviceId::parse("phone").unwrap()),
            first_epoch: 1,
            acknowledged: Cursor { epoch: 2, number: 3, watermark: UnixMillis(4) },
            newest: 25,
            delivered_as_of: (1, 22),
            highest_attach: Some(5),
            follow_all: Some(SubscribeOptions { presence: true, typing: false }),
            subscriptions: [followed, never_in_step].into(),
            delivered_exactly: true,
            exact_from: Some(26),
            revision: 23,
            based_on: None,
            sent: [
                sent(14, dialog(), Some((position("e\"6", 15), Teller::Entry)), Some(16)),
                sent(17, own(), Some((position("e7", 18), Teller::Gap)), None),
                sent(19, dialog(), None, Some(20)),
                sent(21, dialog(), None, None),
            ]
            .into(),
        }
    }

    /// The record as Redis holds it: its script writes epoch and revision.
    fn record(snapshot: &SessionSnapshot) -> HashMap<String, String> {
        let fields = written(snapshot).unwrap().into_iter().map(|(name, value)| (name.to_owned(), value));
        let by_script =
            [("epoch", snapshot.acknowledged.epoch.to_string()), ("revision", snapshot.revision.to_string())];
        fields.chain(by_script.map(|(name, value)| (name.to_owned(), value))).collect()
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        let bare = SessionSnapshot {
            device_id: None,
            highest_attach: None,
            follow_all: None,
            subscriptions: Box::default(),
            delivered_exactly: false,
            exact_from: None,
            sent: Box::default(),
            ..full()
        };
        for snapshot in [full(), bare] {
            assert_eq!(read(&snapshot.id, &record(&snapshot)), Some(snapshot));
        }
    }

    #[test]
    fn a_record_that_lacks_what_a_rebuild_must_know_is_not_read() {
        let snapshot = full();
        for name in [
            USER,
            FIRST_EPOCH,
            ACKNOWLEDGED,
            "epoch",
            SUBSCRIPTIONS,
            DELIVERED_EXACTLY,
            DELIVERED_AS_OF,
            SENT,
        ] {
            let mut fields = record(&snapshot);
            fields.remove(name).unwrap();
            assert_eq!(read(&snapshot.id, &fields), None, "{name}");
        }
    }
}
