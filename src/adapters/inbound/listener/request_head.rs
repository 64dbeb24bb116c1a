//! The head of a request that has arrived whole and has no body (RFC 9112 §2 to §6), read from where it lies.
//!
//! Most requests of a gateway are such: a poll follows a poll, and a stream or a WebSocket is asked for. hyper would set up
//! a connection with two buffers for each of them, only to be left again for an answer that waits. Whatever is not as simple
//! as that is hyper's, and what is wrong with it is told by hyper.

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use httparse::{EMPTY_HEADER, Status};

/// Most header fields; hyper's own limit, and it says so to whoever has more.
const FIELDS_MAX: usize = 100;
/// The minor version of HTTP/1.1.
const HTTP_1_1: u8 = 1;

/// What lies at the beginning of what was read.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it comes back")]
pub(super) enum Head {
    /// A request without a body; its head is taken away.
    Whole(Request<Body>),
    /// More has to be read to know.
    Partial,
    /// Something else, all of which is still there.
    Other,
}

/// Looks for the head of a GET of HTTP/1.1, of at most so many bytes.
pub(super) fn take_head(read: &mut Bytes, max_bytes: usize) -> Head {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(read) {
        Ok(Status::Complete(length)) if length <= max_bytes => length,
        Ok(Status::Partial) if parsed.method.is_none_or(is_get) => return Head::Partial,
        Ok(_) | Err(_) => return Head::Other,
    };
    let Some(request) = bodiless_get(&parsed, read) else { return Head::Other };
    let _ = read.split_to(length);
    Head::Whole(request)
}

fn is_get(method: &str) -> bool {
    method == Method::GET.as_str()
}

/// Names and values stay where they lie in what was read.
fn bodiless_get(parsed: &httparse::Request<'_, '_>, read: &Bytes) -> Option<Request<Body>> {
    if parsed.version != Some(HTTP_1_1) || !parsed.method.is_some_and(is_get) {
        return None;
    }
    let uri = Uri::from_maybe_shared(read.slice_ref(parsed.path?.as_bytes())).ok()?;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if matches!(name, CONTENT_LENGTH | TRANSFER_ENCODING | EXPECT) {
            return None;
        }
        headers.append(name, HeaderValue::from_maybe_shared(read.slice_ref(field.value)).ok()?);
    }
    let mut request = Request::new(Body::empty());
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: usize = 1024;

    fn head(text: &str) -> (Head, Bytes) {
        let mut read = Bytes::copy_from_slice(text.as_bytes());
        let head = take_head(&mut read, MAX_BYTES);
        (head, read)
    }

    #[test]
    fn a_whole_head_is_taken_and_what_follows_it_stays() {
        let (head, rest) =
            head("GET /v1/poll?session=s HTTP/1.1\r\nHost: a\r\nX-Y: 1\r\nx-y:  2 \r\n\r\nGET /next");
        let Head::Whole(request) = head else { panic!("{head:?}") };
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
        assert_eq!(request.uri(), "/v1/poll?session=s");
        assert_eq!(request.headers()["host"], "a");
        assert_eq!(request.headers().get_all("x-y").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(rest, "GET /next");
    }

    #[test]
    fn more_is_read_as_long_as_it_may_become_one() {
        let whole = "GET /v1/poll HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..whole.len() {
            let (head, rest) = head(&whole[..end]);
            assert!(matches!(head, Head::Partial), "{end}: {head:?}");
            assert_eq!(rest, whole[..end]);
        }
    }

    #[test]
    fn everything_else_is_left_as_it_is() {
        let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(MAX_BYTES));
        let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(FIELDS_MAX));
        for text in [
            "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\n",
            "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
            "GET / HTTP/1.1\r\n folded: a\r\n\r\n",
            "GET \u{7f} HTTP/1.1\r\n\r\n",
            "GET  HTTP/1.1\r\n\r\n",
            "\0",
            &long,
            &many,
        ] {
            let (head, rest) = head(text);
            assert!(matches!(head, Head::Other), "{text:?}: {head:?}");
            assert_eq!(rest, text);
        }
    }
}
