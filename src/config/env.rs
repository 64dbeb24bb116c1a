//! Overrides from the environment: `EDGEWAY__BUS__URL` is `bus.url`.

use serde_yaml::Value;

use super::error::Problem;
use super::nearest::nearest;
use super::schema::{Entry, Shape, entry_at, value_keys};

/// What the names of all overrides begin with.
pub(super) const PREFIX: &str = "EDGEWAY__";
const SEPARATOR: &str = "__";

/// The variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', SEPARATOR).to_ascii_uppercase())
}

/// The values of the environment by dotted key, in the order they come. What has the prefix and is no valid key is a
/// problem, not a value; other variables are nobody's business here.
///
/// An empty variable unsets an optional key and empties a list.
pub(super) fn values(
    env: impl Iterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> Vec<(String, Value)> {
    let mut values = Vec::new();
    for (name, text) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let key = rest.replace(SEPARATOR, ".").to_ascii_lowercase();
        let valid = if variable(&key) == name { entry_at(&key) } else { None };
        let value = match valid {
            Some(Entry::Value(shape)) => value(shape, &text),
            Some(Entry::Section(fields)) => {
                let example = variable(&format!("{key}.{}", fields[0].name));
                Err(format!("a section: set its keys, such as {example}"))
            }
            None => {
                let keys = value_keys();
                let meant = nearest(&key, &keys)
                    .map_or_else(String::new, |m| format!("; did you mean {m}, by {}?", variable(m)));
                Err(format!("unknown key{meant}"))
            }
        };
        match value {
            Ok(value) => values.push((key, value)),
            Err(message) => problems.push(Problem { place: Some(name), key, message }),
        }
    }
    values
}

fn value(shape: Shape, text: &str) -> Result<Value, String> {
    match shape {
        Shape::OptionalText if text.is_empty() => Ok(Value::Null),
        Shape::Text | Shape::OptionalText => Ok(text.into()),
        Shape::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Sequence(items.map(Value::from).collect()))
        }
        Shape::Number => {
            text.parse::<u64>().map(Value::from).map_err(|_| "expected a whole number".to_owned())
        }
        Shape::Flag => text.parse::<bool>().map(Value::from).map_err(|_| "expected true or false".to_owned()),
    }
}
