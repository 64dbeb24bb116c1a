//! The session: its state, how it begins, and what can be asked of it.

use std::sync::Arc;
use std::time::Duration;

use super::cursor::Cursor;
use super::ephemeral::Ephemerals;
use super::ledger::Ledger;
use super::outbox::{Outbox, OutboxLimits};
use super::reader::{Attachment, Dismissal, Transport};
use super::snapshot::{Inherited, SubscribeOptions};
use super::subscriptions::{CatchUpFrom, Confirmed, Flow, Subscription, Subscriptions};
use crate::domain::event::LogPosition;
use crate::domain::ids::{DeviceId, DialogId, FeedKey, SessionId, UserId};
use crate::domain::presence::PresenceState;
use crate::domain::time::{Tick, UnixMillis};

/// Settings that all sessions of a node share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Bounds of the outgoing queue.
    pub outbox: OutboxLimits,
    /// How long a session that nobody reads keeps its queue.
    pub resume_window: Duration,
    /// How long a session that nobody reads still counts as present.
    pub presence_grace: Duration,
    /// Most dialogs a session may follow.
    pub subscriptions_max: usize,
    /// How long after `exp` a token still counts.
    pub token_leeway: Duration,
    /// Where the node counts what its queues hold.
    pub ledger: Arc<Ledger>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            outbox: OutboxLimits { events: 512, bytes: 256 * 1024 },
            resume_window: Duration::from_secs(120),
            presence_grace: Duration::from_secs(15),
            subscriptions_max: 1000,
            token_leeway: Duration::from_secs(30),
            ledger: Arc::default(),
        }
    }
}

/// A session: subscriptions, an outgoing queue, at most one reader.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Arc<Config>,
    pub(super) id: SessionId,
    pub(super) user_id: UserId,
    pub(super) device_id: Option<DeviceId>,
    pub(super) first_epoch: u32,
    pub(super) epoch: u32,
    pub(super) outbox: Outbox,
    /// The newest acknowledged place.
    pub(super) acknowledged: Cursor,
    /// Generation and number that the subscriptions' delivered positions belong to: a cursor below lacks some of it.
    pub(super) delivered_as_of: (u32, u64),
    /// Whether the client has nothing else as of then: else it may have more.
    pub(super) delivered_exactly: bool,
    /// The queue is not the one the last cursor was given for: only the logs can tell what comes next.
    pub(super) lost_queue: bool,
    /// How often it has been written down, or was to be.
    pub(super) revision: u32,
    /// See [`SessionSnapshot::based_on`](super::snapshot::SessionSnapshot::based_on).
    pub(super) based_on: Option<(u32, u32)>,
    /// The newest number that the record knows of.
    pub(super) recorded: u64,
    /// It has been rebuilt, and no record knows of that yet.
    pub(super) unrecorded: bool,
    /// What is known of the lost queue.
    pub(super) inherited: Option<Box<Inherited>>,
    /// Where the reader stood when a catch-up found the queue full: until it moves on, reading a log is in vain.
    pub(super) full_at: Option<u64>,
    pub(super) ephemerals: Ephemerals,
    pub(super) subscriptions: Subscriptions,
    /// The newest [`Subscription::round`].
    pub(super) round: u32,
    pub(super) follow_all: Option<SubscribeOptions>,
    pub(super) highest_attach: Option<u64>,
    pub(super) readers_seen: u64,
    pub(super) attachment: Attachment,
    pub(super) token_expires_at: UnixMillis,
    pub(super) token_notice_due: bool,
    pub(super) token_notice_waiting: bool,
    /// Whether the session counts as present for others.
    pub(super) here: bool,
    pub(super) status: PresenceState,
    /// The node is going: nobody may read here any more.
    pub(super) sent_away: bool,
    pub(super) ended: Option<Dismissal>,
}

/// A subscription would be one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session follows as many dialogs as it may")]
pub struct TooManySubscriptions;

impl Session {
    /// A new session. `first_epoch` is random, so that cursors of another session are recognised.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        id: SessionId,
        user_id: UserId,
        device_id: Option<DeviceId>,
        first_epoch: u32,
        now: Tick,
        bus_now: UnixMillis,
    ) -> Self {
        let acknowledged = Cursor { epoch: first_epoch, number: 0, watermark: bus_now };
        Self {
            outbox: Outbox::new(config.outbox, 0, bus_now).counted_by(&config.ledger),
            config,
            id,
            user_id,
            device_id,
            first_epoch,
            epoch: first_epoch,
            acknowledged,
            delivered_as_of: (first_epoch, 0),
            delivered_exactly: true,
            lost_queue: false,
            revision: 0,
            based_on: None,
            recorded: 0,
            unrecorded: false,
            inherited: None,
            full_at: None,
            ephemerals: Ephemerals::default(),
            subscriptions: Subscriptions::default(),
            round: 0,
            follow_all: None,
            highest_attach: None,
            readers_seen: 0,
            attachment: Attachment::Detached { since: now, last: None },
            token_expires_at: UnixMillis(0),
            token_notice_due: false,
            token_notice_waiting: false,
            here: false,
            status: PresenceState::Online,
            sent_away: false,
            ended: None,
        }
    }

    /// The session's name.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The generation of its queue: a rebuild makes a new one.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whose it is.
    #[must_use]
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// On which device.
    #[must_use]
    pub fn device_id(&self) -> Option<&DeviceId> {
        self.device_id.as_ref()
    }

    /// Why it has ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Dismissal> {
        self.ended
    }

    /// Since when nobody reads it, and how it was read before; `None` while somebody does.
    #[must_use]
    pub fn unread_since(&self) -> Option<(Tick, Option<Transport>)> {
        match &self.attachment {
            Attachment::Attached(_) => None,
            Attachment::Detached { since, last } => Some((*since, *last)),
        }
    }

    /// How it is read, or was read last.
    #[must_use]
    pub fn last_transport(&self) -> Option<Transport> {
        match &self.attachment {
            Attachment::Attached(reader) => Some(reader.transport),
            Attachment::Detached { last, .. } => *last,
        }
    }

    /// Whether it has ended since it goes on at another node.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.ended == Some(Dismissal::Superseded)
    }

    /// By which transport it is being read.
    #[must_use]
    pub fn attached_by(&self) -> Option<Transport> {
        match &self.attachment {
            Attachment::Attached(reader) => Some(reader.transport),
            Attachment::Detached { .. } => None,
        }
    }

    /// Whether the session counts as present for others: it is read, or was a moment ago.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.here
    }

    /// The client's own word on whether its user is active.
    #[must_use]
    pub fn status(&self) -> PresenceState {
        self.status
    }

    /// Sets [`Self::status`].
    pub fn set_status(&mut self, status: PresenceState) {
        self.status = status;
    }

    /// The queue, to look at.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The followed feeds, to look at.
    #[must_use]
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Names a followed feed by this very key in place of an equal one.
    pub fn share_key(&mut self, feed: &FeedKey) {
        self.subscriptions.share_key(feed);
    }

    /// How the session follows all dialogs of its user, if it does.
    #[must_use]
    pub fn follow_all(&self) -> Option<SubscribeOptions> {
        self.follow_all
    }

    /// Begins or ends following every dialog of the user.
    pub fn set_follow_all(&mut self, options: Option<SubscribeOptions>) {
        self.follow_all = options;
    }

    /// Follows a feed from a position on. It counts as behind until [`Self::apply`] says that the log has nothing
    /// newer. A feed that is followed already keeps its position and takes the new options and confirmation.
    ///
    /// # Errors
    /// [`TooManySubscriptions`]; the user's own feed does not count.
    pub fn subscribe(
        &mut self,
        feed: &FeedKey,
        options: SubscribeOptions,
        position: LogPosition,
        confirmed: Confirmed,
        last_message_seq: u64,
    ) -> Result<(), TooManySubscriptions> {
        let known = self.subscriptions.update(feed, |known| {
            known.options = options;
            known.confirmed = confirmed.clone();
        });
        if known.is_some() {
            return Ok(());
        }
        let dialogs = self.subscriptions.len()
            - usize::from(self.subscriptions.find(&FeedKey::User(self.user_id.clone())).is_some());
        if feed.dialog().is_some() && dialogs >= self.config.subscriptions_max {
            return Err(TooManySubscriptions);
        }
        let subscription = Subscription {
            delivered: position.clone(),
            position,
            last_message_seq,
            delivered_message_seq: last_message_seq,
            options,
            round: self.next_round(),
            in_step: None,
            beginning: None,
            confirmed,
            flow: Flow::behind(CatchUpFrom::Position, self.outbox.newest_watermark()),
        };
        self.subscriptions.insert(feed.clone(), subscription);
        Ok(())
    }

    pub(super) fn next_round(&mut self) -> u32 {
        self.round = self.round.wrapping_add(1);
        self.round
    }

    /// Ends a subscription. No later event of the feed leaves, whatever is queued. Returns what it asked for.
    pub fn unsubscribe(&mut self, dialog: &DialogId) -> Option<SubscribeOptions> {
        let feed = FeedKey::Dialog(dialog.clone());
        let removed = self.subscriptions.remove(&feed)?;
        self.outbox.cut(&feed);
        self.full_at = None;
        self.ephemerals.cut(&feed);
        Some(removed.options)
    }
}
