//! An HTTP answer, and what a refusal must look like.

use serde_json::Value;

/// Put into bad input wherever it fits: no answer may repeat it.
pub(crate) const CANARY: &str = "zqCanary7";

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The status, and the error object with this code.
    #[track_caller]
    pub(crate) fn is_refused(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        is_error(&self.json(), code);
        if matches!(status, 429 | 503) {
            let after: u64 = self.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or(0);
            assert!(after >= 1, "Retry-After: {self:?}");
        }
    }
}

const RETRYABLE: [&str; 6] = ["rate_limited", "unavailable", "overloaded", "draining", "timeout", "internal"];

/// The error object of the protocol with this code, and nothing of the input in it.
#[track_caller]
pub(crate) fn is_error(error: &Value, code: &str) {
    assert_eq!(error["type"], "error", "{error}");
    assert_eq!(error["code"], code, "{error}");
    assert_eq!(error["retryable"], RETRYABLE.contains(&code), "{error}");
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    let known = ["type", "code", "message", "retryable", "retry_after_ms", "ref", "unknown_outcome"];
    for key in error.as_object().expect("an object").keys() {
        assert!(known.contains(&key.as_str()), "the field {key} is not one of an error: {error}");
    }
    assert!(!error.to_string().contains(CANARY), "the input is repeated: {error}");
}
