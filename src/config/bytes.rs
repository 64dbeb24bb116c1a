//! Sizes as people write them: `64KiB`, `256MiB`, `2GiB`.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

/// Units, the largest first, in bytes.
const UNITS_BYTES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

const EXPECTED: &str = "a whole number with one of the units B, KiB, MiB, GiB, such as 64KiB or 2GiB";

/// The text is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {EXPECTED}")]
pub struct MalformedSize;

/// Reads a whole number with a unit, in bytes.
///
/// # Errors
/// [`MalformedSize`] for anything else: no unit, a decimal unit (`kB`), a sign, a fraction, above 64 bits.
pub fn parse(text: &str) -> Result<u64, MalformedSize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, unit_bytes) = UNITS_BYTES.iter().find(|(name, _)| *name == unit).ok_or(MalformedSize)?;
    let number: u64 = number.parse().map_err(|_| MalformedSize)?;
    number.checked_mul(*unit_bytes).ok_or(MalformedSize)
}

/// Writes what [`parse`] reads, in the largest unit that is exact.
pub fn format(bytes: u64) -> String {
    let exact = UNITS_BYTES.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    let (unit, unit_bytes) = exact.unwrap_or(&UNITS_BYTES[UNITS_BYTES.len() - 1]);
    format!("{}{unit}", bytes / unit_bytes)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Size;

    impl Visitor<'_> for Size {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(EXPECTED)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            parse(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Size)
}

pub(super) fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_unit_is_read() {
        for (text, bytes) in
            [("0B", 0), ("100B", 100), ("64KiB", 65_536), ("3MiB", 3_145_728), ("2GiB", 2_147_483_648)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        for bad in [
            "",
            "KiB",
            "64",
            "64K",
            "64KB",
            "64kib",
            "64 KiB",
            "-1KiB",
            "1.5MiB",
            "1TiB",
            "99999999999999999999B",
            "18446744073709551615KiB",
        ] {
            assert_eq!(parse(bad), Err(MalformedSize), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes: u64) {
            prop_assert_eq!(parse(&format(bytes)), Ok(bytes));
        }
    }
}
