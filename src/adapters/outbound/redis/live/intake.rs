//! What a server sends unasked: messages, confirmations, and the end.
//!
//! The client library calls in with each of them as it reads it from the socket, and messages are handed to their
//! sinks right there: between the socket and a feed's own bounded inbox there is no queue that could grow. A server
//! that is read too slowly drops the connection (`client-output-buffer-limit pubsub`), and that is an interruption
//! like any other.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::aio::{AsyncPushSender, SendError};
use redis::{PushInfo, PushKind, Value};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::channels::{Era, Life};
use super::company::Company;
use super::routes::LinkId;
use super::times::Returned;
use crate::adapters::outbound::redis::payload;
use crate::domain::time::UnixMillis;

/// A probe under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    /// What tells it from all others, and from what somebody else may publish there.
    pub(super) nonce: u64,
    /// The era in which it was sent, if all subscriptions stood.
    pub(super) era: Option<Era>,
}

/// Takes in what comes over one connection.
pub(super) struct Intake {
    link: LinkId,
    life: Life,
    company: Arc<Company>,
    probe: Mutex<UnderWay>,
    heard: Mutex<Instant>,
}

/// How far the last probe has come. It counts once it is back and the server has said that it is a master, in whatever
/// order: a push may come before or after the answer to what caused it.
#[derive(Default)]
struct UnderWay {
    sent: Option<Probe>,
    back: Option<Returned>,
    by_master: bool,
}

impl Intake {
    /// For a connection that is about to be opened.
    pub(super) fn new(link: LinkId, company: Arc<Company>) -> Arc<Self> {
        let (life, heard) = (company.new_life(), Mutex::new(Instant::now()));
        Arc::new(Self { link, life, company, probe: Mutex::default(), heard })
    }

    /// Which connection it is.
    pub(super) fn life(&self) -> Life {
        self.life
    }

    /// This probe is about to be sent.
    pub(super) fn expect(&self, probe: Probe) {
        *self.probe.lock() = UnderWay { sent: Some(probe), ..UnderWay::default() };
    }

    /// The server has answered the probe that was sent last, and is a master.
    pub(super) fn answered_by_master(&self) {
        self.probe.lock().by_master = true;
        self.count_probe();
    }

    fn count_probe(&self) {
        let returned = {
            let mut probe = self.probe.lock();
            if probe.by_master { probe.back.take() } else { None }
        };
        let Some(returned) = returned else { return };
        *self.heard.lock() = Instant::now();
        self.company.times.returned(self.link, returned, &self.company.channels);
    }

    /// When a probe or a confirmation last came in, or when the connection was opened.
    pub(super) fn heard(&self) -> Instant {
        *self.heard.lock()
    }

    fn take(&self, push: PushInfo) {
        let mut data = push.data.into_iter();
        let Some(Value::BulkString(name)) = data.next() else { return };
        let Ok(name) = std::str::from_utf8(&name) else { return };
        let of_probe = name.starts_with(&self.company.probe_prefix);
        match push.kind {
            PushKind::SMessage => {
                let Some(Value::BulkString(message)) = data.next() else { return };
                if of_probe { self.returned(&message) } else { self.message(name, message.into()) }
            }
            PushKind::SSubscribe => {
                *self.heard.lock() = Instant::now();
                if !of_probe {
                    self.company.channels.confirmed(self.life, name);
                }
            }
            PushKind::SUnsubscribe => {
                let asked_for = !of_probe && self.company.channels.ended(self.life, name);
                if !asked_for {
                    self.company.doubts.notify_one();
                }
            }
            _ => {}
        }
    }

    fn message(&self, name: &str, message: Bytes) {
        // Nobody listens: it was ended a moment ago, or lies elsewhere by now.
        if let Some(audience) = self.company.channels.audience(self.life, name) {
            audience.tell(&payload::parse(message));
        }
    }

    fn returned(&self, message: &[u8]) {
        let Some((nonce, at)) = probe(message) else { return };
        {
            let mut under_way = self.probe.lock();
            let Some(probe) = under_way.sent.take_if(|probe| probe.nonce == nonce) else { return };
            under_way.back = Some(Returned { at, era: probe.era });
        }
        self.count_probe();
    }
}

/// The nonce of a probe, and the time of the server that published it: `<nonce> <seconds> <microseconds>`.
fn probe(message: &[u8]) -> Option<(u64, UnixMillis)> {
    let mut numbers = std::str::from_utf8(message).ok()?.splitn(3, ' ').map(|text| text.parse::<u64>().ok());
    let (nonce, seconds, micros) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some((nonce, UnixMillis(seconds.checked_mul(1000)?.checked_add(micros / 1000)?)))
}

/// The client library's way into an [`Intake`]. Dropped with the library's task: also when a sink has panicked in it.
pub(super) struct Pushes {
    intake: Arc<Intake>,
    _at_its_end: DropGuard,
}

impl Pushes {
    /// Whatever ends the connection cancels `lost`.
    pub(super) fn new(intake: Arc<Intake>, lost: CancellationToken) -> Self {
        Self { intake, _at_its_end: lost.drop_guard() }
    }
}

impl AsyncPushSender for Pushes {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        self.intake.take(push);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_tells_its_nonce_and_the_time_of_the_server() {
        assert_eq!(probe(b"7 1785000000 120999"), Some((7, UnixMillis(1_785_000_000_120))));
        for garbage in
            [&b""[..], b"7", b"7 1", b"7 1 2 3", b"x 1 2", b"7 18446744073709551615 0", b"\xff 1 2"]
        {
            assert_eq!(probe(garbage), None);
        }
    }
}
