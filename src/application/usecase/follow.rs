//! Following one feed: from which place, and in the order in which nothing is missed.

use std::sync::Arc;

use super::confirm::Asked;
use crate::application::catch_up::NotCaughtUp;
use crate::application::feed::standing::Standing;
use crate::application::gateway::Gateway;
use crate::application::ports::bus::BusError;
use crate::application::ports::store::StoreError;
use crate::application::sessions::live::LiveSession;
use crate::domain::event::LogPosition;
use crate::domain::ids::FeedKey;
use crate::session::since::Named;
use crate::session::snapshot::SubscribeOptions;
use crate::session::subscriptions::Confirmed;

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

/// From where a session follows a feed.
pub(super) struct Start {
    /// What the client has; from now on if it has nothing.
    pub(super) since: Option<Named>,
    /// How the world stood before the membership was asked for.
    pub(super) asked: Asked,
    /// Where the feed stood when the answer held; where it stands now if that is not known.
    pub(super) stood: Option<Standing>,
}

/// Where the log stood, and how much of it was read again.
pub(super) struct InStep {
    pub(super) head: LogPosition,
    pub(super) replayed: u64,
}

impl Gateway {
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
}
