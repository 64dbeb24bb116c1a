//! What the rows share: servers, users, and the neighbours that must notice nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::ask::{Asked, Over, Via};
use super::neighbour::Neighbour;
use super::server::{Server, Start};
use super::tokens::Issuer;

/// A gateway that reads its keys from a file: the table signs what it likes.
const SERVE: &str = r#"
auth: { jwks_file: jwks.json, issuer: issuer.test, audience: edgeway }
store: { endpoint: "http://127.0.0.1:9" }
bus: { kind: memory }
allowed_origins: []
"#;
/// Small limits, and a proxy that is believed.
const SMALL: [(&str, &str); 3] = [
    ("EDGEWAY__LIMITS__SESSIONS_PER_USER", "3"),
    ("EDGEWAY__LIMITS__CONNECTS_PER_SECOND_PER_IP", "3"),
    ("EDGEWAY__TRUSTED_PROXIES", "127.0.0.9/32"),
];

/// The servers.
pub(crate) struct Stage {
    /// `edgeway dev` in plaintext.
    pub(crate) plain: Arc<Server>,
    /// `edgeway dev` with TLS.
    pub(crate) tls: Arc<Server>,
    /// `edgeway serve`, whose issuer is here.
    pub(crate) serve: Arc<Server>,
    /// `edgeway dev` with small limits.
    pub(crate) small: Arc<Server>,
    pub(crate) issuer: Issuer,
    neighbours: Vec<Neighbour>,
    names: AtomicUsize,
}

/// Somebody with a token.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) token: String,
}

impl User {
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

impl Stage {
    pub(crate) async fn start() -> Arc<Self> {
        let issuer = Issuer::new();
        let jwks = issuer.jwks();
        let plain = Arc::new(Server::start(&Start::default()));
        let tls = Arc::new(Server::start(&Start { tls: true, ..Start::default() }));
        let files = [("jwks.json", jwks.as_str())];
        let serve = Arc::new(Server::start(&Start { serve: Some(SERVE), files: &files, ..Start::default() }));
        let small = Arc::new(Server::start(&Start { settings: &SMALL, ..Start::default() }));
        let mut stage =
            Self { plain, tls, serve, small, issuer, neighbours: Vec::new(), names: AtomicUsize::new(0) };
        for server in [&stage.plain, &stage.tls] {
            let user = stage.user_of(server, "neighbour").await;
            stage.neighbours.push(Neighbour::settle(server, user).await);
        }
        let user = User { id: "neighbour".into(), token: stage.issuer.good("neighbour") };
        stage.neighbours.push(Neighbour::settle(&stage.serve, user).await);
        Arc::new(stage)
    }

    /// A name nobody else has.
    pub(crate) fn unique(&self, what: &str) -> String {
        format!("{what}{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A new user of one of the development servers.
    pub(crate) async fn user(&self, server: &Arc<Server>, name: &str) -> User {
        self.user_of(server, &self.unique(name)).await
    }

    async fn user_of(&self, server: &Arc<Server>, id: &str) -> User {
        let body = json!({ "user_id": id }).to_string();
        let asked = Asked::new("POST", "/dev/token").with("content-type", "application/json").body(body);
        let answer = Over { server: server.clone(), via: Via::Http1 }.ask(&asked).await;
        let token = answer.json()["token"].as_str().expect("a token").to_owned();
        User { id: id.to_owned(), token }
    }

    /// The two servers that everything runs on, each by both versions of HTTP.
    pub(crate) fn everywhere(&self) -> Vec<Over> {
        let over = |server: &Arc<Server>, via| Over { server: server.clone(), via };
        vec![
            over(&self.plain, Via::Http1),
            over(&self.plain, Via::Http2),
            over(&self.tls, Via::Http1),
            over(&self.tls, Via::Http2),
        ]
    }

    /// The same, HTTP/1.1 alone.
    pub(crate) fn over_http1(&self) -> Vec<Over> {
        self.everywhere().into_iter().filter(|over| over.via == Via::Http1).collect()
    }

    pub(crate) fn over_http2(&self) -> Vec<Over> {
        self.everywhere().into_iter().filter(|over| over.via == Via::Http2).collect()
    }

    /// Clients that were there before can do what they could.
    pub(crate) async fn neighbours_are_served(&self) {
        for neighbour in &self.neighbours {
            neighbour.is_served().await;
        }
    }

    /// Streams that were opened before still carry what comes.
    pub(crate) async fn streams_go_on(&self) {
        for neighbour in &self.neighbours {
            neighbour.stream_goes_on().await;
        }
    }

    /// What the servers say of panics.
    pub(crate) fn panics(&self) -> Vec<String> {
        [&self.plain, &self.tls, &self.serve, &self.small].iter().flat_map(|server| server.panics()).collect()
    }
}
