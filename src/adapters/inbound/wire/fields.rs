//! The fields of a JSON object, taken one by one; what is wrong with one is told by its name and never by its value.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::application::command::SUBSCRIBE_DIALOGS_MAX;
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::ids::DialogId;

/// Largest integer that every JSON reader keeps exact (RFC 8259 §6).
pub const INTEGER_MAX: u64 = 1 << 53;

/// An object's fields, taken one by one.
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    /// A field as it stands; `None` for `null`, too.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn string(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(bad(format!("{name} is not a string"))),
        }
    }

    pub(super) fn required(&mut self, name: &'static str) -> Result<String, Refusal> {
        self.string(name)?.ok_or_else(|| bad(format!("{name} is missing")))
    }

    pub(super) fn integer(&mut self, name: &'static str) -> Result<Option<u64>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number <= INTEGER_MAX => Ok(Some(number)),
                _ => Err(bad(format!("{name} is not an integer from 0 to 2^53"))),
            },
        }
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(bad(format!("{name} is neither true nor false"))),
        }
    }

    pub(super) fn dialog(&mut self) -> Result<DialogId, Refusal> {
        DialogId::parse(&self.required("dialog_id")?).map_err(|_| bad("dialog_id is malformed"))
    }

    pub(super) fn dialogs(&mut self) -> Result<Vec<Value>, Refusal> {
        match self.take("dialogs") {
            Some(Value::Array(values)) if values.len() <= SUBSCRIBE_DIALOGS_MAX => Ok(values),
            Some(Value::Array(_)) => Err(bad("dialogs has more than 200 entries")),
            _ => Err(bad("dialogs is not an array, and all is not true")),
        }
    }
}

/// What is no JSON that this server reads.
pub(super) fn malformed() -> Refusal {
    bad("not valid JSON, nested deeper than 16, or with a key twice")
}

/// `bad_request`, in words that never repeat the input.
pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
}
