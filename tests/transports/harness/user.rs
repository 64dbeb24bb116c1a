//! A user with a token: attaches, and asks by HTTP.

use std::sync::Arc;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::attach::Attach;
use super::check;
use super::client::Client;
use super::ending::Ended;
use super::json::strict;
use super::names::percent;
use super::runner::within;
use super::stage::Stage;
use super::transport::Transport;

/// Someone with a token. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct User {
    stage: Stage,
    id: Arc<str>,
    token: Arc<str>,
}

/// A status and the object that came with it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Null when the body is empty.
    pub(crate) body: Value,
}

impl Answer {
    /// The error is this one, with its status.
    #[track_caller]
    pub(crate) fn assert_refused(&self, code: &str) {
        Ended { status: Some(self.status), error: Some(self.body.clone()), ..Ended::default() }
            .assert_refused(code);
    }

    /// The replies of a batch.
    #[track_caller]
    pub(crate) fn replies(&self) -> &[Value] {
        assert_eq!(self.status, 200, "a batch is answered: {}", self.body);
        check::list(&self.body, "replies")
    }
}

impl User {
    pub(crate) fn new(stage: Stage, id: String, token: String) -> Self {
        Self { stage, id: id.into(), token: token.into() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn stage(&self) -> &Stage {
        &self.stage
    }

    /// A new session.
    pub(crate) async fn attach(&self, on: Transport) -> Client {
        self.attach_with(on, Attach::new()).await
    }

    /// A new session, subscribed to these dialogs.
    pub(crate) async fn attach_to(&self, on: Transport, dialogs: &[&str]) -> Client {
        let client = self.attach_with(on, Attach::new().dialogs(dialogs)).await;
        let subscribed = &client.welcome()["subscribed"];
        assert_eq!(check::list(subscribed, "dialogs").len(), dialogs.len(), "{}", client.welcome());
        client
    }

    pub(crate) async fn attach_with(&self, on: Transport, attach: Attach) -> Client {
        let asked = format!("{attach:?}");
        match self.try_attach(on, attach).await {
            Ok(client) => client,
            Err(ended) => panic!("{} can't attach by {on} with {asked}: {ended:?}", self.id),
        }
    }

    /// Attaches, or tells how it was refused.
    ///
    /// # Errors
    /// How the line ended instead of a welcome.
    pub(crate) async fn try_attach(&self, on: Transport, attach: Attach) -> Result<Client, Ended> {
        Client::attach(self, on, attach).await
    }

    /// A ticket for one attach.
    pub(crate) async fn ticket(&self) -> String {
        let answer = self.call(Method::POST, "/v1/tickets", None).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["expires_in_ms"], 30_000, "{}", answer.body);
        check::text(&answer.body, "ticket").into()
    }

    /// Posts one command or an array of them to a session.
    pub(crate) async fn post(&self, session: &str, commands: &Value) -> Answer {
        self.post_text(session, commands.to_string()).await
    }

    /// Posts a body to a session's commands.
    pub(crate) async fn post_text(&self, session: &str, body: String) -> Answer {
        self.call(Method::POST, &format!("/v1/commands?session={}", percent(session)), Some(body)).await
    }

    /// Ends a session.
    pub(crate) async fn delete(&self, session: &str) -> Answer {
        self.call(Method::DELETE, &format!("/v1/sessions/{}", percent(session)), None).await
    }

    /// One request with the user's token; a body is JSON.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<String>) -> Answer {
        let what = format!("{method} {path}");
        let mut request =
            self.stage.http().request(method, self.stage.url(path)).bearer_auth(self.token.as_ref());
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        within(&what, async {
            let response = request.send().await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
            read(response).await
        })
        .await
    }

    /// One request with an attach's credentials and headers; waits for the answer's head alone.
    pub(crate) async fn ask(&self, method: Method, path: &str, attach: &Attach, what: &str) -> Response {
        let response = within(what, self.try_ask(method, path, attach)).await;
        response.unwrap_or_else(|e| panic!("no {what}: {e:?}"))
    }

    /// The same, without a deadline.
    ///
    /// # Errors
    /// What broke.
    pub(crate) async fn try_ask(
        &self,
        method: Method,
        path: &str,
        attach: &Attach,
    ) -> Result<Response, reqwest::Error> {
        let mut request = self.stage.http().request(method, self.stage.url(path));
        for (name, value) in attach.headers(&self.token) {
            request = request.header(name, value);
        }
        request.send().await
    }

    /// An answer that was not 200, as the end of a line.
    pub(crate) async fn refusal(&self, response: Response) -> Ended {
        let answer = within("the body of a refusal", read(response)).await;
        Ended {
            status: Some(answer.status),
            error: answer.body.is_object().then(|| answer.body.clone()),
            note: answer.body.to_string(),
            ..Ended::default()
        }
    }

    /// Waits until the server has surely read what was written to it on other connections: some round trips that each
    /// began after that. It is what stands in for a sleep where nothing can be seen from outside.
    pub(crate) async fn settle(&self) {
        const ROUND_TRIPS: usize = 5;
        for _ in 0..ROUND_TRIPS {
            self.post("no-such-session", &json!({ "type": "ping" })).await.assert_refused("session_gone");
        }
    }
}

async fn read(response: Response) -> Answer {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap_or_else(|e| panic!("the body of a {status} broke: {e:?}"));
    // Not every answer is JSON; what must be is looked at by whoever asks.
    let body = if text.is_empty() { Value::Null } else { strict(&text).unwrap_or(Value::String(text)) };
    Answer { status, body }
}
