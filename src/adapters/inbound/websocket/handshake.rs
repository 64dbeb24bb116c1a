//! From a request to an upgrade: RFC 6455 §4.2 over HTTP/1.1, RFC 8441 over HTTP/2.

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use http::header::{
    ALLOW, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::ext::Protocol;
use sha1::{Digest, Sha1};

use super::deflate;
use crate::adapters::inbound::listener::upgrade::Upgrade;

/// Appended to the client's key before it is hashed (RFC 6455 §1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Length of a decoded key (RFC 6455 §4.1).
const KEY_BYTES: usize = 16;
/// The one version there is (RFC 6455 §4.1).
const SUPPORTED_VERSION: &str = "13";
/// Some clients make up a key of 22 characters without minding the four bits that don't count.
const KEY_ENCODING: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// A request that may become a WebSocket.
#[derive(Debug)]
pub struct Accepted {
    /// The head of the answer: 101 over HTTP/1.1, 200 over HTTP/2. More headers may be added.
    pub response: Response<()>,
    /// The connection, as soon as the answer has been sent.
    pub upgrade: Upgrade,
    /// Whether messages may be compressed, as the answer says.
    pub deflates: bool,
}

/// Why a request doesn't become a WebSocket. Answered by HTTP: [`status`] and [`headers`] say how.
///
/// [`status`]: Self::status
/// [`headers`]: Self::headers
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Neither GET over HTTP/1.1 nor CONNECT over HTTP/2: 405.
    #[error("the method is not allowed")]
    Method,
    /// An ordinary request, or a connection that can't be upgraded: 400.
    #[error("not a WebSocket request")]
    NotWebSocket,
    /// `Sec-WebSocket-Version` is not 13: 426.
    #[error("the WebSocket version is not supported")]
    BadVersion,
    /// `Sec-WebSocket-Key` is not 16 bytes in base64: 400.
    #[error("the WebSocket key is malformed")]
    BadKey,
    /// Subprotocols were offered, and ours isn't among them: 400.
    #[error("none of the offered subprotocols is spoken here")]
    NoKnownSubprotocol,
}

impl HandshakeError {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadVersion => StatusCode::UPGRADE_REQUIRED,
            Self::NotWebSocket | Self::BadKey | Self::NoKnownSubprotocol => StatusCode::BAD_REQUEST,
        }
    }

    /// The headers that the answer must have (RFC 9110 §15.5.6 and §15.5.22, RFC 6455 §4.4).
    #[must_use]
    pub fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, CONNECT"));
            }
            Self::BadVersion => {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(SUPPORTED_VERSION));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
            Self::NotWebSocket | Self::BadKey | Self::NoKnownSubprotocol => {}
        }
        headers
    }
}

/// Checks a request, and takes the pending upgrade out of it.
///
/// `subprotocol` is selected if it is offered; a request that offers none at all is taken as well.
///
/// # Errors
/// The first thing that is wrong. The request is untouched then.
pub fn accept<B>(request: &mut Request<B>, subprotocol: &'static str) -> Result<Accepted, HandshakeError> {
    let mut response = if request.version() == Version::HTTP_2 {
        check_extended_connect(request)?;
        Response::new(())
    } else {
        let accept_key = check_upgrade(request)?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept_key);
        response
    };
    if request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL) {
        if !tokens(request.headers(), &SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == subprotocol) {
            return Err(HandshakeError::NoKnownSubprotocol);
        }
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    let upgrade = Upgrade::take(request).ok_or(HandshakeError::NotWebSocket)?;
    let extension = deflate::negotiate(request.headers());
    let deflates = extension.is_some();
    if let Some(extension) = extension {
        response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, extension);
    }
    Ok(Accepted { response, upgrade, deflates })
}

/// RFC 6455 §4.2.1. Gives the value of `Sec-WebSocket-Accept`.
fn check_upgrade<B>(request: &Request<B>) -> Result<HeaderValue, HandshakeError> {
    if request.method() != Method::GET {
        return Err(HandshakeError::Method);
    }
    let headers = request.headers();
    let asks_for = |name, token: &str| tokens(headers, name).any(|given| given.eq_ignore_ascii_case(token));
    if request.version() != Version::HTTP_11
        || !asks_for(&CONNECTION, "upgrade")
        || !asks_for(&UPGRADE, "websocket")
    {
        return Err(HandshakeError::NotWebSocket);
    }
    check_version(headers)?;
    let key = only(headers, &SEC_WEBSOCKET_KEY).ok_or(HandshakeError::BadKey)?;
    match KEY_ENCODING.decode(key) {
        Ok(bytes) if bytes.len() == KEY_BYTES => Ok(accept_key(key)),
        _ => Err(HandshakeError::BadKey),
    }
}

/// RFC 8441 §5: no key, and `:protocol` in place of `Upgrade`.
fn check_extended_connect<B>(request: &Request<B>) -> Result<(), HandshakeError> {
    match *request.method() {
        Method::CONNECT => {}
        Method::GET => return Err(HandshakeError::NotWebSocket),
        _ => return Err(HandshakeError::Method),
    }
    let protocol = request.extensions().get::<Protocol>();
    if protocol.is_none_or(|protocol| !protocol.as_str().eq_ignore_ascii_case("websocket")) {
        return Err(HandshakeError::NotWebSocket);
    }
    check_version(request.headers())
}

fn check_version(headers: &HeaderMap) -> Result<(), HandshakeError> {
    if only(headers, &SEC_WEBSOCKET_VERSION).is_some_and(|version| version == SUPPORTED_VERSION.as_bytes()) {
        Ok(())
    } else {
        Err(HandshakeError::BadVersion)
    }
}

/// The value of a header that must be there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

/// The members of a comma-separated list, over however many headers.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn accept_key(key: &[u8]) -> HeaderValue {
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    HeaderValue::try_from(STANDARD.encode(digest)).expect("base64 is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good request over HTTP/1.1, but for these headers: `None` takes one out.
    fn upgrade_with(changes: &[(&'static str, Option<&str>)]) -> Request<()> {
        let mut request = Request::get("/v1/ws").body(()).unwrap();
        let good = [
            ("connection", Some("Upgrade")),
            ("upgrade", Some("websocket")),
            ("sec-websocket-version", Some("13")),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ==")),
        ];
        for (name, value) in good.iter().chain(changes) {
            match value {
                Some(value) => request.headers_mut().insert(*name, value.parse().unwrap()),
                None => request.headers_mut().remove(*name),
            };
        }
        let pending = hyper::upgrade::on(Request::new(()));
        request.extensions_mut().insert(pending);
        request
    }

    fn connect(protocol: Option<&'static str>) -> Request<()> {
        let mut request =
            upgrade_with(&[("connection", None), ("upgrade", None), ("sec-websocket-key", None)]);
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = Version::HTTP_2;
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(Protocol::from_static(protocol));
        }
        request
    }

    fn refusal(mut request: Request<()>) -> HandshakeError {
        accept(&mut request, "edgeway.v1").unwrap_err()
    }

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        let mut request = upgrade_with(&[]);
        let response = accept(&mut request, "edgeway.v1").unwrap().response;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
        assert!(Upgrade::take(&mut request).is_none());
    }

    #[test]
    fn lists_and_any_case_are_understood() {
        for changes in [
            [("connection", Some("keep-alive, UPGRADE"))],
            [("upgrade", Some("foo , WebSocket"))],
            [("sec-websocket-key", Some("AAAAAAAAAAAAAAAAAAAAAB=="))],
        ] {
            assert!(accept(&mut upgrade_with(&changes), "edgeway.v1").is_ok(), "{changes:?}");
        }
    }

    #[test]
    fn our_subprotocol_is_selected_when_offered_and_an_offer_without_it_is_refused() {
        for (offer, taken) in [
            ("edgeway.v1", true),
            ("other, edgeway.v1", true),
            ("other", false),
            ("EDGEWAY.V1", false),
            ("edgeway.v2", false),
            ("", false),
        ] {
            for mut request in [upgrade_with(&[]), connect(Some("websocket"))] {
                request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, offer.parse().unwrap());
                match accept(&mut request, "edgeway.v1") {
                    Ok(accepted) => {
                        assert!(taken, "{offer}");
                        assert_eq!(accepted.response.headers()[SEC_WEBSOCKET_PROTOCOL], "edgeway.v1");
                    }
                    Err(error) => {
                        assert!(!taken, "{offer}");
                        assert_eq!(error, HandshakeError::NoKnownSubprotocol);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_is_told_apart() {
        use HandshakeError::{BadKey, BadVersion, NotWebSocket};
        for (header, value, expected) in [
            ("connection", None, NotWebSocket),
            ("connection", Some("keep-alive"), NotWebSocket),
            ("upgrade", None, NotWebSocket),
            ("upgrade", Some("h2c"), NotWebSocket),
            ("sec-websocket-version", None, BadVersion),
            ("sec-websocket-version", Some("8"), BadVersion),
            ("sec-websocket-version", Some("013"), BadVersion),
            ("sec-websocket-key", None, BadKey),
            ("sec-websocket-key", Some("c2hvcnQ="), BadKey),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ"), BadKey),
            ("sec-websocket-key", Some("not base64 at all !!!!!!"), BadKey),
        ] {
            assert_eq!(refusal(upgrade_with(&[(header, value)])), expected, "{header}: {value:?}");
        }
        let mut twice = upgrade_with(&[]);
        twice.headers_mut().append(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        assert_eq!(refusal(twice), BadKey);
        let mut old = upgrade_with(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(refusal(old), NotWebSocket);
        let mut post = upgrade_with(&[]);
        *post.method_mut() = Method::POST;
        assert_eq!(refusal(post), HandshakeError::Method);
        let mut not_upgradable = upgrade_with(&[]);
        not_upgradable.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
        assert_eq!(refusal(not_upgradable), NotWebSocket);
    }

    #[test]
    fn extended_connect_needs_its_protocol_and_version_and_no_key() {
        let response = accept(&mut connect(Some("websocket")), "edgeway.v1").unwrap().response;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().is_empty());
        assert_eq!(refusal(connect(None)), HandshakeError::NotWebSocket);
        assert_eq!(refusal(connect(Some("connect-udp"))), HandshakeError::NotWebSocket);
        let mut versionless = connect(Some("websocket"));
        versionless.headers_mut().remove(SEC_WEBSOCKET_VERSION);
        assert_eq!(refusal(versionless), HandshakeError::BadVersion);
        for (method, expected) in
            [(Method::GET, HandshakeError::NotWebSocket), (Method::PUT, HandshakeError::Method)]
        {
            let mut request = connect(Some("websocket"));
            *request.method_mut() = method;
            assert_eq!(refusal(request), expected);
        }
    }

    #[test]
    fn a_refusal_knows_its_status_and_headers() {
        let error = HandshakeError::BadVersion;
        assert_eq!(error.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(error.headers()[SEC_WEBSOCKET_VERSION], "13");
        let error = HandshakeError::Method;
        assert_eq!(error.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(error.headers()[ALLOW], "GET, CONNECT");
        assert_eq!(HandshakeError::BadKey.status(), StatusCode::BAD_REQUEST);
    }
}
