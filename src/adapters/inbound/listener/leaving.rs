//! What becomes of a connection with an answer that is written outside hyper.

use axum::extract::ConnectInfo;
use axum::response::Response;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Request};
use tokio::sync::oneshot;

use super::connection::Accepted;
use super::later::Awaited;
use super::upgrade::{Upgraded, offer};

/// What a request asks of its connection.
pub(super) struct Asked {
    /// That it ends with the answer.
    pub(super) closes: bool,
    /// Where it goes if the answer is 101.
    pub(super) upgrade: Option<oneshot::Sender<Upgraded>>,
}

impl Asked {
    /// Reads it of a request, which is told where it comes from.
    pub(super) fn by<B>(request: &mut Request<B>, accepted: &Accepted, may_leave: bool) -> Self {
        let closes = asks_to_close(request.headers());
        let upgrade = (may_leave && request.headers().contains_key(UPGRADE)).then(|| offer(request));
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(accepted.peer));
        extensions.insert(accepted.slot.of_request(None));
        Self { closes, upgrade }
    }
}

/// An answer that hyper is not to write.
pub(super) struct Leaving {
    /// It, or what it will come of.
    pub(super) answer: Result<Response, Awaited>,
    /// With what becomes of the connection.
    pub(super) asked: Asked,
}

/// RFC 9112 §9.6.
pub(super) fn asks_to_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}
