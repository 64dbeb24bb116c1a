//! Durations as people write them: `500ms`, `30s`, `10m`, `24h`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// Units, the largest first, in milliseconds.
const UNITS_MS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number with one of the units ms, s, m, h, such as 500ms, 30s, 10m or 24h")]
pub struct MalformedDuration;

/// Reads a whole number with a unit.
///
/// # Errors
/// [`MalformedDuration`] for anything else: no unit, a sign, a fraction, several parts, too large for milliseconds in
/// 64 bits.
pub fn parse(text: &str) -> Result<Duration, MalformedDuration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, unit_ms) = UNITS_MS.iter().find(|(name, _)| *name == unit).ok_or(MalformedDuration)?;
    let number: u64 = number.parse().map_err(|_| MalformedDuration)?;
    number.checked_mul(*unit_ms).map(Duration::from_millis).ok_or(MalformedDuration)
}

/// Writes what [`parse`] reads, in the largest unit that is exact. Below a millisecond it is cut off.
pub fn format(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let exact = UNITS_MS.iter().find(|(_, unit_ms)| ms.is_multiple_of(*unit_ms));
    let (unit, unit_ms) = exact.unwrap_or(&UNITS_MS[UNITS_MS.len() - 1]);
    format!("{}{unit}", ms / unit_ms)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_unit_is_read() {
        for (text, ms) in [("0s", 0), ("1ms", 1), ("500ms", 500), ("30s", 30_000), ("10m", 600_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse("24h"), Ok(Duration::from_secs(86_400)));
    }

    #[test]
    fn anything_else_is_malformed() {
        for bad in [
            "",
            "s",
            "30",
            "-1s",
            "+1s",
            "1.5s",
            "1m30s",
            "30 s",
            " 30s",
            "30S",
            "1d",
            "1us",
            "10min",
            "٣s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse(bad), Err(MalformedDuration), "{bad:?}");
        }
    }

    #[test]
    fn the_largest_exact_unit_is_written() {
        for (ms, text) in [(0, "0s"), (1500, "1500ms"), (90_000, "90s"), (120_000, "2m"), (86_400_000, "24h")]
        {
            assert_eq!(format(Duration::from_millis(ms)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms: u64) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
