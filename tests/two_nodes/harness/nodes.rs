//! Redis, the Store, and two nodes.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use super::client::Place;
use super::names::unique;
use super::program::{Program, edgeway};
use super::runner::eventually;
use super::server::{Server, addresses};
use super::stage::Stage;
use super::user::User;
use crate::redis_server::RedisServer;

const ISSUER: &str = "two-nodes";
const CONFIG: &str = "config.yaml";
/// Longer than any test; a soak may take hours.
const TOKEN_TTL_SECONDS: &str = "86400";

/// What a test plays on. Dropped in this order: nodes first.
pub(crate) struct Nodes {
    /// The first node.
    pub(crate) a: Stage,
    /// The second node.
    pub(crate) b: Stage,
    pub(crate) store: Program,
    pub(crate) redis: RedisServer,
    directory: TempDir,
}

impl Nodes {
    /// Both nodes, ready.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Both nodes with these settings.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start();
        let bus = format!("redis://127.0.0.1:{}", redis.port());
        Self::around(&bus, redis, direct, settings).await
    }

    /// Both nodes, which find the Store (that is really here) at these endpoints.
    pub(crate) async fn with_store_at(endpoint: impl FnOnce(SocketAddr) -> String) -> Self {
        let redis = RedisServer::start();
        let bus = format!("redis://127.0.0.1:{}", redis.port());
        Self::around(&bus, redis, endpoint, &[]).await
    }

    /// Both nodes on a bus of several servers, which are the test's own; [`Self::redis`] is none of them.
    pub(crate) async fn on(bus: &str) -> Self {
        Self::around(bus, RedisServer::start(), direct, &[]).await
    }

    /// Both nodes and the Store on this bus, which is a port of this server, with these variables of the environment.
    pub(crate) async fn on_server(redis: RedisServer, bus: &str, environment: &[(&str, &str)]) -> Self {
        Self::around(bus, redis, direct, environment).await
    }

    async fn around(
        bus: &str,
        redis: RedisServer,
        endpoint: impl FnOnce(SocketAddr) -> String,
        settings: &[(&str, &str)],
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", directory.path().join("store.db").display());
        let mut command = edgeway();
        command.args(["store", "--open", "--listen", "127.0.0.1:0", "--db", &database, "--bus", bus]);
        command.envs(settings.iter().filter(|(name, _)| !name.starts_with("EDGEWAY")).copied());
        let store = Program::start(command, &directory.path().join("store.log"));
        let endpoint = endpoint(addresses(store.first_line())[0]);
        // Makes the key and its JWK set.
        token(&directory, "nobody");

        let mut config = String::new();
        let jwks = directory.path().join("jwks.json");
        let jwks = jwks.display();
        for line in [
            "listen: \"127.0.0.1:0\"",
            "admin_listen: \"127.0.0.1:0\"",
            &format!("auth: {{ jwks_file: \"{jwks}\", issuer: {ISSUER}, audience: {ISSUER} }}"),
            &format!("store: {{ endpoint: \"{endpoint}\" }}"),
            &format!("bus: {{ url: \"{bus}\" }}"),
            "limits: { commands_per_second: 100000, sends_per_second: 100000, connects_per_second_per_ip: 100000 }",
            "drain: { delay: 0s, spread: 0s }",
            "telemetry: { log: text, level: \"info,edgeway=debug\" }",
        ] {
            writeln!(config, "{line}").unwrap();
        }
        fs::write(directory.path().join(CONFIG), config).unwrap();
        let (a, b) = (node(&directory, "a", settings), node(&directory, "b", settings));
        let nodes = Self { a, b, store, redis, directory };
        is_ready(&nodes.a).await;
        is_ready(&nodes.b).await;
        nodes
    }

    /// What all nodes are configured with.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join(CONFIG)
    }

    /// One more node, which need not be ready. Its log goes by its name.
    pub(crate) fn another(&self, name: &str, settings: &[(&str, &str)]) -> Stage {
        node(&self.directory, name, settings)
    }

    /// A new user at the first node.
    pub(crate) fn user(&self, base: &str) -> User {
        let id = unique(base);
        let token = token(&self.directory, &id);
        User::new(self.a.clone(), id, token)
    }

    /// A new user at the second node.
    pub(crate) fn user_at_b(&self, base: &str) -> User {
        self.b.user(&self.user(base))
    }

    /// What a program has logged so far: `a`, `b`, `store` or another node.
    pub(crate) fn log_of(&self, program: &str) -> String {
        let log = fs::read(self.directory.path().join(format!("{program}.log"))).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The same place in a session, at the second node.
    pub(crate) fn at_b(&self, place: Place) -> Place {
        Place { user: self.b.user(&place.user), ..place }
    }
}

fn node(directory: &TempDir, name: &str, settings: &[(&str, &str)]) -> Stage {
    let (config, log) = (directory.path().join(CONFIG), directory.path().join(format!("{name}.log")));
    Stage::new(Server::start(&config, &log, settings))
}

/// Waits until a node says so.
pub(crate) async fn is_ready(node: &Stage) {
    eventually("the node to be ready", || async { (node.admin("/readyz").await.0 == 200).then_some(()) })
        .await;
}

fn direct(store: SocketAddr) -> String {
    format!("http://{store}")
}

fn token(directory: &TempDir, user: &str) -> String {
    let file = |name: &str| -> PathBuf { directory.path().join(name) };
    let mut command = edgeway();
    command.args(["token", "--user", user, "--issuer", ISSUER, "--audience", ISSUER]);
    command.args(["--ttl", TOKEN_TTL_SECONDS]);
    command.arg("--key-file").arg(file("key.pem")).arg("--jwks-file").arg(file("jwks.json"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
