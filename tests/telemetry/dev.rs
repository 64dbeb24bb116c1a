//! One `edgeway dev` with its admin listener, and a client for both.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Program, edgeway};

static CRYPTO: Once = Once::new();
/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running process; killed when it is dropped.
pub(crate) struct Dev {
    pub(crate) http: reqwest::Client,
    pub(crate) public: String,
    pub(crate) admin: String,
    pub(crate) log: PathBuf,
    pub(crate) program: Program,
    _directory: TempDir,
}

impl Dev {
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        // Nothing here is encrypted, but a client can't be built without a provider.
        CRYPTO.call_once(|| {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        });
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("edgeway.log");
        let admin = free_address();
        let mut command = edgeway();
        command.args(["dev", "--listen", "127.0.0.1:0"]).env("EDGEWAY__ADMIN_LISTEN", &admin);
        command.envs(settings.iter().copied());
        let program = Program::start(command, &log);
        let line = program.first_line();
        let public = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let public = format!("http://{}", public.unwrap_or_else(|| panic!("no address in {line}")));
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).http1_only().timeout(PATIENCE);
        let http = http.build().unwrap();
        Self { http, public, admin: format!("http://{admin}"), log, program, _directory: directory }
    }

    /// What the admin listener answers to GET: a status and a body.
    pub(crate) async fn ask(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.admin)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Returns once it says that it is ready.
    pub(crate) async fn until_ready(&self) {
        let asking = async {
            while self.ask("/readyz").await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("it comes to be ready");
    }

    pub(crate) async fn token(&self, user: &str) -> String {
        let body = json!({ "user_id": user }).to_string();
        let answer = self.http.post(format!("{}/dev/token", self.public)).body(body).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// A GET of the protocol, read to its end.
    pub(crate) async fn get(&self, path: &str, token: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut request = self.http.get(format!("{}{path}", self.public)).bearer_auth(token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// A new session that polls.
    pub(crate) async fn session(&self, token: &str, dialog: &str) -> String {
        let (status, answer) = self.get(&format!("/v1/poll?dialogs={dialog}"), token, &[]).await;
        assert_eq!(status, 200, "{answer}");
        answer["session"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn command(
        &self,
        session: &str,
        token: &str,
        headers: &[(&str, &str)],
        command: Value,
    ) -> Value {
        let url = format!("{}/v1/commands?session={session}", self.public);
        let mut request = self.http.post(url).bearer_auth(token).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(command.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["replies"][0].take()
    }
}

/// `edgeway dev` tells its public address alone. Whoever else takes this one meanwhile would have to be quick.
fn free_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A message to a dialog.
pub(crate) fn message(dialog: &str, id: &str, text: &str) -> Value {
    json!({
        "type": "send_message", "ref": id, "dialog_id": dialog, "client_message_id": id, "body": { "text": text },
    })
}
