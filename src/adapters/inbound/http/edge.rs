//! What the adapters are given.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::client::TrustedProxies;
use super::origin::AllowedOrigins;
use crate::adapters::inbound::peers::pool::Peers;
use crate::adapters::inbound::websocket::deflate::SharedDeflate;
use crate::adapters::inbound::wire::commands::BATCH_COMMANDS_MAX;
use crate::adapters::inbound::wire::control::{Terms, Welcome, welcome_json};
use crate::application::gateway::Gateway;
use crate::application::ports::auth::Identity;
use crate::application::ports::telemetry::occurrence::Occurrence;
use crate::application::usecase::reading::Reading;
use crate::domain::error::Refusal;
use crate::session::reader::Transport;

/// Settings of the client-facing adapters.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whose pages may call.
    pub allowed_origins: AllowedOrigins,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Whether a token may come as `access_token=`.
    pub allow_query_token: bool,
    /// Name of an `HttpOnly` cookie that may carry the token.
    pub cookie: Option<String>,
    /// How often a WebSocket is pinged.
    pub ws_ping: Duration,
    /// Largest inbound WebSocket message, in bytes.
    pub ws_frame_bytes: u32,
    /// How often a stream of server-sent events says that it is alive.
    pub sse_heartbeat: Duration,
    /// How long a stream of server-sent events lives.
    pub sse_rotate: Duration,
    /// How long a poll waits if the client doesn't say.
    pub poll_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allowed_origins: AllowedOrigins::default(),
            trusted_proxies: TrustedProxies::default(),
            allow_query_token: false,
            cookie: None,
            ws_ping: Duration::from_secs(25),
            ws_frame_bytes: 64 * 1024,
            sse_heartbeat: Duration::from_secs(15),
            sse_rotate: Duration::from_secs(10 * 60),
            poll_wait: Duration::from_secs(25),
        }
    }
}

/// The node, as the adapters see it.
pub struct Edge {
    /// What is behind.
    pub gateway: Arc<Gateway>,
    /// Settings.
    pub config: Config,
    /// What `welcome` tells.
    pub terms: Terms,
    /// The other nodes.
    pub peers: Peers,
    /// Owns the tasks of connections that have left HTTP.
    pub tasks: TaskTracker,
    /// What WebSockets share that take messages compressed.
    pub deflate: SharedDeflate,
}

impl Edge {
    /// Puts it together.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, config: Config, peers: Peers, tasks: TaskTracker) -> Arc<Self> {
        let behind = gateway.config();
        let terms = Terms {
            ping: config.ws_ping,
            resume_window: behind.session.resume_window,
            frame_bytes: config.ws_frame_bytes,
            subscriptions: behind.session.subscriptions_max,
            batch_commands: BATCH_COMMANDS_MAX,
            typing_every: behind.typing_every,
            typing_expires: behind.typing_expires,
            typing_max_members: behind.typing_max_members,
            node: behind.node.clone(),
        };
        Arc::new(Self { gateway, config, terms, peers, tasks, deflate: SharedDeflate::default() })
    }

    /// The `welcome` of an attach.
    #[must_use]
    pub fn welcome(&self, reading: &Reading, identity: &Identity) -> Vec<u8> {
        let session = reading.session();
        let welcome = Welcome {
            session: session.id().as_str(),
            user_id: session.user_id().as_str(),
            cursor: reading.cursor,
            subscribed: reading.subscribed.as_deref(),
            resume: reading.resume,
            token_expires_at: identity.expires_at,
            server_time: self.gateway.clock().unix(),
        };
        welcome_json(&welcome, &self.terms)
    }

    /// Counts an attach that got no further than its credentials.
    pub fn note_refused(&self, transport: Transport, refusal: &Refusal) {
        self.gateway.telemetry().record(Occurrence::AttachRefused(transport, refusal.code));
    }
}
