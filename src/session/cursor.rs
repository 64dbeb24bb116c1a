//! Cursors: "I have everything up to here", as an opaque string of at most 48 characters.

use std::fmt;
use std::str::FromStr;

use crate::domain::time::UnixMillis;

/// Longest cursor, in characters of `[A-Za-z0-9._-]`.
pub const CURSOR_MAX_CHARS: usize = 48;

/// A place in a session's outgoing queue, and what to fall back on when that queue is gone.
///
/// Written as `epoch.number.watermark` in base 36: 8 + 1 + 14 + 1 + 14 characters at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The session's generation: rises whenever the queue is built anew.
    pub epoch: u32,
    /// The event's number in the session: rises by exactly 1.
    pub number: u64,
    /// Low watermark of the bus time: every event of the session's feeds up to it has been numbered. What another
    /// node rebuilds the session from.
    pub watermark: UnixMillis,
}

/// The text is not a cursor that this version has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct MalformedCursor;

const BASE: u64 = 36;
const DIGITS: &[u8; BASE as usize] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Digits of `u64::MAX` in base 36 (a `u32` needs 7).
const U64_DIGITS: usize = 13;
/// Values of two digits.
const PAIRS: u64 = BASE * BASE;
/// Two digits each: half as many divisions.
const PAIR_DIGITS: [[u8; 2]; PAIRS as usize] = {
    let mut pairs = [[0; 2]; PAIRS as usize];
    let mut value = 0;
    while value < pairs.len() {
        pairs[value] = [DIGITS[value / BASE as usize], DIGITS[value % BASE as usize]];
        value += 1;
    }
    pairs
};

impl Cursor {
    /// The cursor as clients see it: the delivery path, without a formatter or an allocation.
    #[must_use]
    pub fn text(&self) -> CursorText {
        let mut text = CursorText { bytes: [0; CURSOR_MAX_CHARS], start: CURSOR_MAX_CHARS };
        text.put_number(self.watermark.0);
        text.put(b".");
        text.put_number(self.number);
        text.put(b".");
        text.put_number(u64::from(self.epoch));
        text
    }
}

/// The characters of a [`Cursor`], written from the last to the first.
#[derive(Debug, Clone, Copy)]
pub struct CursorText {
    bytes: [u8; CURSOR_MAX_CHARS],
    start: usize,
}

impl CursorText {
    /// All of them, each one byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn put_number(&mut self, mut value: u64) {
        while value >= PAIRS {
            self.put(&PAIR_DIGITS[(value % PAIRS) as usize]);
            value /= PAIRS;
        }
        if value >= BASE {
            self.put(&PAIR_DIGITS[value as usize]);
        } else {
            self.put(&[DIGITS[value as usize]]);
        }
    }

    fn put<const COUNT: usize>(&mut self, digits: &[u8; COUNT]) {
        let end = self.start;
        self.start -= COUNT;
        self.bytes[self.start..end].copy_from_slice(digits);
    }
}

/// Reads what [`CursorText`] has of a number, and only that: no sign, no upper case, no leading zero, no overflow.
fn read_base36(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > U64_DIGITS || (bytes[0] == b'0' && bytes.len() > 1) {
        return None;
    }
    bytes.iter().try_fold(0u64, |value, b| {
        let digit = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'z' => b - b'a' + 10,
            _ => return None,
        };
        value.checked_mul(BASE)?.checked_add(u64::from(digit))
    })
}

impl FromStr for Cursor {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, MalformedCursor> {
        let mut parts = text.split('.').map(read_base36);
        let (Some(Some(epoch)), Some(Some(number)), Some(Some(watermark)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MalformedCursor);
        };
        let epoch = u32::try_from(epoch).map_err(|_| MalformedCursor)?;
        Ok(Self { epoch, number, watermark: UnixMillis(watermark) })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(self.text().as_bytes()).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_survives_being_written_and_read(epoch: u32, number: u64, watermark: u64) {
            let cursor = Cursor { epoch, number, watermark: UnixMillis(watermark) };
            let text = cursor.to_string();
            prop_assert!(text.len() <= CURSOR_MAX_CHARS);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
            prop_assert_eq!(text.parse(), Ok(cursor));
        }

        #[test]
        fn what_parses_is_written_back_the_same(text in "[0-9a-zA-Z._-]{0,48}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    /// Where the number of digits changes, which values drawn at random seldom meet.
    #[test]
    fn numbers_are_written_in_base_36_without_leading_zeros() {
        for (value, text) in [
            (0, "0"),
            (35, "z"),
            (36, "10"),
            (1_295, "zz"),
            (1_296, "100"),
            (46_655, "zzz"),
            (46_656, "1000"),
            (u64::MAX, "3w5e11264sgsf"),
        ] {
            let cursor = Cursor { epoch: 36, number: value, watermark: UnixMillis(value) };
            assert_eq!(cursor.to_string(), format!("10.{text}.{text}"));
        }
        let largest = Cursor { epoch: u32::MAX, number: u64::MAX, watermark: UnixMillis(u64::MAX) };
        assert_eq!(largest.to_string(), "1z141z3.3w5e11264sgsf.3w5e11264sgsf");
    }

    #[test]
    fn anything_else_is_malformed() {
        for bad in [
            "",
            ".",
            "..",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "A.1.1",
            "-1.1.1",
            "1.1.",
            "zzzzzzzzzz.1.1",
            "1.zzzzzzzzzzzzz.1",
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(MalformedCursor), "{bad}");
        }
    }
}
