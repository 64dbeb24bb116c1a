//! A node and an HTTP client: what the transport suite's users ask.

use std::sync::{Arc, Once};

use super::server::Server;
use super::user::User;

static CRYPTO: Once = Once::new();

/// One of the nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    server: Arc<Server>,
    http: reqwest::Client,
}

impl Stage {
    pub(crate) fn new(server: Server) -> Self {
        // Nothing here is encrypted, but a client can't be built without a provider.
        CRYPTO.call_once(|| {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        });
        Self { server: Arc::new(server), http: http_client() }
    }

    /// The same node, over connections of its own, which end with it.
    pub(crate) fn afresh(&self) -> Self {
        Self { server: self.server.clone(), http: http_client() }
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

    /// The same user, asking this node.
    pub(crate) fn user(&self, user: &User) -> User {
        User::new(self.clone(), user.id().to_owned(), user.token().to_owned())
    }

    /// What the admin listener answers: a status and a body.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.server.admin());
        let answer = self.http.get(&url).send().await.unwrap_or_else(|e| panic!("{url}: {e:?}"));
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

fn http_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().tls_certs_only([]).http1_only().build().unwrap()
}
