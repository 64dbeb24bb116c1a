//! Between the Store's messages and the domain's types.

use std::sync::Arc;

use prost_types::Timestamp;

use crate::application::ports::store::{
    CallContext, DialogPage, HistoryPage, HistoryRange, ReadMark, Sent, StoreError,
};
use crate::domain::body::{Attachment, MessageBody};
use crate::domain::dialog::{DialogSummary, Membership};
use crate::domain::ids::{ClientMessageId, DialogId, MessageId, UserId};
use crate::domain::message::{Draft, Message};
use crate::domain::time::UnixMillis;
use crate::proto::store::v1 as proto;

/// The Store's answer is not what the contract says: nothing a caller could mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store's answer breaks the contract: {0}")]
pub(super) struct Unmappable(&'static str);

impl From<Unmappable> for StoreError {
    fn from(_: Unmappable) -> Self {
        Self::Internal
    }
}

pub(super) fn send_request(call: &CallContext, draft: &Draft) -> proto::SendRequest {
    proto::SendRequest {
        user_id: call.user_id.to_string(),
        dialog_id: draft.dialog_id.to_string(),
        client_message_id: draft.client_message_id.to_string(),
        body: Some(proto::Body {
            text: draft.body.text().to_owned(),
            attachments: draft.body.attachments().iter().map(attachment_to_proto).collect(),
        }),
        reply_to: draft.reply_to.as_ref().map(MessageId::to_string).unwrap_or_default(),
    }
}

fn attachment_to_proto(attachment: &Attachment) -> proto::Attachment {
    proto::Attachment {
        id: attachment.id.clone(),
        name: attachment.name.clone(),
        mime: attachment.mime.clone(),
        size: attachment.size,
        url: attachment.url.clone().unwrap_or_default(),
    }
}

pub(super) fn sent(response: proto::SendResponse) -> Result<Sent, Unmappable> {
    let message = message(response.message.ok_or(Unmappable("no message"))?)?;
    Ok(Sent { message, duplicate: response.duplicate })
}

pub(super) fn read_upto_request(call: &CallContext, dialog: &DialogId, seq: u64) -> proto::ReadUptoRequest {
    proto::ReadUptoRequest { user_id: call.user_id.to_string(), dialog_id: dialog.to_string(), seq }
}

pub(super) fn read_mark(response: proto::ReadUptoResponse) -> ReadMark {
    ReadMark { read_seq: response.read_seq, unread: response.unread, changed: response.changed }
}

pub(super) fn membership_request(call: &CallContext, dialogs: &[DialogId]) -> proto::CheckMembershipRequest {
    proto::CheckMembershipRequest {
        user_id: call.user_id.to_string(),
        dialog_ids: dialogs.iter().map(DialogId::to_string).collect(),
    }
}

pub(super) fn memberships(response: proto::CheckMembershipResponse) -> Result<Vec<Membership>, Unmappable> {
    response.memberships.into_iter().map(membership).collect()
}

fn membership(answer: proto::Membership) -> Result<Membership, Unmappable> {
    Ok(Membership {
        dialog_id: dialog_id(&answer.dialog_id)?,
        member: answer.member,
        can_read: answer.can_read,
        can_write: answer.can_write,
        role: Arc::from(answer.role),
        version: answer.version,
        last_message_seq: answer.last_message_seq,
        read_seq: answer.read_seq,
        member_count: answer.member_count,
    })
}

pub(super) fn history_request(
    call: &CallContext,
    dialog: &DialogId,
    range: HistoryRange,
    limit: u32,
) -> proto::GetHistoryRequest {
    let (before_seq, after_seq) = match range {
        HistoryRange::Newest => (None, None),
        HistoryRange::Before(seq) => (Some(seq), None),
        HistoryRange::After(seq) => (None, Some(seq)),
    };
    proto::GetHistoryRequest {
        user_id: call.user_id.to_string(),
        dialog_id: dialog.to_string(),
        before_seq,
        after_seq,
        limit,
    }
}

pub(super) fn history_page(response: proto::GetHistoryResponse) -> Result<HistoryPage, Unmappable> {
    let messages = response.messages.into_iter().map(message).collect::<Result<Vec<_>, _>>()?;
    if messages.windows(2).any(|pair| pair[0].seq >= pair[1].seq) {
        return Err(Unmappable("history is not in ascending seq"));
    }
    Ok(HistoryPage { messages, has_more: response.has_more })
}

pub(super) fn list_request(
    call: &CallContext,
    page_size: u32,
    page_token: Option<&str>,
) -> proto::ListDialogsRequest {
    proto::ListDialogsRequest {
        user_id: call.user_id.to_string(),
        page_size,
        page_token: page_token.unwrap_or_default().to_owned(),
    }
}

pub(super) fn dialog_page(response: proto::ListDialogsResponse) -> Result<DialogPage, Unmappable> {
    Ok(DialogPage {
        dialogs: response.dialogs.into_iter().map(summary).collect::<Result<_, _>>()?,
        next_page_token: non_empty(response.next_page_token),
    })
}

fn summary(row: proto::DialogSummary) -> Result<DialogSummary, Unmappable> {
    Ok(DialogSummary {
        dialog_id: dialog_id(&row.dialog_id)?,
        role: Arc::from(row.role),
        last_message_seq: row.last_message_seq,
        read_seq: row.read_seq,
        unread: row.unread,
    })
}

fn message(message: proto::Message) -> Result<Message, Unmappable> {
    if message.seq == 0 {
        return Err(Unmappable("seq is not from 1"));
    }
    Ok(Message {
        message_id: message_id(&message.message_id)?,
        dialog_id: dialog_id(&message.dialog_id)?,
        seq: message.seq,
        sender_id: UserId::parse(&message.sender_id).map_err(|_| Unmappable("sender_id is not an id"))?,
        client_message_id: ClientMessageId::parse(&message.client_message_id)
            .map_err(|_| Unmappable("client_message_id is not an id"))?,
        body: body(message.body.ok_or(Unmappable("no body"))?)?,
        reply_to: non_empty(message.reply_to).as_deref().map(message_id).transpose()?,
        created_at: unix_millis(message.created_at.ok_or(Unmappable("no created_at"))?)?,
    })
}

fn body(body: proto::Body) -> Result<MessageBody, Unmappable> {
    let attachments = body
        .attachments
        .into_iter()
        .map(|a| Attachment { id: a.id, name: a.name, mime: a.mime, size: a.size, url: non_empty(a.url) })
        .collect();
    MessageBody::new(body.text, attachments).map_err(|_| Unmappable("body is over the limits"))
}

fn unix_millis(at: Timestamp) -> Result<UnixMillis, Unmappable> {
    const MILLIS_PER_SECOND: u64 = 1000;
    const NANOS_PER_MILLI: u64 = 1_000_000;
    let before_1970 = |_| Unmappable("created_at is before 1970");
    let seconds = u64::try_from(at.seconds).map_err(before_1970)?;
    let nanos = u64::try_from(at.nanos).map_err(before_1970)?;
    Ok(UnixMillis(seconds.saturating_mul(MILLIS_PER_SECOND).saturating_add(nanos / NANOS_PER_MILLI)))
}

fn dialog_id(text: &str) -> Result<DialogId, Unmappable> {
    DialogId::parse(text).map_err(|_| Unmappable("dialog_id is not an id"))
}

fn message_id(text: &str) -> Result<MessageId, Unmappable> {
    MessageId::parse(text).map_err(|_| Unmappable("message_id is not an id"))
}

fn non_empty(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> proto::Message {
        proto::Message {
            message_id: "m1".into(),
            dialog_id: "d1".into(),
            seq: 1,
            sender_id: "alice".into(),
            client_message_id: "c1".into(),
            body: Some(proto::Body { text: "hello".into(), attachments: vec![] }),
            reply_to: String::new(),
            created_at: Some(Timestamp { seconds: 1_785_000_000, nanos: 120_999_999 }),
        }
    }

    #[test]
    fn a_message_keeps_its_fields_and_its_time_in_whole_milliseconds() {
        let message = message(proto::Message { reply_to: "m0".into(), ..stored() }).unwrap();
        assert_eq!(message.message_id.as_str(), "m1");
        assert_eq!(message.body.text(), "hello");
        assert_eq!(message.reply_to.unwrap().as_str(), "m0");
        assert_eq!(message.created_at.to_string(), "2026-07-25T17:20:00.120Z");
    }

    #[test]
    fn an_answer_that_breaks_the_contract_is_an_error_and_no_panic() {
        let broken = [
            proto::Message { message_id: "{}".into(), ..stored() },
            proto::Message { dialog_id: String::new(), ..stored() },
            proto::Message { sender_id: "a\n".into(), ..stored() },
            proto::Message { client_message_id: "*".into(), ..stored() },
            proto::Message { reply_to: "..".into(), ..stored() },
            proto::Message { seq: 0, ..stored() },
            proto::Message { body: None, ..stored() },
            proto::Message { body: Some(proto::Body::default()), ..stored() },
            proto::Message { created_at: None, ..stored() },
            proto::Message { created_at: Some(Timestamp { seconds: -1, nanos: 0 }), ..stored() },
            proto::Message { created_at: Some(Timestamp { seconds: 0, nanos: -1 }), ..stored() },
        ];
        for message in broken {
            let answer = proto::SendResponse { message: Some(message), duplicate: false };
            assert_eq!(
                sent(answer.clone()).map_err(StoreError::from),
                Err(StoreError::Internal),
                "{answer:?}"
            );
        }
        assert!(sent(proto::SendResponse { message: None, duplicate: true }).is_err());
    }

    #[test]
    fn the_largest_times_do_not_overflow() {
        let created_at = Some(Timestamp { seconds: i64::MAX, nanos: i32::MAX });
        assert!(message(proto::Message { created_at, ..stored() }).is_ok());
    }

    #[test]
    fn history_out_of_order_is_refused() {
        let second = proto::Message { message_id: "m2".into(), seq: 2, ..stored() };
        let page = |messages| proto::GetHistoryResponse { messages, has_more: false };
        assert!(history_page(page(vec![stored(), second.clone()])).is_ok());
        assert!(history_page(page(vec![second, stored()])).is_err());
    }

    #[test]
    fn an_empty_page_token_is_the_last_page() {
        let page = dialog_page(proto::ListDialogsResponse::default()).unwrap();
        assert_eq!(page.next_page_token, None);
    }
}
