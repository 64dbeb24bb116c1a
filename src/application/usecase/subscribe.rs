//! Following dialogs: from now on, or from where the client has come to.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::confirm::Sure;
use super::presence::bus_refusal;
use crate::application::catch_up::{NotCaughtUp, PIECE_EVENTS_MAX};
use crate::application::command::{
    DialogTarget, Failed, Followed, Since, Subscribed, Targets, store_refusal,
};
use crate::application::feed::one::Standing;
use crate::application::gateway::Gateway;
use crate::application::memberships::Checked;
use crate::application::ports::bus::{BusError, LogEntry, ReadFrom};
use crate::application::ports::store::StoreError;
use crate::application::ports::telemetry::labels::Limit;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::pressure::Stage;
use crate::application::sessions::live::{Chore, LiveSession};
use crate::domain::dialog::Membership;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::event::{EventKind, LogPosition, MembershipChange};
use crate::domain::ids::{DialogId, FeedKey, UserId};
use crate::domain::time::UnixMillis;
use crate::session::machine::Session;
use crate::session::reading::REBUILD_MARGIN;
use crate::session::since::Named;
use crate::session::snapshot::SubscribeOptions;
use crate::session::subscriptions::Confirmed;

/// Dialogs of one command that are joined at the same time.
const JOINS_AT_ONCE_MAX: usize = 32;
/// Dialogs on one page of the Store's list.
const LIST_PAGE_DIALOGS: u32 = 200;
/// Most pages read from the Store's list.
const LIST_PAGES_MAX: usize = 100;

/// Why a feed is not followed.
pub(super) enum NotFollowed {
    Bus(BusError),
    Store(StoreError),
    TooMany,
}

impl From<NotCaughtUp> for NotFollowed {
    fn from(why: NotCaughtUp) -> Self {
        match why {
            NotCaughtUp::Bus(error) => Self::Bus(error),
            NotCaughtUp::Store(error) => Self::Store(error),
        }
    }
}

/// What holds for all dialogs that are asked for at once.
#[derive(Clone, Copy)]
struct Terms {
    options: SubscribeOptions,
    /// See [`Named::heard`].
    heard: Option<u64>,
}

impl Terms {
    /// Of what the node does by itself.
    fn own(options: SubscribeOptions) -> Self {
        Self { options, heard: None }
    }
}

/// From where a session follows a feed.
pub(super) struct Start {
    /// What the client has; from now on if it has nothing.
    pub(super) since: Option<Named>,
    /// How the world stood before the membership was asked for.
    pub(super) asked: Asked,
    /// Where the feed stood when the answer held; where it stands now if that is not known.
    pub(super) stood: Option<Standing>,
}

/// How the world stood before the Store was asked about memberships: a removal from before that is history.
#[derive(Clone)]
pub(super) struct Asked {
    /// The user's own feed; `None` if the answer is an old one.
    pub(super) own: Option<LogPosition>,
    /// The bus's time.
    pub(super) at: UnixMillis,
}

/// Where the log stood, and how much of it was read again.
pub(super) struct InStep {
    pub(super) head: LogPosition,
    pub(super) replayed: u64,
}

impl Gateway {
    /// `heard`: what the client had surely read when it asked (see [`Session::heard`]).
    pub(in crate::application) async fn subscribe(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        targets: Targets,
        options: SubscribeOptions,
        heard: Option<u64>,
    ) -> Result<Subscribed, Refusal> {
        let mut subscribed = match targets {
            Targets::All => {
                session.with(|machine| machine.set_follow_all(Some(options)));
                let subscribed = self.follow_every_dialog(session, options).await?;
                if subscribed.failed.iter().any(|failed| failed.code.retryable()) {
                    // All are promised, and not every client asks again: the node does.
                    self.recheck_soon(session);
                }
                subscribed
            }
            Targets::Dialogs(targets, failed) => {
                let terms = Terms { options, heard };
                let mut subscribed = self.follow_named(session, targets, terms).await?;
                subscribed.failed.extend(failed);
                subscribed
            }
        };
        if subscribed.dialogs.is_empty() && session.peek(|machine| machine.follow_all().is_none()) {
            // Nothing is promised: why not is told for each dialog.
            self.save_record(session).await;
        } else {
            self.record_what_is_promised(session).await?;
        }
        // A removal may have ended it before it is told.
        let (dialogs, ended) = subscribed.dialogs.into_iter().partition(|followed| {
            let feed = FeedKey::Dialog(followed.dialog_id.clone());
            session.peek(|machine| machine.subscriptions().find(&feed).is_some())
        });
        subscribed.dialogs = dialogs;
        subscribed.failed.extend(ended.into_iter().map(|ended: Followed| Failed {
            dialog_id: ended.dialog_id.as_str().to_owned(),
            code: ErrorCode::NotMember,
        }));
        Ok(subscribed)
    }

    pub(in crate::application) async fn unsubscribe(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        dialogs: Option<Vec<DialogId>>,
    ) -> Result<(), Refusal> {
        let dialogs = dialogs.unwrap_or_else(|| {
            session.with(|machine| machine.set_follow_all(None));
            session.peek(|machine| machine.subscriptions().dialogs())
        });
        for dialog in &dialogs {
            let (left, _) = session.with(|machine| machine.unsubscribe(dialog));
            if left.is_some() {
                self.leave_dialog(session, dialog, left).await;
            }
        }
        self.record_what_is_promised(session).await
    }

    async fn follow_named(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        targets: Vec<DialogTarget>,
        terms: Terms,
    ) -> Result<Subscribed, Refusal> {
        let asked: Vec<DialogId> = targets.iter().map(|target| target.dialog_id.clone()).collect();
        let call = Self::call_for(session.user_id(), Some(session));
        let asked_then = self.about_to_ask(session);
        let answers = self.memberships.ask(&call, &asked).await;
        if let Some(Err(error)) = answers.first()
            && answers.iter().all(Result::is_err)
        {
            return Err(store_refusal(*error));
        }
        let told: Vec<_> = targets
            .into_iter()
            .zip(answers)
            .map(|(target, answer)| (target, answer.map_err(|error| store_refusal(error).code)))
            .collect();
        Ok(self.follow_told(session, told, terms, asked_then).await)
    }

    /// Follows what the Store says the user belongs to. The answers were asked for at `asked`.
    async fn follow_told(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        told: Vec<(DialogTarget, Result<Checked, ErrorCode>)>,
        terms: Terms,
        asked: Asked,
    ) -> Subscribed {
        let sure = self.make_sure(session, told, &asked).await;
        let follows = sure.into_iter().map(|Sure { target, answer, asked, stood, .. }| async {
            let dialog_id = target.dialog_id.clone();
            let followed = match answer {
                Ok(checked) => self.follow_dialog(session, target, &checked, terms, asked, stood).await,
                Err(code) => Err(code),
            };
            followed.map_err(|code| Failed { dialog_id: dialog_id.as_str().to_owned(), code })
        });
        let subscribed = gather(stream::iter(follows).buffered(JOINS_AT_ONCE_MAX).collect().await);
        self.recheck_if_moved(session, &asked);
        subscribed
    }

    /// Follows all dialogs that the Store lists.
    pub(in crate::application) async fn follow_every_dialog(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        options: SubscribeOptions,
    ) -> Result<Subscribed, Refusal> {
        let call = Self::call_for(session.user_id(), Some(session));
        let mut subscribed = Subscribed::default();
        let mut page_token = None;
        let asked_then = self.about_to_ask(session);
        for _ in 0..LIST_PAGES_MAX {
            let page = self
                .ports
                .store
                .list_dialogs(&call, LIST_PAGE_DIALOGS, page_token.as_deref())
                .await
                .map_err(store_refusal)?;
            // Whoever has joined since is in the list, too, and is not followed from now on, but from the joining.
            if !self.hear_of_moves(session).await {
                return Err(bus_refusal(BusError::Unavailable));
            }
            let listed = page.dialogs.into_iter().map(|summary| {
                let checked = Checked {
                    membership: Membership {
                        dialog_id: summary.dialog_id,
                        member: true,
                        can_read: true,
                        can_write: true,
                        role: summary.role,
                        version: 0,
                        last_message_seq: summary.last_message_seq,
                        read_seq: summary.read_seq,
                        member_count: 0,
                    },
                    stale: false,
                };
                let dialog_id = checked.membership.dialog_id.clone();
                (DialogTarget { dialog_id, since: None }, Ok(checked))
            });
            let listed = listed.collect();
            let terms = Terms::own(options);
            let page_subscribed = self.follow_told(session, listed, terms, asked_then.clone()).await;
            subscribed.dialogs.extend(page_subscribed.dialogs);
            subscribed.failed.extend(page_subscribed.failed);
            page_token = page.next_page_token;
            if page_token.is_none() {
                break;
            }
        }
        Ok(subscribed)
    }

    /// The user has joined a dialog, and the session follows all: nothing that was said since may be missed. False if it
    /// is to be tried again.
    pub(in crate::application) async fn follow_joined(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        dialog: &DialogId,
        at: UnixMillis,
    ) -> bool {
        let Some(options) = session.peek(Session::follow_all) else { return true };
        let Ok(position) = self.position_of_joining(session.user_id(), dialog, at).await else {
            return false;
        };
        if session.peek(|machine| follows_since(machine, dialog, &position)) {
            return true;
        }
        let target =
            DialogTarget { dialog_id: dialog.clone(), since: Some(Since { position, message_seq: None }) };
        match self.follow_named(session, vec![target], Terms::own(options)).await {
            Ok(subscribed) => subscribed.failed.iter().all(|failed| !failed.code.retryable()),
            Err(refusal) => !refusal.code.retryable(),
        }
    }

    /// Where the dialog's log tells of the joining; or where it stood at that time, if it doesn't (yet).
    async fn position_of_joining(
        &self,
        user: &UserId,
        dialog: &DialogId,
        at: UnixMillis,
    ) -> Result<LogPosition, BusError> {
        let feed = self.feeds.open(&FeedKey::Dialog(dialog.clone())).await?;
        let slice = feed.read(ReadFrom::Since(at.minus(REBUILD_MARGIN)), PIECE_EVENTS_MAX).await?;
        let tells_of_joining = |entry: &&LogEntry| {
            feed.decode(entry).is_some_and(|event| {
                let added = MembershipChange::Added;
                matches!(&event.kind, EventKind::Membership { user: whose, change, .. }
                    if whose == user && *change == added)
            })
        };
        let told = slice.entries.iter().rev().find(tells_of_joining).map(|entry| entry.offset);
        let later = slice.entries.iter().find(|entry| entry.at >= at).map(|entry| entry.offset - 1);
        let offset = told.or(later).unwrap_or(slice.head.offset);
        Ok(LogPosition { epoch: slice.head.epoch, offset })
    }

    async fn follow_dialog(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        target: DialogTarget,
        checked: &Checked,
        terms: Terms,
        mut asked: Asked,
        stood: Option<Standing>,
    ) -> Result<Followed, ErrorCode> {
        let membership = &checked.membership;
        let dialog = target.dialog_id;
        if !membership.readable() {
            // Whoever is told so must get nothing more of it; the removal itself may be on its way still.
            let (left, _) = session.with(|machine| machine.unsubscribe(&dialog));
            self.leave_dialog(session, &dialog, left).await;
            return Err(ErrorCode::NotMember);
        }
        if !self.ports.bus.is_up() {
            return Err(ErrorCode::Unavailable);
        }
        asked.own.take_if(|_| checked.stale);
        let counted_since = target.since.is_some();
        if counted_since {
            self.require_room(Stage::NoReplays).map_err(|refusal| refusal.code)?;
        }
        let feed = FeedKey::Dialog(dialog.clone());
        let Terms { options, heard } = terms;
        let since = target.since.map(|Since { position, message_seq }| Named {
            position,
            last_message_seq: message_seq.unwrap_or(0),
            heard,
        });
        let start = Start { since, asked, stood };
        let was_seen = session
            .peek(|machine| machine.subscriptions().find(&feed).is_some_and(|known| known.options.presence));
        let in_step = self.follow(session, &feed, options, start).await.map_err(|why| match why {
            NotFollowed::Bus(error) => bus_refusal(error).code,
            NotFollowed::Store(error) => store_refusal(error).code,
            NotFollowed::TooMany => {
                self.ports.telemetry.record(Occurrence::LimitHit(Limit::Subscriptions));
                ErrorCode::LimitExceeded
            }
        })?;
        // Small enough to be of use, or unknown (then the Store lists it as the user's).
        let seen = options.presence && membership.member_count <= self.config.presence_max_members;
        let presence = if seen {
            self.enter_presence(session, &dialog).await;
            Some(self.list_presence(&dialog).await.unwrap_or_default())
        } else {
            if was_seen {
                self.leave_presence(session, &dialog).await;
            }
            None
        };
        Ok(Followed {
            dialog_id: dialog,
            epoch: in_step.head.epoch,
            offset: in_step.head.offset,
            last_message_seq: (!checked.stale).then_some(membership.last_message_seq),
            read_seq: (!checked.stale).then_some(membership.read_seq),
            role: membership.role.clone(),
            replayed: counted_since.then_some(in_step.replayed),
            presence,
        })
    }

    /// Makes the session follow a feed, and brings it in step.
    ///
    /// The order matters: the feed is connected before its position is read, and the session is among the feed's
    /// followers before the log is read. What comes in between is then either pushed or read, never missed.
    pub(super) async fn follow(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        key: &FeedKey,
        options: SubscribeOptions,
        start: Start,
    ) -> Result<InStep, NotFollowed> {
        let feed = self.feeds.open(key).await.map_err(NotFollowed::Bus)?;
        let is_new = session.peek(|machine| machine.subscriptions().find(key).is_none());
        let stands = feed.standing().ok_or(NotFollowed::Bus(BusError::Unavailable))?;
        // What came since the membership was asked for is told, or ends it.
        let Standing { position: head, message_seq } = start.stood.unwrap_or(stands);
        let found = start.since.as_ref().filter(|named| named.heard.is_none()).map(|named| &named.position);
        // The feed may not have heard yet of what the node has read in the log before it asked the Store.
        let history = found.filter(|found| found.epoch == head.epoch && found.offset > head.offset);
        let history = history.unwrap_or(&head).clone();
        let confirmed = Confirmed { feed: history, own: start.asked.own, at: start.asked.at };
        session
            .with(|machine| match start.since {
                Some(named) => machine.follow_since(key, options, named, confirmed),
                None => machine.subscribe(key, options, head.clone(), confirmed, message_seq),
            })
            .0
            .map_err(|_| NotFollowed::TooMany)?;
        let in_step = self.join_and_catch_up(session, key).await;
        match in_step {
            Ok(replayed) => {
                // What was replayed may have told of joining or leaving other dialogs.
                if session.needs_care() {
                    self.attend(session);
                }
                let head = feed.position().unwrap_or(head);
                Ok(InStep { head, replayed })
            }
            Err(error) => {
                // What was followed before stays, and catches up later.
                if let Some(dialog) = key.dialog().filter(|_| is_new) {
                    let (left, _) = session.with(|machine| machine.unsubscribe(dialog));
                    self.leave_dialog(session, dialog, left).await;
                }
                Err(error.into())
            }
        }
    }

    async fn join_and_catch_up(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        key: &FeedKey,
    ) -> Result<u64, NotCaughtUp> {
        self.join_feed(session, key).await?;
        let own = FeedKey::User(session.user_id().clone());
        if *key != own && session.peek(|machine| machine.catch_up(&own).is_some()) {
            // Just rebuilt, perhaps: what the user's own feed tells of leaving and joining comes before what followed. If it
            // can't be read now, the dialog need not wait for it.
            let _ = self.catch_up(session, &own).await;
        }
        Ok(self.catch_up(session, key).await?.replayed)
    }

    /// Takes a place among a feed's followers, once.
    pub(in crate::application) async fn join_feed(
        &self,
        session: &Arc<LiveSession>,
        key: &FeedKey,
    ) -> Result<(), BusError> {
        if session.membership(key).is_none() {
            let membership = self.feeds.join(key, session).await?;
            if let Some(surplus) = session.keep_membership(membership) {
                self.feeds.leave(&surplus, session);
            }
        }
        Ok(())
    }

    pub(super) fn about_to_ask(&self, session: &Arc<LiveSession>) -> Asked {
        Asked { own: own_position(session), at: self.ports.bus.time() }
    }

    /// A membership may have changed between the Store's answer and the subscription: then nothing was there yet that a
    /// removal could have ended.
    fn recheck_if_moved(self: &Arc<Self>, session: &Arc<LiveSession>, asked: &Asked) {
        if own_position(session) != asked.own {
            self.recheck_soon(session);
        }
    }

    /// Notes that membership events may have been missed.
    pub(super) fn recheck_soon(self: &Arc<Self>, session: &Arc<LiveSession>) {
        session.add_chore(Chore::Recheck);
        self.attend(session);
    }
}

/// Whether a dialog is followed from this position on, or an earlier one.
fn follows_since(machine: &Session, dialog: &DialogId, position: &LogPosition) -> bool {
    machine.subscriptions().find(&FeedKey::Dialog(dialog.clone())).is_some_and(|subscription| {
        let began = &subscription.confirmed.feed;
        began.epoch == position.epoch && began.offset <= position.offset
    })
}

/// Where the feed of the session's user stands on this node.
pub(super) fn own_position(session: &Arc<LiveSession>) -> Option<LogPosition> {
    let own = FeedKey::User(session.user_id().clone());
    session.membership(&own).and_then(|membership| membership.feed.position())
}

fn gather(results: Vec<Result<Followed, Failed>>) -> Subscribed {
    let mut subscribed = Subscribed::default();
    for result in results {
        match result {
            Ok(followed) => subscribed.dialogs.push(followed),
            Err(failed) => subscribed.failed.push(failed),
        }
    }
    subscribed
}
