//! Between the contract's messages and the domain's types, on the Store's side.

use prost_types::Timestamp;

use super::failure::Failure;
use crate::domain::body::{Attachment, MessageBody};
use crate::domain::ids::{ClientMessageId, DialogId, MessageId, UserId};
use crate::domain::message::{Draft, Message};
use crate::domain::time::UnixMillis;
use crate::proto::store::v1 as proto;

pub(super) fn dialog_id(text: &str) -> Result<DialogId, Failure> {
    DialogId::parse(text).map_err(|_| Failure::Invalid("dialog_id is not an id"))
}

pub(super) fn user_id(text: &str) -> Result<UserId, Failure> {
    UserId::parse(text).map_err(|_| Failure::Invalid("user_id is not an id"))
}

pub(super) fn draft(request: proto::SendRequest) -> Result<Draft, Failure> {
    let reply_to = match request.reply_to.as_str() {
        "" => None,
        text => Some(MessageId::parse(text).map_err(|_| Failure::Invalid("reply_to is not an id"))?),
    };
    Ok(Draft {
        dialog_id: dialog_id(&request.dialog_id)?,
        client_message_id: ClientMessageId::parse(&request.client_message_id)
            .map_err(|_| Failure::Invalid("client_message_id is not an id"))?,
        body: body(request.body.ok_or(Failure::Invalid("body is missing"))?)?,
        reply_to,
    })
}

fn body(body: proto::Body) -> Result<MessageBody, Failure> {
    let attachment = |a: proto::Attachment| Attachment {
        id: a.id,
        name: a.name,
        mime: a.mime,
        size: a.size,
        url: if a.url.is_empty() { None } else { Some(a.url) },
    };
    let attachments = body.attachments.into_iter().map(attachment).collect();
    MessageBody::new(body.text, attachments).map_err(|_| Failure::Invalid("body is empty or over the limits"))
}

pub(super) fn message(message: &Message) -> proto::Message {
    proto::Message {
        message_id: message.message_id.to_string(),
        dialog_id: message.dialog_id.to_string(),
        seq: message.seq,
        sender_id: message.sender_id.to_string(),
        client_message_id: message.client_message_id.to_string(),
        body: Some(proto::Body {
            text: message.body.text().to_owned(),
            attachments: message.body.attachments().iter().map(attachment).collect(),
        }),
        reply_to: message.reply_to.as_ref().map(MessageId::to_string).unwrap_or_default(),
        created_at: Some(timestamp(message.created_at)),
    }
}

fn attachment(attachment: &Attachment) -> proto::Attachment {
    proto::Attachment {
        id: attachment.id.clone(),
        name: attachment.name.clone(),
        mime: attachment.mime.clone(),
        size: attachment.size,
        url: attachment.url.clone().unwrap_or_default(),
    }
}

fn timestamp(at: UnixMillis) -> Timestamp {
    const MILLIS_PER_SECOND: u64 = 1000;
    const NANOS_PER_MILLI: u64 = 1_000_000;
    Timestamp {
        seconds: i64::try_from(at.0 / MILLIS_PER_SECOND).unwrap_or(i64::MAX),
        nanos: i32::try_from(at.0 % MILLIS_PER_SECOND * NANOS_PER_MILLI).unwrap_or(0),
    }
}
