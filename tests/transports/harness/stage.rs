//! A server and the HTTP client of one test: where users and dialogs come from.

use std::sync::{Arc, Once};

use serde_json::{Value, json};

use super::json::strict;
use super::names::{percent, unique};
use super::server::{Server, Settings};
use super::user::User;

static CRYPTO: Once = Once::new();

/// What a test plays on. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    server: Arc<Server>,
    http: reqwest::Client,
}

impl Stage {
    /// On the server that all ordinary tests share.
    pub(crate) fn shared() -> Self {
        Self::with(&[])
    }

    /// On a server with these settings.
    pub(crate) fn with(settings: Settings) -> Self {
        Self { server: Server::with(settings), http: http_client(reqwest::ClientBuilder::http1_only) }
    }

    /// The same server, spoken to in HTTP/2 with prior knowledge (RFC 9113 §3.3).
    pub(crate) fn over_http2(self) -> Self {
        Self { http: http_client(reqwest::ClientBuilder::http2_prior_knowledge), ..self }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(crate) fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.server.address())
    }

    /// A new user with a token.
    pub(crate) async fn user(&self, base: &str) -> User {
        let id = unique(base);
        let token = self.token(&id).await;
        User::new(self.clone(), id, token)
    }

    /// A new user whose token is good for so many seconds.
    pub(crate) async fn user_for_seconds(&self, base: &str, seconds: u64) -> User {
        let id = unique(base);
        let token = self.token_asked(json!({ "user_id": id, "ttl_s": seconds })).await;
        User::new(self.clone(), id, token)
    }

    /// Another token for a user.
    pub(crate) async fn token(&self, user_id: &str) -> String {
        self.token_asked(json!({ "user_id": user_id })).await
    }

    async fn token_asked(&self, asked: Value) -> String {
        let answer = self.dev(reqwest::Method::POST, "/dev/token", Some(asked)).await;
        let answer = strict(&answer).unwrap_or_else(|e| panic!("POST /dev/token answers JSON: {e}"));
        answer["token"].as_str().unwrap_or_else(|| panic!("/dev/token gives a token: {answer}")).into()
    }

    /// A dialog of these users alone.
    pub(crate) async fn closed_dialog(&self, members: &[&User]) -> String {
        let dialog = unique("closed");
        let members: Vec<&str> = members.iter().map(|user| user.id()).collect();
        let body = json!({ "dialog_id": dialog, "members": members });
        self.dev(reqwest::Method::POST, "/dev/dialogs", Some(body)).await;
        dialog
    }

    pub(crate) async fn add_member(&self, dialog: &str, user: &User) {
        self.dev(reqwest::Method::PUT, &member_path(dialog, user), None).await;
    }

    pub(crate) async fn remove_member(&self, dialog: &str, user: &User) {
        self.dev(reqwest::Method::DELETE, &member_path(dialog, user), None).await;
    }

    async fn dev(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> String {
        let mut request = self.http.request(method.clone(), self.url(path));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap_or_else(|e| panic!("{method} {path}: {e:?}"));
        let status = answer.status();
        let text = answer.text().await.unwrap_or_else(|e| panic!("{method} {path}: {e:?}"));
        assert!(status.is_success(), "{method} {path} → {status} {text}");
        text
    }
}

fn member_path(dialog: &str, user: &User) -> String {
    format!("/dev/dialogs/{}/members/{}", percent(dialog), percent(user.id()))
}

fn http_client(protocol: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> reqwest::Client {
    // Nothing here is encrypted, but a client can't be built without a provider.
    CRYPTO.call_once(|| {
        // Another one that is already there serves as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
    protocol(reqwest::Client::builder())
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("an HTTP client without TLS roots can be built")
}
