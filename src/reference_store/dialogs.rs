//! Managing dialogs and members: for the gRPC service, and for whoever has the Store in the same process.

use super::failure::Failure;
use super::members::{self, Admission};
use super::role::{Member, MemberChange, MemberRole};
use super::transactions::Transactions;
use crate::domain::ids::{DialogId, UserId};

/// Most members that a dialog can be created with.
pub const CREATE_MEMBERS_MAX: usize = 1000;
/// Most members of one page, and how many a page has when nobody asks for fewer.
pub const MEMBERS_PAGE_MAX: u32 = 1000;

/// The dialogs of a reference Store.
#[derive(Clone)]
pub struct Dialogs {
    transactions: Transactions,
    admission: Admission,
}

/// One page of a dialog's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPage {
    /// The members, in the order of their ids.
    pub members: Vec<Member>,
    /// After whom the next page begins; `None` after the last.
    pub next_after: Option<UserId>,
}

impl Dialogs {
    pub(super) fn new(transactions: Transactions, admission: Admission) -> Self {
        Self { transactions, admission }
    }

    /// Creates a dialog that only its members belong to. One that people have merely been seen in (in an open Store) is
    /// taken over: whoever is not named is removed.
    ///
    /// # Errors
    /// [`Failure::DialogExists`] for one that was created before; [`Failure::Invalid`] for more than
    /// [`CREATE_MEMBERS_MAX`] members.
    pub async fn create_dialog(
        &self,
        dialog: DialogId,
        members: Vec<Member>,
        by: Option<UserId>,
    ) -> Result<(), Failure> {
        if members.len() > CREATE_MEMBERS_MAX {
            return Err(Failure::Invalid("a dialog is created with at most 1000 members"));
        }
        self.transactions.run(move |tx| members::create(tx, &dialog, &members, by.as_ref())).await
    }

    /// Makes a user a member, or gives a member another role.
    ///
    /// # Errors
    /// [`Failure::NotFound`] for an unknown dialog.
    pub async fn add_member(
        &self,
        dialog: DialogId,
        member: Member,
        by: Option<UserId>,
    ) -> Result<MemberChange, Failure> {
        self.change(dialog, member.user_id, Some(member.role), by).await
    }

    /// Ends a membership, for good also in an open Store. Nothing changes for one who is not a member.
    ///
    /// # Errors
    /// [`Failure::NotFound`] for an unknown dialog.
    pub async fn remove_member(
        &self,
        dialog: DialogId,
        user: UserId,
        by: Option<UserId>,
    ) -> Result<MemberChange, Failure> {
        self.change(dialog, user, None, by).await
    }

    /// Lists at most `limit` members, those whose ids come after `after`.
    ///
    /// # Errors
    /// [`Failure::NotFound`] for an unknown dialog.
    pub async fn list_members(
        &self,
        dialog: DialogId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<MemberPage, Failure> {
        let limit = if limit == 0 { MEMBERS_PAGE_MAX } else { limit.min(MEMBERS_PAGE_MAX) };
        let admission = self.admission;
        let members = self
            .transactions
            .run(move |tx| {
                if !members::exists(tx, admission, &dialog)? {
                    return Err(Failure::NotFound);
                }
                members::list(tx, &dialog, after.as_ref(), limit)
            })
            .await?;
        let full = members.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next_after = if full { members.last().map(|member| member.user_id.clone()) } else { None };
        Ok(MemberPage { members, next_after })
    }

    async fn change(
        &self,
        dialog: DialogId,
        user: UserId,
        role: Option<MemberRole>,
        by: Option<UserId>,
    ) -> Result<MemberChange, Failure> {
        let admission = self.admission;
        self.transactions
            .run(move |tx| members::change(tx, admission, &dialog, &user, role.as_ref(), by.as_ref()))
            .await
    }
}
