//! Ids of stream entries: `<milliseconds>-<n>`, given by the server.

use crate::domain::time::UnixMillis;

/// Longest id, in bytes: two u64 and a dash.
pub const MAX_BYTES: usize = 41;

/// The time in an id.
#[must_use]
pub fn time(id: &str) -> Option<UnixMillis> {
    let (millis, count) = id.split_once('-')?;
    number(count)?;
    number(millis).map(UnixMillis)
}

/// A number as Redis writes it: decimal digits, no sign, no leading zero.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
