//! The query of an attach, the same on all transports.

use axum::extract::FromRequestParts;
use http::Uri;
use http::request::Parts;
use url::form_urlencoded;

use super::reject::Rejection;
use crate::adapters::inbound::wire::commands::{Hello, parse_device};
use crate::adapters::inbound::wire::fields::INTEGER_MAX;
use crate::adapters::inbound::wire::targets::parse_dialogs_parameter;
use crate::application::usecase::attach::AttachInput;
use crate::domain::error::{ErrorCode, Refusal};
use crate::session::reader::Transport;

/// Everything that may stand in a query of `/v1`.
#[derive(Clone, Default)]
pub struct AttachQuery {
    /// The session to go on with.
    pub session: Option<String>,
    /// What the client has.
    pub cursor: Option<String>,
    /// The client's own count of its attaches.
    pub attach: Option<String>,
    /// What a new session follows at once.
    pub dialogs: Option<String>,
    /// On which device a new session is.
    pub device_id: Option<String>,
    /// How long a poll waits.
    pub wait_ms: Option<String>,
    /// One-use credentials.
    pub ticket: Option<String>,
    /// A JWT, where that is allowed.
    pub access_token: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for AttachQuery {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(Self::read(&parts.uri)?)
    }
}

impl AttachQuery {
    /// Reads the query of a target. What is not known is not looked at.
    ///
    /// # Errors
    /// `bad_request` if a parameter is there twice.
    pub fn read(uri: &Uri) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let parameter = match &*name {
                "session" => &mut query.session,
                "cursor" => &mut query.cursor,
                "attach" => &mut query.attach,
                "dialogs" => &mut query.dialogs,
                "device_id" => &mut query.device_id,
                "wait_ms" => &mut query.wait_ms,
                "ticket" => &mut query.ticket,
                "access_token" => &mut query.access_token,
                _ => continue,
            };
            if parameter.replace(value.into_owned()).is_some() {
                return Err(bad("the query has a parameter twice"));
            }
        }
        Ok(query)
    }

    /// What the query asks for.
    ///
    /// # Errors
    /// `bad_request` for a parameter that can't be read.
    pub fn attach_input(&self, transport: Transport) -> Result<AttachInput, Refusal> {
        Ok(AttachInput {
            session: self.session.clone(),
            cursor: self.cursor.clone(),
            attach: self.attach_count()?,
            transport,
            device_id: self.device_id.as_deref().map(parse_device).transpose()?,
            dialogs: self.dialogs.as_deref().map(parse_dialogs_parameter).transpose()?.flatten(),
            replace_expired: transport != Transport::Poll,
            held_by: None,
        })
    }

    /// The same, where a `hello` has its say first.
    ///
    /// # Errors
    /// `bad_request` for a parameter that can't be read.
    pub fn attach_input_with(&self, hello: Hello) -> Result<AttachInput, Refusal> {
        let mut input = self.attach_input(Transport::WebSocket)?;
        // A cursor belongs to its session: the two come from the same place.
        if hello.session.is_some() {
            input.session = hello.session;
            input.cursor = hello.cursor;
        } else if hello.cursor.is_some() {
            input.cursor = hello.cursor;
        }
        input.attach = hello.attach.or(input.attach);
        input.device_id = hello.device_id.or(input.device_id);
        input.dialogs = hello.dialogs.or(input.dialogs);
        Ok(input)
    }

    fn attach_count(&self) -> Result<Option<u64>, Refusal> {
        let parsed = self.attach.as_deref().map(str::parse).transpose();
        let count = parsed.map_err(|_| bad("attach is not an integer"))?;
        if count.is_some_and(|count| count > INTEGER_MAX) {
            return Err(bad("attach is above 2^53"));
        }
        Ok(count)
    }
}

fn bad(message: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_read_once_and_the_rest_is_not_looked_at() {
        let query = AttachQuery::read(&Uri::from_static(
            "/v1/poll?session=s%311&x=1&cursor=&dialogs=a+b%2Cc&x=2&attach=7&wait_ms=5&device_id=d&ticket=t&access_token=j",
        ));
        let query = query.unwrap();
        let read = [
            query.session,
            query.cursor,
            query.dialogs,
            query.attach,
            query.wait_ms,
            query.device_id,
            query.ticket,
            query.access_token,
        ];
        assert_eq!(read.map(Option::unwrap), ["s11", "", "a b,c", "7", "5", "d", "t", "j"]);
        assert!(AttachQuery::read(&Uri::from_static("/v1/poll")).unwrap().session.is_none());
    }

    #[test]
    fn a_parameter_that_is_there_twice_is_refused_however_it_is_written() {
        for uri in
            ["/v1/poll?session=a&session=a", "/v1/poll?session=a&%73ession=b", "/v1/poll?ticket&ticket"]
        {
            let refusal = AttachQuery::read(&Uri::from_static(uri)).err();
            assert_eq!(refusal.map(|refusal| refusal.code), Some(ErrorCode::BadRequest), "{uri}");
        }
    }
}
