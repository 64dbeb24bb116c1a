//! Rebuilding: a session that is not here, from its record and the logs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tracing::Instrument;

use super::attach::{AttachInput, Found, changes_hands, parse_cursor, refused, request};
use super::presence::bus_refusal;
use super::reading::Reading;
use crate::application::command::store_refusal;
use crate::application::farewell::going_away;
use crate::application::gateway::Gateway;
use crate::application::ports::auth::Identity;
use crate::application::ports::bus::BusError;
use crate::application::pressure::Stage;
use crate::application::recording::Recorded;
use crate::application::sessions::live::LiveSession;
use crate::application::trace::RequestContext;
use crate::domain::error::Refusal;
use crate::domain::ids::{DialogId, FeedKey, SessionId, UserId};
use crate::session::machine::Session;
use crate::session::reader::{Dismissal, Resume};
use crate::session::snapshot::SessionSnapshot;

/// Feeds of a rebuilt session that are joined at the same time.
const REJOINS_AT_ONCE_MAX: usize = 64;
/// When whoever has found a session that could not be rebuilt may come back.
const COME_BACK_AFTER: Duration = Duration::from_millis(500);

impl Gateway {
    pub(super) async fn resume_from_record(
        self: &Arc<Self>,
        identity: &Identity,
        input: &AttachInput,
        id: &SessionId,
        counted: bool,
    ) -> Result<Found, Refusal> {
        if self.is_leaving() {
            return Err(going_away());
        }
        self.require_room(Stage::NoReplays)?;
        if let Some(holder) = &input.held_by {
            self.ask_for(&identity.user_id, id, holder).await.map_err(bus_refusal)?;
        }
        let record = self.ports.records.load(id).await.map_err(bus_refusal)?;
        let Some(mut record) = record.filter(|record| record.user_id == identity.user_id) else {
            return Ok(Found::Nothing);
        };
        let cursor = parse_cursor(input)?;
        // One that was forgotten counts anew.
        self.enter_roster(&identity.user_id, id, record.acknowledged.epoch).await?;
        let dropped = self.drop_lost_memberships(&identity.user_id, &mut record).await?;
        let mut machine =
            Session::from_snapshot(self.config.session.clone(), record, self.ports.clock.tick());
        let request = request(input, cursor, identity, counted);
        let attached = machine.attach(&request, self.ports.bus.time()).map_err(refused)?;
        let follows_all = machine.follow_all().is_some();
        let session = LiveSession::new(machine);
        if self.sessions.insert(&session).is_some() {
            // Another attach was quicker: go on with that one.
            return Ok(Found::JustEnded);
        }
        let reading = self.reading(session.clone(), input.transport, attached, Resume::Rebuilt, None);
        let finishing = self.clone().finish_rebuild(reading, follows_all || dropped);
        // Its client may go away meanwhile: what has been begun is finished, or given up.
        let finishing = match RequestContext::current() {
            Some(request) => self.tasks.spawn(request.scope(finishing.in_current_span())),
            None => self.tasks.spawn(finishing.in_current_span()),
        };
        match finishing.await {
            Ok(found) => found,
            Err(_) => {
                // It has panicked.
                self.give_up_rebuild(&session).await;
                Err(changes_hands())
            }
        }
    }

    /// Sees to it that a session that was rebuilt here is followed by its feeds, and known to be here.
    async fn finish_rebuild(
        self: Arc<Self>,
        reading: Reading,
        may_have_moved: bool,
    ) -> Result<Found, Refusal> {
        let session = reading.session().clone();
        if let Err(refusal) = self.rejoin(&session).await {
            self.give_up_rebuild(&session).await;
            return Err(refusal);
        }
        match self.save_record(&session).await {
            Recorded::Written => {}
            // It was attached at another node meanwhile, or deleted; or its old node has written it since it was read.
            Recorded::Gone => return Ok(Found::Overtaken),
            Recorded::NotWritten => {
                // Nobody must get a cursor of a generation that nobody else knows of.
                self.give_up_rebuild(&session).await;
                return Err(bus_refusal(BusError::Unavailable));
            }
        }
        self.say_moved_here(&session).await;
        self.say_here(&session).await;
        if may_have_moved {
            // Dialogs that were joined meanwhile.
            self.recheck_soon(&session);
        }
        self.attend(&session);
        Ok(Found::Attached(Box::new(reading)))
    }

    /// The record is as it was: the next attach tries again. Another may have found the session here meanwhile: its client
    /// has lost nothing, and is asked to come back.
    async fn give_up_rebuild(self: &Arc<Self>, session: &Arc<LiveSession>) {
        session.with(|machine| {
            machine.dismiss(Dismissal::Draining { reconnect_after: COME_BACK_AFTER });
            machine.end(Dismissal::Expired);
        });
        self.bury(session).await;
    }

    /// Asks the Store about every dialog of a record: nothing of a dialog may leave after its user was removed.
    async fn drop_lost_memberships(
        &self,
        user: &UserId,
        record: &mut SessionSnapshot,
    ) -> Result<bool, Refusal> {
        let dialogs: Vec<DialogId> =
            record.subscriptions.iter().filter_map(|kept| kept.feed.dialog().cloned()).collect();
        let call = Self::call_for(user, None);
        let answers = self.memberships.ask(&call, &dialogs).await;
        let mut lost = Vec::new();
        for (dialog, answer) in dialogs.into_iter().zip(answers) {
            let checked = answer.map_err(store_refusal)?;
            if !checked.membership.readable() {
                lost.push(FeedKey::Dialog(dialog));
            }
        }
        record.keep_subscriptions(|kept| !lost.contains(&kept.feed));
        Ok(!lost.is_empty())
    }

    async fn rejoin(self: &Arc<Self>, session: &Arc<LiveSession>) -> Result<(), Refusal> {
        let own = FeedKey::User(session.user_id().clone());
        let feeds = session.peek(|machine| machine.subscriptions().feeds());
        if !feeds.contains(&own) {
            self.follow_own_feed(session).await?;
        }
        let mut joins = stream::iter(feeds)
            .map(|feed| async move { self.join_feed(session, &feed).await })
            .buffer_unordered(REJOINS_AT_ONCE_MAX);
        while let Some(joined) = joins.next().await {
            joined.map_err(bus_refusal)?;
        }
        Ok(())
    }
}
