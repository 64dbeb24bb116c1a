//! `tracestate` (W3C Trace Context §3.3): what tracing systems on the way have noted of a trace. It is read by none of this
//! program and handed on as it is.

use std::sync::Arc;

/// Longest text that is handed on, in characters (§3.3.1.5); from a longer one, entries are left out.
pub const STATE_MAX_CHARS: usize = 512;
/// Most entries of a list (§3.3.1.1).
pub const STATE_ENTRIES_MAX: usize = 32;
/// Of a list that is too long, entries above this length go first (§3.3.1.5).
const ENTRY_LONG_CHARS: usize = 128;

/// A list of entries in which nothing stands but what may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceState(Arc<str>);

impl TraceState {
    /// Reads the texts of all headers of that name, in order. Of a list that is not one, all is worth nothing: `None`, as
    /// it is of an empty one.
    #[must_use]
    pub fn read<'h>(headers: impl IntoIterator<Item = &'h str>) -> Option<Self> {
        let members = headers.into_iter().flat_map(|text| text.split(','));
        let mut entries: Vec<&str> = Vec::new();
        for entry in members.map(|member| member.trim_matches([' ', '\t'])) {
            // Empty members are allowed, and mean nothing.
            if entry.is_empty() {
                continue;
            }
            let key = key_of(entry)?;
            if entries.len() == STATE_ENTRIES_MAX || entries.iter().any(|known| key_of(known) == Some(key)) {
                return None;
            }
            entries.push(entry);
        }
        while length(&entries) > STATE_MAX_CHARS {
            match entries.iter().position(|entry| entry.len() > ENTRY_LONG_CHARS) {
                Some(long) => entries.remove(long),
                None => entries.pop()?,
            };
        }
        (!entries.is_empty()).then(|| Self(entries.join(",").into()))
    }

    /// As it stands in a header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// With the commas in between.
fn length(entries: &[&str]) -> usize {
    entries.iter().map(|entry| entry.len() + 1).sum::<usize>().saturating_sub(1)
}

/// The key of a well-formed entry.
fn key_of(entry: &str) -> Option<&str> {
    let (key, value) = entry.split_once('=')?;
    (is_key(key) && is_value(value)).then_some(key)
}

/// §3.3.1.3.1: a system's name, or a tenant's of one, `tenant@system`.
fn is_key(key: &str) -> bool {
    let is_lower = |byte: &u8| byte.is_ascii_lowercase();
    let is_name = |name: &str, first: fn(&u8) -> bool, max: usize| {
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
        name.len() <= max && name.as_bytes().first().is_some_and(first) && name.bytes().all(rest)
    };
    match key.split_once('@') {
        None => is_name(key, is_lower, 256),
        Some((tenant, system)) => {
            is_name(tenant, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(), 241)
                && is_name(system, is_lower, 14)
        }
    }
}

/// §3.3.1.3.2: printable, without comma and equals sign, and not ending with a space, which was cut off already.
fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b",=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        TraceState::read([text]).map(|state| state.as_str().to_owned())
    }

    #[test]
    fn what_is_a_list_is_handed_on_as_it_is() {
        for text in [
            "rojo=00f067aa0ba902b7",
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            "fw529a3039@dt=FfFfFf",
            "a=1,b= with space",
            "a_-*/9=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~",
            "0tenant@system=1",
        ] {
            assert_eq!(read(text).as_deref(), Some(text));
        }
        assert_eq!(read(" a=1 ,\t,b=2,"), Some("a=1,b=2".to_owned()), "empty members and space around them");
        let several = TraceState::read(["a=1,b=2", "c=3"]).unwrap();
        assert_eq!(several.as_str(), "a=1,b=2,c=3");
    }

    #[test]
    fn what_is_no_list_is_dropped_as_a_whole() {
        let long_key = format!("{}=1", "a".repeat(257));
        let long_value = format!("a={}", "1".repeat(257));
        let many: Vec<String> = (0..=STATE_ENTRIES_MAX).map(|n| format!("k{n}=v")).collect();
        for text in [
            "",
            " , ,",
            "a",
            "=1",
            "a=",
            "A=1",
            "1=a",
            "a=1=2",
            "a b=1",
            "a=\u{7}",
            "a=é",
            "a=1,a=2",
            "a@=1",
            "@a=1",
            "a@b@c=1",
            "a@1=1",
            "a@a23456789012345=1",
            "good=1,Bad=2",
            &long_key,
            &long_value,
            &many.join(","),
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(read(&many[1..].join(",")).is_some());
    }

    #[test]
    fn of_a_list_that_is_too_long_long_entries_go_first_and_then_the_last() {
        let entry = |key: &str, length: usize| format!("{key}={}", "v".repeat(length - key.len() - 1));
        let fits = [entry("a", 128), entry("b", 128), entry("c", 128), entry("d", 125)].join(",");
        assert_eq!(fits.len(), STATE_MAX_CHARS);
        assert_eq!(read(&fits), Some(fits.clone()));
        assert_eq!(read(&format!("{fits},e=1")), Some(fits.clone()));
        let long = entry("long", 129);
        assert_eq!(read(&format!("{long},{fits}")), Some(fits.clone()));
        assert_eq!(read(&format!("{long},a=1")), Some(format!("{long},a=1")), "it fits");
        let too_long = [entry("a", 257), entry("b", 256)].join(",");
        assert_eq!(read(&too_long), Some(entry("b", 256)));
    }
}
