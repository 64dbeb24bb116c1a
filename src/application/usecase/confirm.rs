//! Whether what the Store said of memberships still holds when the dialogs' feeds are open.
//!
//! The Store is asked first: nobody opens feeds of dialogs that are not theirs. By the time a feed is open, the user may
//! have been removed, and the removal may lie before the place from where the feed is followed: nothing would ever tell.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::presence::bus_refusal;
use crate::application::command::{DialogTarget, store_refusal};
use crate::application::feed::standing::Standing;
use crate::application::gateway::Gateway;
use crate::application::memberships::Checked;
use crate::application::sessions::live::{Chore, LiveSession};
use crate::domain::error::ErrorCode;
use crate::domain::event::LogPosition;
use crate::domain::ids::{DialogId, FeedKey};
use crate::domain::time::UnixMillis;
use crate::session::subscriptions::CLOCKS_APART_MAX;

/// Feeds that are opened at the same time.
const OPENS_AT_ONCE_MAX: usize = 32;

/// How the world stood before the Store was asked about memberships: a removal from before that is history.
#[derive(Clone)]
pub(super) struct Asked {
    /// The user's own feed; `None` if the answer is an old one.
    pub(super) own: Option<LogPosition>,
    /// The bus's time.
    pub(super) at: UnixMillis,
}

/// A dialog, and an answer of the Store that holds as of where its feed stood.
pub(super) struct Sure {
    pub(super) target: DialogTarget,
    pub(super) answer: Result<Checked, ErrorCode>,
    /// When it was asked for.
    pub(super) asked: Asked,
    /// Where the feed stood when nothing had happened since, or before it was asked for once more; `None` if that is
    /// not known. What came later is told, or ends the subscription: from here it is followed.
    pub(super) stood: Option<Standing>,
    /// Something has happened since it was asked for.
    doubtful: bool,
}

impl Gateway {
    pub(super) fn about_to_ask(&self, session: &Arc<LiveSession>) -> Asked {
        Asked { own: own_position(session), at: self.ports.bus.time() }
    }

    /// Asks the Store once more about dialogs in which something has happened since it was asked.
    pub(super) async fn make_sure(
        self: &Arc<Self>,
        session: &Arc<LiveSession>,
        told: Vec<(DialogTarget, Result<Checked, ErrorCode>)>,
        asked: &Asked,
    ) -> Vec<Sure> {
        let opened = told.into_iter().map(|(target, answer)| async {
            let (answer, stood, doubtful) = match answer {
                Ok(checked) if checked.membership.readable() && !checked.stale => {
                    match self.standing_since(session, &target, asked).await {
                        Ok((stood, moved)) => (Ok(checked), stood, moved),
                        Err(code) => (Err(code), None, false),
                    }
                }
                answer => (answer, None, false),
            };
            Sure { target, answer, asked: asked.clone(), stood, doubtful }
        });
        let mut sure: Vec<Sure> = stream::iter(opened).buffered(OPENS_AT_ONCE_MAX).collect().await;
        let doubtful: Vec<DialogId> =
            sure.iter().filter(|sure| sure.doubtful).map(|sure| sure.target.dialog_id.clone()).collect();
        if doubtful.is_empty() {
            return sure;
        }
        let asked = self.about_to_ask(session);
        let call = Self::call_for(session.user_id(), Some(session));
        let answers = self.memberships.ask(&call, &doubtful).await;
        let doubted = sure.iter_mut().filter(|sure| sure.doubtful);
        for (doubted, answer) in doubted.zip(answers) {
            doubted.answer = answer.map_err(|error| store_refusal(error).code);
            doubted.asked = asked.clone();
        }
        sure
    }

    /// Where a dialog's feed stands, and whether it or the user's own has moved since the Store was asked.
    async fn standing_since(
        &self,
        session: &Arc<LiveSession>,
        target: &DialogTarget,
        asked: &Asked,
    ) -> Result<(Option<Standing>, bool), ErrorCode> {
        let unavailable = |error| bus_refusal(error).code;
        let feed = self.feeds.open(&FeedKey::Dialog(target.dialog_id.clone())).await.map_err(unavailable)?;
        if target.since.is_none() {
            feed.find_message().await.map_err(unavailable)?;
        }
        let stood = feed.standing();
        let moved = feed.moved_since(asked.at.minus(CLOCKS_APART_MAX)) || own_position(session) != asked.own;
        let moved = moved && stood.is_some();
        Ok((stood, moved))
    }

    /// A membership may have changed between the Store's answer and the subscription: then nothing was there yet that a
    /// removal could have ended.
    pub(super) fn recheck_if_moved(self: &Arc<Self>, session: &Arc<LiveSession>, asked: &Asked) {
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

/// Where the feed of the session's user stands on this node.
fn own_position(session: &Arc<LiveSession>) -> Option<LogPosition> {
    let own = FeedKey::User(session.user_id().clone());
    session.membership(&own).and_then(|membership| membership.feed.position())
}
