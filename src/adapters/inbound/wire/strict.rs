//! JSON as strictly as a public edge needs it: no duplicate keys, no deep nesting, nothing behind the value.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting of arrays and objects.
pub const JSON_MAX_DEPTH: usize = 16;

/// The text is not JSON as this edge accepts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid JSON, nested deeper than 16, or with a key twice")]
pub struct Malformed;

/// Parses one JSON value (RFC 8259) that has no key twice in an object (RFC 8259 §4 leaves that open; this edge does
/// not) and nests at most [`JSON_MAX_DEPTH`] deep.
///
/// # Errors
/// [`Malformed`], without a word of the input.
pub fn parse(text: &[u8]) -> Result<Value, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer).map_err(|_| Malformed)?;
    deserializer.end().map_err(|_| Malformed)?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= JSON_MAX_DEPTH {
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if values.insert(key, value).is_some() {
                return Err(A::Error::custom("a key twice"));
            }
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_json_passes() {
        let text = br#"{"a":[1,-2,3.5,null,true,"x\n\ud83d\ude00"],"b":{}}"#;
        assert_eq!(parse(text).unwrap(), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn what_is_ambiguous_or_hostile_does_not() {
        let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
        for bad in [
            "",
            "{",
            r#"{"a":1,"a":2}"#,
            r#"[{"a":1,"a":1}]"#,
            r#""\ud800""#,
            "1 2",
            "{}x",
            "01",
            "nul",
            "[1e999]",
            &deep,
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(Malformed), "{bad}");
        }
        assert!(parse(format!("{}{}", "[".repeat(16), "]".repeat(16)).as_bytes()).is_ok());
        assert_eq!(parse(b"\"\xff\""), Err(Malformed));
    }
}
