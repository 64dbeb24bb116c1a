//! Who is asking: `Authorization`, a ticket, a cookie, or a token in the query where that is allowed.

use axum_extra::extract::CookieJar;
use axum_extra::headers::authorization::Bearer;
use axum_extra::headers::{Authorization, HeaderMapExt};
use http::HeaderMap;
use http::header::{AUTHORIZATION, ORIGIN};

use super::attach_query::AttachQuery;
use super::edge::Edge;
use crate::application::ports::auth::{AuthError, Identity};
use crate::application::usecase::attach::unverified;
use crate::domain::error::{ErrorCode, Refusal};

/// Credentials as a request brings them; nobody has verified them yet.
#[derive(Clone)]
pub enum Credentials {
    /// A JWT.
    Token(String),
    /// A one-use ticket.
    Ticket(String),
}

impl Credentials {
    /// Finds the credentials of a request; `None` if it brings none.
    ///
    /// # Errors
    /// `unauthorized` for what is there but can't be used.
    pub fn find(edge: &Edge, headers: &HeaderMap, query: &AttachQuery) -> Result<Option<Self>, Refusal> {
        if query.access_token.is_some() && !edge.config.allow_query_token {
            return Err(Refusal::new(ErrorCode::Unauthorized, "a token in the query string is not accepted"));
        }
        if headers.contains_key(AUTHORIZATION) {
            let bearer = headers.typed_get::<Authorization<Bearer>>();
            let token = bearer.ok_or_else(|| unverified(AuthError::Unauthorized))?;
            return Ok(Some(Self::Token(token.token().to_owned())));
        }
        if let Some(ticket) = &query.ticket {
            return Ok(Some(Self::Ticket(ticket.clone())));
        }
        if let Some(token) = &query.access_token {
            return Ok(Some(Self::Token(token.clone())));
        }
        // A browser sends the cookie by itself: only a page that is named may make it do so.
        if let Some(name) = &edge.config.cookie
            && headers.get(ORIGIN).is_some_and(|origin| edge.config.allowed_origins.names(origin))
            && let Some(cookie) = CookieJar::from_headers(headers).get(name)
        {
            return Ok(Some(Self::Token(cookie.value().to_owned())));
        }
        Ok(None)
    }

    /// Verifies them; a ticket is used up by it.
    ///
    /// # Errors
    /// `unauthorized`, `token_expired`, or `unavailable` when nobody can tell.
    pub async fn verify(&self, edge: &Edge) -> Result<Identity, Refusal> {
        let identity = match self {
            Self::Token(token) => edge.gateway.auth().verify(token).await,
            Self::Ticket(ticket) => edge.gateway.tickets().redeem(ticket).await,
        }
        .map_err(unverified)?;
        // A ticket may outlive the token it stands for.
        let until = identity.expires_at.plus(edge.gateway.auth().leeway());
        if edge.gateway.clock().unix() >= until {
            return Err(unverified(AuthError::Expired));
        }
        Ok(identity)
    }
}

/// Who is asking, and by what that is known.
pub struct Caller {
    /// Verified.
    pub identity: Identity,
    /// What was verified; a ticket is used up.
    pub credentials: Credentials,
}

/// Finds and verifies the credentials of a request.
///
/// # Errors
/// As [`Credentials::find`] and [`Credentials::verify`]; `unauthorized` if there are none.
pub async fn identify(edge: &Edge, headers: &HeaderMap, query: &AttachQuery) -> Result<Caller, Refusal> {
    match Credentials::find(edge, headers, query)? {
        Some(credentials) => {
            let identity = credentials.verify(edge).await?;
            Ok(Caller { identity, credentials })
        }
        None => Err(unverified(AuthError::Unauthorized)),
    }
}
