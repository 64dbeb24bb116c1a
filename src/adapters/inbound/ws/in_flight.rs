//! What a client has said, and has no answer to yet.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

use crate::adapters::inbound::http::edge::Edge;
use crate::application::command::{Command, Reply};
use crate::application::ports::auth::Identity;
use crate::application::sessions::live::LiveSession;
use crate::domain::error::Refusal;

/// Most commands of one connection that are carried out at the same time; above, nothing more is read.
const COMMANDS_IN_FLIGHT_MAX: usize = 32;

/// A command's answer on its way back.
pub(super) struct Answered {
    pub(super) reference: Option<String>,
    pub(super) result: Result<Reply, Refusal>,
}

/// A `bye` waits until what was said before it has been answered; after it nothing is read.
enum Bye {
    Unsaid,
    Waiting(Option<String>),
    UnderWay,
}

/// The commands of a connection that are under way.
pub(super) struct InFlight {
    /// An idle connection has no room for them.
    commands: Option<Box<FuturesUnordered<BoxFuture<'static, Answered>>>>,
    bye: Bye,
}

impl InFlight {
    pub(super) fn new() -> Self {
        Self { commands: None, bye: Bye::Unsaid }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_none()
    }

    /// Whether more may be read.
    pub(super) fn takes_more(&self) -> bool {
        matches!(self.bye, Bye::Unsaid)
            && self.commands.as_ref().is_none_or(|commands| commands.len() < COMMANDS_IN_FLIGHT_MAX)
    }

    pub(super) fn say_bye(&mut self, reference: Option<String>) {
        self.bye = Bye::Waiting(reference);
    }

    /// The `ref` of a `bye` whose time has come.
    pub(super) fn begin_bye(&mut self) -> Option<Option<String>> {
        if !self.is_empty() {
            return None;
        }
        let Bye::Waiting(reference) = &mut self.bye else { return None };
        let reference = reference.take();
        self.bye = Bye::UnderWay;
        Some(reference)
    }

    pub(super) fn push(
        &mut self,
        reference: Option<String>,
        done: impl Future<Output = Result<Reply, Refusal>> + Send + 'static,
    ) {
        let answered = async move { Answered { reference, result: done.await } };
        self.commands.get_or_insert_default().push(answered.boxed());
    }

    /// The next answer, if one is there; else the task is woken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Answered> {
        let commands = self.commands.as_mut()?;
        let Poll::Ready(answered) = commands.poll_next_unpin(cx) else { return None };
        if commands.is_empty() {
            self.commands = None;
        }
        answered
    }

    /// Whether something goes on without the connection.
    pub(super) fn outlives(&self) -> bool {
        !self.is_empty() || matches!(self.bye, Bye::Waiting(_))
    }
}

/// What a client has said before it went. It is carried out all the same: a page that closes says how far it was read, and
/// does not wait for the answer.
pub(super) struct Unheard {
    pub(super) edge: Arc<Edge>,
    pub(super) identity: Arc<Identity>,
    pub(super) session: Arc<LiveSession>,
    pub(super) in_flight: InFlight,
}

impl Unheard {
    pub(super) async fn carry_out(self) {
        let patience = self.edge.gateway.config().send_patience;
        let InFlight { commands, bye } = self.in_flight;
        let rest = async {
            if let Some(mut commands) = commands {
                while commands.next().await.is_some() {}
            }
            if matches!(bye, Bye::Waiting(_)) {
                let _ = self.edge.gateway.carry_out(&self.identity, &self.session, Command::Bye).await;
            }
        };
        let _ = timeout(patience, rest).await;
    }
}
