//! Where in the file a key stands.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// The line of a key, from 1; `None` if it can't be found.
///
/// The YAML library tells places only in its errors. So the file is read once more by a reader that takes nothing but
/// the way to the key and fails there.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let way: Vec<&str> = key.split('.').collect();
    let error = Walk { way: &way }.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    error.location().map(|at| at.line())
}

/// Goes down the way and fails at its end.
#[derive(Clone, Copy)]
struct Walk<'a> {
    way: &'a [&'a str],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Some((first, rest)) = self.way.split_first() else { return Ok(()) };
        while let Some(found) = map.next_key_seed(Name { wanted: first, fail: rest.is_empty() })? {
            if found {
                map.next_value_seed(Walk { way: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Whether a key is the wanted one.
struct Name<'a> {
    wanted: &'a str,
    fail: bool,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        match name == self.wanted {
            true if self.fail => Err(E::custom("here")),
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::line_of;

    const FILE: &str = "\
# url: not this one
listen: \"bus: { url: nor this }\"

bus:
  kind: redis   # url:
  url: redis://x
transports: { ws: { ping: 25s },
  poll: { wait: 25s } }
";

    #[test]
    fn the_line_of_a_key_is_found() {
        for (key, line) in [
            ("listen", Some(2)),
            ("bus", Some(4)),
            ("bus.kind", Some(5)),
            ("bus.url", Some(6)),
            ("transports.ws.ping", Some(7)),
            ("transports.poll.wait", Some(8)),
        ] {
            assert_eq!(line_of(FILE, key), line, "{key}");
        }
    }

    #[test]
    fn what_is_not_there_has_no_line() {
        assert_eq!(line_of(FILE, "store"), None);
        assert_eq!(line_of("", "store"), None);
    }
}
