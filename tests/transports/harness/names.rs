//! Names that no other test uses.

use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// `base` with a number that is used once in this process.
pub(crate) fn unique(base: &str) -> String {
    format!("{base}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Percent-encodes everything but the unreserved characters (RFC 3986 §2.3), for a query value or a path segment.
pub(crate) fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
