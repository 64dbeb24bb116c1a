//! What a client may ask for in a session, and what it is answered.

use std::sync::Arc;

use tracing::Instrument;

use super::gateway::Gateway;
use super::ports::auth::Identity;
use super::ports::idempotency::SendReceipt;
use super::ports::store::{HistoryRange, StoreError};
use super::ports::telemetry::labels::CommandType;
use super::ports::telemetry::occurrence::Occurrence;
use super::sessions::lanes::Lane;
use super::sessions::live::LiveSession;
use crate::domain::dialog::Role;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::event::{LogEpoch, LogPosition};
use crate::domain::ids::DialogId;
use crate::domain::message::{Draft, Message};
use crate::domain::presence::{Presence, PresenceState, TypingState};
use crate::domain::time::UnixMillis;
use crate::session::cursor::Cursor;
use crate::session::machine::Session;
use crate::session::reader::Dismissal;
use crate::session::snapshot::SubscribeOptions;

/// Most dialogs one `subscribe` may name.
pub const SUBSCRIBE_DIALOGS_MAX: usize = 200;

/// What a client has of a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// The last offset it has.
    pub position: LogPosition,
    /// `seq` of the last message it has.
    pub message_seq: Option<u64>,
}

/// One dialog to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogTarget {
    /// Which.
    pub dialog_id: DialogId,
    /// From where on; from now on if it is not told.
    pub since: Option<Since>,
}

/// A dialog that was not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// As the client named it, at most as long as an id.
    pub dialog_id: String,
    /// Why.
    pub code: ErrorCode,
}

/// Which dialogs to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Every dialog of the user, as membership changes.
    All,
    /// These; with those that could not even be read.
    Dialogs(Vec<DialogTarget>, Vec<Failed>),
}

/// A client's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Follow dialogs.
    Subscribe {
        /// Which.
        targets: Targets,
        /// What else is wanted.
        options: SubscribeOptions,
    },
    /// Follow dialogs no more; `None`: none at all.
    Unsubscribe(Option<Vec<DialogId>>),
    /// Say something.
    Send(Draft),
    /// Tell that one is writing.
    Typing {
        /// Where.
        dialog_id: DialogId,
        /// Began or stopped.
        state: TypingState,
    },
    /// Mark as read.
    ReadUpto {
        /// Where.
        dialog_id: DialogId,
        /// Up to this message.
        seq: u64,
    },
    /// Read old messages.
    History {
        /// Where.
        dialog_id: DialogId,
        /// From where.
        range: HistoryRange,
        /// How many at most.
        limit: u32,
    },
    /// Who is there?
    Presence {
        /// Where.
        dialog_id: DialogId,
    },
    /// This session's own state.
    Status(PresenceState),
    /// Free what the server keeps for resume.
    Ack(Cursor),
    /// Show a newer token.
    Refresh {
        /// The token.
        token: String,
    },
    /// Are you there?
    Ping,
    /// End the session.
    Bye,
}

impl Command {
    /// The command's type on the wire.
    #[must_use]
    pub fn kind(&self) -> CommandType {
        match self {
            Self::Subscribe { .. } => CommandType::Subscribe,
            Self::Unsubscribe(_) => CommandType::Unsubscribe,
            Self::Send(_) => CommandType::SendMessage,
            Self::Typing { .. } => CommandType::Typing,
            Self::ReadUpto { .. } => CommandType::ReadUpto,
            Self::History { .. } => CommandType::History,
            Self::Presence { .. } => CommandType::Presence,
            Self::Status(_) => CommandType::Status,
            Self::Ack(_) => CommandType::Ack,
            Self::Refresh { .. } => CommandType::Refresh,
            Self::Ping => CommandType::Ping,
            Self::Bye => CommandType::Bye,
        }
    }
}

/// A dialog that is followed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Which.
    pub dialog_id: DialogId,
    /// The log's generation.
    pub epoch: LogEpoch,
    /// The log's head: later events have higher offsets.
    pub offset: u64,
    /// Of the newest message, if the Store told.
    pub last_message_seq: Option<u64>,
    /// How far the user has read, if the Store told.
    pub read_seq: Option<u64>,
    /// The user's role.
    pub role: Role,
    /// How many events follow the client's `since`.
    pub replayed: Option<u64>,
    /// Who is there, if that was asked for.
    pub presence: Option<Vec<Presence>>,
}

/// What came of a `subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscribed {
    /// What is followed now.
    pub dialogs: Vec<Followed>,
    /// What is not.
    pub failed: Vec<Failed>,
}

/// What a command is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done,
    /// To `subscribe`.
    Subscribed(Subscribed),
    /// To `send_message`.
    Sent {
        /// The message.
        receipt: SendReceipt,
        /// Whether it had been sent before.
        duplicate: bool,
    },
    /// To `read_upto`.
    Read {
        /// How far the user has read.
        read_seq: u64,
        /// How much is unread.
        unread: u64,
    },
    /// To `history`.
    History {
        /// Oldest first.
        messages: Vec<Message>,
        /// Whether there are more.
        has_more: bool,
    },
    /// To `presence`.
    Presence(Vec<Presence>),
    /// To `refresh`.
    Refreshed(Identity),
    /// To `ping`.
    Pong {
        /// The node's time.
        server_time: UnixMillis,
    },
}

impl Gateway {
    /// Carries a command out. What must keep its order (sends of a dialog; what changes the session itself) takes its
    /// place in line when this is called, not when the answer is awaited.
    pub fn carry_out(
        self: &Arc<Self>,
        identity: &Arc<Identity>,
        session: &Arc<LiveSession>,
        command: Command,
    ) -> impl Future<Output = Result<Reply, Refusal>> + Send + use<> {
        let lane = match &command {
            Command::Send(draft) => Some(Lane::Dialog(draft.dialog_id.clone())),
            Command::Subscribe { .. } | Command::Unsubscribe(_) => Some(Lane::Session),
            _ => None,
        };
        // By then it may have read more than when it asked.
        let heard = matches!(command, Command::Subscribe { .. }).then(|| session.peek(Session::heard));
        // Who is refused does not line up.
        let admitted = self.admit(session, &command);
        let turn = lane.filter(|_| admitted.is_ok()).map(|lane| session.lanes.enter(lane));
        let (gateway, identity, session) = (self.clone(), identity.clone(), session.clone());
        let kind = command.kind();
        let span = self.in_trace(tracing::debug_span!(
            "command",
            otel.name = kind.as_str(),
            otel.kind = "server",
            session = session.id().as_str(),
        ));
        let work = async move {
            let mut turn = turn;
            admitted?;
            if let Some(turn) = turn.as_mut() {
                turn.wait().await;
            }
            let result = gateway.carry_out_in_turn(&identity, &session, command, heard).await;
            drop(turn);
            let code = result.as_ref().err().map(|refusal| refusal.code);
            gateway.ports.telemetry.record(Occurrence::Command(kind, code));
            result
        };
        work.instrument(span)
    }

    /// What can't be understood counts like a command: above the rate it is refused for that.
    #[must_use]
    pub fn refuse_malformed(&self, session: &Arc<LiveSession>, refusal: Refusal) -> Refusal {
        let refusal = self.admit_malformed(session).err().unwrap_or(refusal);
        self.ports.telemetry.record(Occurrence::Command(CommandType::Unknown, Some(refusal.code)));
        refusal
    }

    async fn carry_out_in_turn(
        self: &Arc<Self>,
        identity: &Identity,
        session: &Arc<LiveSession>,
        command: Command,
        heard: Option<u64>,
    ) -> Result<Reply, Refusal> {
        match command {
            Command::Subscribe { .. }
            | Command::Unsubscribe(_)
            | Command::History { .. }
            | Command::Presence { .. }
                if !identity.scopes.read =>
            {
                Err(Refusal::new(ErrorCode::Forbidden, "the token does not allow reading"))
            }
            Command::Send(_) | Command::Typing { .. } | Command::ReadUpto { .. }
                if !identity.scopes.write =>
            {
                Err(Refusal::new(ErrorCode::Forbidden, "the token does not allow writing"))
            }
            Command::Subscribe { targets, options } => {
                self.subscribe(session, targets, options, heard).await.map(Reply::Subscribed)
            }
            Command::Unsubscribe(dialogs) => self.unsubscribe(session, dialogs).await.map(|()| Reply::Done),
            Command::Send(draft) => self.send_message(session, &draft).await,
            Command::Typing { dialog_id, state } => self.typing(session, &dialog_id, state).await,
            Command::ReadUpto { dialog_id, seq } => self.read_upto(session, &dialog_id, seq).await,
            Command::History { dialog_id, range, limit } => {
                self.history(session, &dialog_id, range, limit).await
            }
            Command::Presence { dialog_id } => {
                self.presence_in(session, &dialog_id).await.map(Reply::Presence)
            }
            Command::Status(state) => {
                self.set_status(session, state).await;
                Ok(Reply::Done)
            }
            Command::Ack(cursor) => {
                let (acknowledged, _) = session.with(|machine| machine.acknowledge(cursor));
                acknowledged.map(|()| Reply::Done).map_err(|_| {
                    Refusal::new(ErrorCode::CursorInvalid, "the cursor is not of this session or ahead of it")
                })
            }
            Command::Refresh { token } => self.refresh(session, &token).await,
            Command::Ping => Ok(Reply::Pong { server_time: self.ports.clock.unix() }),
            Command::Bye => {
                self.end_session(session, Dismissal::Bye).await;
                Ok(Reply::Done)
            }
        }
    }

    /// Ends a session at once: others see its user leave without grace.
    pub async fn end_session(self: &Arc<Self>, session: &Arc<LiveSession>, why: Dismissal) {
        session.with(|machine| machine.end(why));
        self.bury(session).await;
    }
}

/// A failure of the Store, as a client is told.
#[must_use]
pub fn store_refusal(error: StoreError) -> Refusal {
    match error {
        StoreError::Invalid => Refusal::new(ErrorCode::BadRequest, "the store refuses the request"),
        StoreError::NotMember => Refusal::new(ErrorCode::NotMember, "you are not a member of the dialog"),
        StoreError::NotFound => Refusal::new(ErrorCode::NotFound, "there is no such dialog or message"),
        StoreError::Conflict => {
            Refusal::new(ErrorCode::Conflict, "client_message_id was used for another message")
        }
        StoreError::RateLimited { retry_after } => {
            let refusal = Refusal::new(ErrorCode::RateLimited, "the store asks to slow down");
            match retry_after {
                Some(after) => refusal.retry_after(after),
                None => refusal,
            }
        }
        StoreError::Unavailable => Refusal::new(ErrorCode::Unavailable, "the store does not answer"),
        StoreError::Unimplemented => Refusal::new(ErrorCode::Unavailable, "the store does not offer this"),
        StoreError::Timeout => Refusal::new(ErrorCode::Timeout, "the store took too long"),
        StoreError::Internal => Refusal::new(ErrorCode::Internal, "the store failed"),
    }
}
