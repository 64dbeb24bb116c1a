//! What the core's benchmarks and the instruction counts play with.

use std::sync::Arc;

use edgeway::application::sessions::live::LiveSession;
use edgeway::domain::event::LogPosition;
use edgeway::domain::ids::{DialogId, FeedKey, SessionId, UserId};
use edgeway::domain::time::{Tick, UnixMillis};
use edgeway::session::machine::{Config, Session};
use edgeway::session::piece::CaughtUp;
use edgeway::session::reader::{AttachRequest, DrainBudget, ReaderId, Transport};
use edgeway::session::snapshot::SubscribeOptions;
use edgeway::session::subscriptions::Confirmed;

pub(crate) const START: UnixMillis = UnixMillis(1_800_000_000_000);
/// How much a follower takes at once: what waits, if it is not more than a few of the largest messages.
const BUDGET: DrainBudget = DrainBudget { events: 64, bytes: 1024 * 1024 };
/// A message of about 300 bytes, as it lies in a log.
pub(crate) const MESSAGE: &str = concat!(
    r#"{"type":"message_new","dialog_id":"d1","message":{"message_id":"0198a7c2-6a1e-7c3b-9d54-0f2b6f1c7e10","#,
    r#""dialog_id":"d1","seq":4711,"sender_id":"alice","client_message_id":"c-0198a7c26a1e","#,
    r#""body":{"text":"Shall we meet at the usual place at seven? I'll bring the maps."},"#,
    r#""created_at":"2027-01-15T08:00:00.000Z"}}"#
);
pub(crate) const SEND: &str = concat!(
    r#"{"type":"send_message","ref":"17","dialog_id":"d1","client_message_id":"c-0198a7c26a1e","#,
    r#""body":{"text":"Shall we meet at the usual place at seven? I'll bring the maps."}}"#
);

pub(crate) fn feed_key() -> FeedKey {
    FeedKey::Dialog(DialogId::parse("d1").expect("an id"))
}

/// A session that is in step with the feed and is being read.
pub(crate) struct Follower {
    pub(crate) session: Arc<LiveSession>,
    reader: ReaderId,
}

impl Follower {
    pub(crate) fn new(number: usize, feed: &FeedKey, epoch: &str) -> Self {
        let mut machine = Session::new(
            Arc::new(Config::default()),
            SessionId::parse(&format!("s{number}")).expect("an id"),
            UserId::parse(&format!("u{number}")).expect("an id"),
            None,
            1,
            Tick(0),
            START,
        );
        let options = SubscribeOptions { presence: false, typing: true };
        let position = LogPosition { epoch: epoch.into(), offset: 0 };
        let confirmed = Confirmed { feed: position.clone(), own: None, at: START };
        machine.subscribe(feed, options, position.clone(), confirmed, 0).expect("the first one");
        let asked = machine.catch_up(feed).expect("behind until told otherwise");
        let nothing_missed = CaughtUp {
            asked,
            start: position.clone(),
            gap: Vec::new(),
            events: Vec::new(),
            reached: position,
            complete: true,
        };
        machine.apply(nothing_missed, START);
        let request = AttachRequest {
            cursor: None,
            attach: None,
            counted: false,
            transport: Transport::WebSocket,
            token_expires_at: UnixMillis(u64::MAX),
        };
        let attached = machine.attach(&request, START).expect("nobody else reads");
        Self { session: LiveSession::new(machine), reader: attached.reader }
    }

    /// Takes what is there, and says that it has it.
    pub(crate) fn read(&self) {
        let mut out = Vec::new();
        self.session.with(|machine| {
            machine.drain(self.reader, BUDGET, &mut out);
            if let Some(cursor) = machine.reader_cursor(self.reader) {
                machine.acknowledge(cursor).expect("its own cursor");
            }
        });
    }
}
