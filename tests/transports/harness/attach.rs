//! What a client asks for when it attaches.

use super::names::percent;

/// The parameters of one attach. Without any: a new session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attach {
    pub(crate) session: Option<String>,
    pub(crate) cursor: Option<String>,
    pub(crate) number: Option<u64>,
    pub(crate) dialogs: Option<String>,
    pub(crate) credentials: Credentials,
    /// SSE alone: the header that a native `EventSource` sends when it comes back.
    pub(crate) last_event_id: Option<String>,
    pub(crate) origin: Option<String>,
}

/// How a client says who it is.
#[derive(Debug, Clone, Default)]
pub(crate) enum Credentials {
    /// `Authorization: Bearer` with the user's token.
    #[default]
    OfUser,
    /// `Authorization: Bearer` with this.
    Bearer(String),
    /// `ticket=` in the query.
    Ticket(String),
    /// A token in the query, which is refused.
    AccessTokenInQuery(String),
    /// Nothing.
    None,
}

impl Attach {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn session(mut self, session: &str) -> Self {
        self.session = Some(session.into());
        self
    }

    pub(crate) fn cursor(mut self, cursor: &str) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    pub(crate) fn number(mut self, number: u64) -> Self {
        self.number = Some(number);
        self
    }

    pub(crate) fn dialogs(mut self, dialogs: &[&str]) -> Self {
        self.dialogs = Some(dialogs.join(","));
        self
    }

    pub(crate) fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    pub(crate) fn last_event_id(mut self, id: &str) -> Self {
        self.last_event_id = Some(id.into());
        self
    }

    pub(crate) fn origin(mut self, origin: &str) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Path and query, with further parameters.
    pub(crate) fn path_and_query(&self, path: &str, further: &[(&str, String)]) -> String {
        let mut query = Vec::new();
        let mut add = |name: &str, value: &str| query.push(format!("{name}={}", percent(value)));
        let own = [("session", &self.session), ("cursor", &self.cursor), ("dialogs", &self.dialogs)];
        for (name, value) in own {
            if let Some(value) = value {
                add(name, value);
            }
        }
        if let Some(number) = self.number {
            add("attach", &number.to_string());
        }
        match &self.credentials {
            Credentials::Ticket(ticket) => add("ticket", ticket),
            Credentials::AccessTokenInQuery(token) => add("access_token", token),
            Credentials::OfUser | Credentials::Bearer(_) | Credentials::None => {}
        }
        for (name, value) in further {
            add(name, value);
        }
        if query.is_empty() { path.into() } else { format!("{path}?{}", query.join("&")) }
    }

    /// The headers that go with it; `token` is the user's own.
    pub(crate) fn headers(&self, token: &str) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        match &self.credentials {
            Credentials::OfUser => headers.push(("authorization", format!("Bearer {token}"))),
            Credentials::Bearer(token) => headers.push(("authorization", format!("Bearer {token}"))),
            Credentials::Ticket(_) | Credentials::AccessTokenInQuery(_) | Credentials::None => {}
        }
        if let Some(id) = &self.last_event_id {
            headers.push(("last-event-id", id.clone()));
        }
        if let Some(origin) = &self.origin {
            headers.push(("origin", origin.clone()));
        }
        headers
    }
}
