//! The events that the Store publishes, as JSON: the client's events without `cursor` and `offset`, which are the bus's.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::domain::body::{Attachment, MessageBody};
use crate::domain::ids::{DialogId, FeedKey, MessageId, UserId};
use crate::domain::message::Message;

/// An event with the feed it belongs to and its key there.
pub(super) struct Publication {
    pub(super) feed: FeedKey,
    pub(super) event_key: String,
    pub(super) event: String,
}

/// A message was committed.
pub(super) fn message_new(message: &Message) -> Result<Publication, Failure> {
    let event = Event::MessageNew {
        dialog_id: message.dialog_id.as_str(),
        message: MessageJson {
            message_id: message.message_id.as_str(),
            dialog_id: message.dialog_id.as_str(),
            seq: message.seq,
            sender_id: message.sender_id.as_str(),
            client_message_id: message.client_message_id.as_str(),
            body: BodyJson::of(&message.body),
            reply_to: message.reply_to.as_ref().map(MessageId::as_str),
            created_at: message.created_at.to_string(),
        },
    };
    publication(FeedKey::Dialog(message.dialog_id.clone()), format!("m:{}", message.message_id), &event)
}

/// A user read up to a message.
pub(super) fn receipt(dialog: &DialogId, user: &UserId, read_seq: u64) -> Result<Publication, Failure> {
    let event = Event::Receipt { dialog_id: dialog.as_str(), user_id: user.as_str(), read_seq };
    publication(FeedKey::Dialog(dialog.clone()), format!("r:{user}:{read_seq}"), &event)
}

/// What became of a membership.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    /// The user is a member, in this role.
    Added(&'a str),
    Removed,
}

/// A membership changed: told on the dialog's feed and on the user's.
pub(super) fn membership(
    dialog: &DialogId,
    user: &UserId,
    version: u64,
    change: Change<'_>,
    by: Option<&UserId>,
) -> Result<[Publication; 2], Failure> {
    let (change, role) = match change {
        Change::Added(role) => ("added", Some(role)),
        Change::Removed => ("removed", None),
    };
    let event = Event::Membership {
        dialog_id: dialog.as_str(),
        user_id: user.as_str(),
        change,
        role,
        by: by.map(UserId::as_str),
    };
    let key = format!("p:{user}:{version}");
    Ok([
        publication(FeedKey::Dialog(dialog.clone()), key.clone(), &event)?,
        publication(FeedKey::User(user.clone()), key, &event)?,
    ])
}

fn publication(feed: FeedKey, event_key: String, event: &Event<'_>) -> Result<Publication, Failure> {
    Ok(Publication { feed, event_key, event: json(event)? })
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|_| Failure::Internal)
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageNew {
        dialog_id: &'a str,
        message: MessageJson<'a>,
    },
    Receipt {
        dialog_id: &'a str,
        user_id: &'a str,
        read_seq: u64,
    },
    Membership {
        dialog_id: &'a str,
        user_id: &'a str,
        change: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<&'a str>,
    },
}

#[derive(Serialize)]
struct MessageJson<'a> {
    message_id: &'a str,
    dialog_id: &'a str,
    seq: u64,
    sender_id: &'a str,
    client_message_id: &'a str,
    body: BodyJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    created_at: String,
}

/// A body as it stands in the event, and in the database.
#[derive(Serialize, Deserialize)]
struct BodyJson {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<AttachmentJson>,
}

#[derive(Serialize, Deserialize)]
struct AttachmentJson {
    id: String,
    name: String,
    mime: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl BodyJson {
    fn of(body: &MessageBody) -> Self {
        let attachment = |a: &Attachment| AttachmentJson {
            id: a.id.clone(),
            name: a.name.clone(),
            mime: a.mime.clone(),
            size: a.size,
            url: a.url.clone(),
        };
        Self {
            text: body.text().to_owned(),
            attachments: body.attachments().iter().map(attachment).collect(),
        }
    }
}

/// A body as the database keeps it.
pub(super) fn body_to_json(body: &MessageBody) -> Result<String, Failure> {
    json(&BodyJson::of(body))
}

/// A body from the database.
pub(super) fn body_from_json(text: &str) -> Result<MessageBody, Failure> {
    let body: BodyJson = serde_json::from_str(text).map_err(|_| Failure::Internal)?;
    let attachments = body
        .attachments
        .into_iter()
        .map(|a| Attachment { id: a.id, name: a.name, mime: a.mime, size: a.size, url: a.url })
        .collect();
    MessageBody::new(body.text, attachments).map_err(|_| Failure::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ClientMessageId;
    use crate::domain::time::UnixMillis;

    fn message(body: MessageBody, reply_to: Option<&str>) -> Message {
        Message {
            message_id: MessageId::parse("m1").unwrap(),
            dialog_id: DialogId::parse("d1").unwrap(),
            seq: 7,
            sender_id: UserId::parse("alice").unwrap(),
            client_message_id: ClientMessageId::parse("c1").unwrap(),
            body,
            reply_to: reply_to.map(|id| MessageId::parse(id).unwrap()),
            created_at: UnixMillis(1_785_000_000_120),
        }
    }

    #[test]
    fn a_message_event_has_the_clients_fields_and_no_empty_ones() {
        let published = message_new(&message(MessageBody::new("hi".into(), vec![]).unwrap(), None)).unwrap();
        assert_eq!(published.feed.to_string(), "d:d1");
        assert_eq!(published.event_key, "m:m1");
        assert_eq!(
            published.event,
            concat!(
                r#"{"type":"message_new","dialog_id":"d1","message":{"message_id":"m1","dialog_id":"d1","seq":7,"#,
                r#""sender_id":"alice","client_message_id":"c1","body":{"text":"hi"},"#,
                r#""created_at":"2026-07-25T17:20:00.120Z"}}"#
            )
        );
    }

    #[test]
    fn a_body_comes_back_from_the_database_as_it_was() {
        let attachment = |url: Option<&str>| Attachment {
            id: "a1".into(),
            name: "photo \"one\"".into(),
            mime: "image/png".into(),
            size: u64::MAX,
            url: url.map(Into::into),
        };
        for body in [
            MessageBody::new("line\n\ttwo é".into(), vec![]).unwrap(),
            MessageBody::new(String::new(), vec![attachment(None), attachment(Some("https://x"))]).unwrap(),
        ] {
            assert_eq!(body_from_json(&body_to_json(&body).unwrap()), Ok(body));
        }
    }

    #[test]
    fn a_receipt_names_its_reader_and_place() {
        let (dialog, user) = (DialogId::parse("d1").unwrap(), UserId::parse("bob").unwrap());
        let published = receipt(&dialog, &user, 3).unwrap();
        assert_eq!(published.event_key, "r:bob:3");
        assert_eq!(published.event, r#"{"type":"receipt","dialog_id":"d1","user_id":"bob","read_seq":3}"#);
    }

    #[test]
    fn a_membership_is_told_on_both_feeds() {
        let (dialog, user, by) =
            (DialogId::parse("d1").unwrap(), UserId::parse("bob").unwrap(), UserId::parse("alice").unwrap());
        let added = membership(&dialog, &user, 2, Change::Added("member"), Some(&by)).unwrap();
        assert_eq!(added.each_ref().map(|p| p.feed.to_string()), ["d:d1", "u:bob"]);
        for published in added {
            assert_eq!(published.event_key, "p:bob:2");
            assert_eq!(
                published.event,
                r#"{"type":"membership","dialog_id":"d1","user_id":"bob","change":"added","role":"member","by":"alice"}"#
            );
        }
        let [removed, _] = membership(&dialog, &user, 3, Change::Removed, None).unwrap();
        assert_eq!(
            removed.event,
            r#"{"type":"membership","dialog_id":"d1","user_id":"bob","change":"removed"}"#
        );
    }
}
