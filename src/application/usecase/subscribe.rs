//! Following dialogs: from now on, or from where the client has come to.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::confirm::{Asked, Sure};
use super::follow::{NotFollowed, Start};
use super::presence::bus_refusal;
use crate::application::command::{
    DialogTarget, Failed, Followed, Since, Subscribed, Targets, store_refusal,
};
use crate::application::feed::standing::Standing;
use crate::application::gateway::Gateway;
use crate::application::memberships::Checked;
use crate::application::ports::telemetry::labels::Limit;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::pressure::Stage;
use crate::application::sessions::live::LiveSession;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::{DialogId, FeedKey};
use crate::session::since::Named;
use crate::session::snapshot::SubscribeOptions;

/// Dialogs of one command that are joined at the same time.
const JOINS_AT_ONCE_MAX: usize = 32;

/// What holds for all dialogs that are asked for at once.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) options: SubscribeOptions,
    /// See [`Named::heard`].
    pub(super) heard: Option<u64>,
}

impl Terms {
    /// Of what the node does by itself.
    pub(super) fn own(options: SubscribeOptions) -> Self {
        Self { options, heard: None }
    }
}

impl Gateway {
    /// `heard`: what the client had surely read when it asked (see [`Named::heard`]).
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

    pub(super) async fn follow_named(
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
    pub(super) async fn follow_told(
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
