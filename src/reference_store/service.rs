//! The `MessageStore` service: what gateways call.

use std::sync::Arc;

use async_trait::async_trait;
use tonic::{Request, Response, Status};

use super::failure::Failure;
use super::members::{self, Admission, Dialog, Seat};
use super::messages;
use super::transactions::{Transaction, Transactions};
use super::wire;
use crate::application::ports::clock::Clock;
use crate::application::ports::store::{HISTORY_PAGE_MAX, HistoryRange, MEMBERSHIP_BATCH_MAX};
use crate::domain::ids::{DialogId, UserId};
use crate::proto::store::v1 as proto;
use crate::proto::store::v1::message_store_server::MessageStore;

/// Messages of a page of history when nobody asks for a number.
const HISTORY_PAGE_DEFAULT: u32 = 50;
/// Most dialogs of one page, and how many a page has when nobody asks for fewer.
const DIALOGS_PAGE_MAX: u32 = 200;

pub(super) struct MessageStoreService {
    transactions: Transactions,
    admission: Admission,
    clock: Arc<dyn Clock>,
}

impl MessageStoreService {
    pub(super) fn new(transactions: Transactions, admission: Admission, clock: Arc<dyn Clock>) -> Self {
        Self { transactions, admission, clock }
    }
}

#[async_trait]
impl MessageStore for MessageStoreService {
    async fn send(
        &self,
        request: Request<proto::SendRequest>,
    ) -> Result<Response<proto::SendResponse>, Status> {
        let request = request.into_inner();
        let sender = wire::user_id(&request.user_id)?;
        let draft = wire::draft(request)?;
        let admission = self.admission;
        let clock = self.clock.clone();
        let sent = self
            .transactions
            .run(move |tx| messages::send(tx, admission, &sender, draft, clock.unix()))
            .await?;
        Ok(Response::new(proto::SendResponse {
            message: Some(wire::message(&sent.message)),
            duplicate: sent.duplicate,
        }))
    }

    async fn read_upto(
        &self,
        request: Request<proto::ReadUptoRequest>,
    ) -> Result<Response<proto::ReadUptoResponse>, Status> {
        let request = request.into_inner();
        let user = wire::user_id(&request.user_id)?;
        let dialog = wire::dialog_id(&request.dialog_id)?;
        let admission = self.admission;
        let mark = self
            .transactions
            .run(move |tx| messages::read_upto(tx, admission, &user, &dialog, request.seq))
            .await?;
        Ok(Response::new(proto::ReadUptoResponse {
            read_seq: mark.read_seq,
            unread: mark.unread,
            changed: mark.changed,
        }))
    }

    async fn check_membership(
        &self,
        request: Request<proto::CheckMembershipRequest>,
    ) -> Result<Response<proto::CheckMembershipResponse>, Status> {
        let request = request.into_inner();
        if request.dialog_ids.len() > MEMBERSHIP_BATCH_MAX {
            return Err(Failure::Invalid("dialog_ids has more than 200 entries").into());
        }
        let user = wire::user_id(&request.user_id)?;
        let dialogs =
            request.dialog_ids.iter().map(|id| wire::dialog_id(id)).collect::<Result<Vec<_>, _>>()?;
        let admission = self.admission;
        let memberships = self
            .transactions
            .run(move |tx| dialogs.iter().map(|dialog| membership(tx, admission, dialog, &user)).collect())
            .await?;
        Ok(Response::new(proto::CheckMembershipResponse { memberships }))
    }

    async fn get_history(
        &self,
        request: Request<proto::GetHistoryRequest>,
    ) -> Result<Response<proto::GetHistoryResponse>, Status> {
        let request = request.into_inner();
        let user = wire::user_id(&request.user_id)?;
        let dialog = wire::dialog_id(&request.dialog_id)?;
        let range = match (request.before_seq, request.after_seq) {
            (None, None) => HistoryRange::Newest,
            (Some(seq), None) => HistoryRange::Before(seq),
            (None, Some(seq)) => HistoryRange::After(seq),
            (Some(_), Some(_)) => {
                return Err(Failure::Invalid("before_seq and after_seq exclude each other").into());
            }
        };
        let limit = match request.limit {
            0 => HISTORY_PAGE_DEFAULT,
            limit => limit.min(HISTORY_PAGE_MAX),
        };
        let admission = self.admission;
        let page = self
            .transactions
            .run(move |tx| messages::history(tx, admission, &user, &dialog, range, limit))
            .await?;
        Ok(Response::new(proto::GetHistoryResponse {
            messages: page.messages.iter().map(wire::message).collect(),
            has_more: page.has_more,
        }))
    }

    async fn list_dialogs(
        &self,
        request: Request<proto::ListDialogsRequest>,
    ) -> Result<Response<proto::ListDialogsResponse>, Status> {
        let request = request.into_inner();
        let user = wire::user_id(&request.user_id)?;
        let after_version = match request.page_token.as_str() {
            "" => 0,
            token => token.parse().map_err(|_| Failure::Invalid("page_token is not one of this Store"))?,
        };
        let limit = match request.page_size {
            0 => DIALOGS_PAGE_MAX,
            size => size.min(DIALOGS_PAGE_MAX),
        };
        let listed =
            self.transactions.run(move |tx| members::dialogs_of(tx, &user, after_version, limit)).await?;
        let full = listed.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next_page_token = match listed.last() {
            Some(last) if full => last.seat.version.to_string(),
            _ => String::new(),
        };
        Ok(Response::new(proto::ListDialogsResponse {
            dialogs: listed.into_iter().map(summary).collect(),
            next_page_token,
        }))
    }
}

fn membership(
    tx: &Transaction<'_>,
    admission: Admission,
    dialog_id: &DialogId,
    user: &UserId,
) -> Result<proto::Membership, Failure> {
    let answer = match members::look(tx, admission, dialog_id, user)? {
        Some((dialog, Some(seat))) => member(dialog, &seat),
        // Who doesn't belong to a dialog learns nothing of it.
        Some((_, None)) | None => proto::Membership::default(),
    };
    Ok(proto::Membership { dialog_id: dialog_id.to_string(), ..answer })
}

fn member(dialog: Dialog, seat: &Seat) -> proto::Membership {
    proto::Membership {
        dialog_id: String::new(),
        member: true,
        can_read: true,
        can_write: seat.role.can_write(),
        role: seat.role.as_str().to_owned(),
        version: seat.version,
        last_message_seq: dialog.last_seq,
        read_seq: seat.read_seq,
        member_count: dialog.member_count,
    }
}

fn summary(listed: members::Listed) -> proto::DialogSummary {
    proto::DialogSummary {
        dialog_id: listed.dialog_id,
        role: listed.seat.role.as_str().to_owned(),
        last_message_seq: listed.last_seq,
        read_seq: listed.seat.read_seq,
        unread: listed.last_seq.saturating_sub(listed.seat.read_seq),
    }
}
