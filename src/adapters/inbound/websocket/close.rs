//! How a connection ends: close codes, the payload of a close frame, and what breaks the rules.

use super::frame::CONTROL_PAYLOAD_MAX_BYTES;

/// The purpose is fulfilled (RFC 6455 §7.4.1).
pub const NORMAL: u16 = 1000;
/// The bytes are not the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A kind of data that isn't taken here: binary.
pub const UNSUPPORTED_DATA: u16 = 1003;
/// Text that is not UTF-8.
pub const INVALID_TEXT: u16 = 1007;
/// What can't be inflated: the same code.
pub const INVALID_PAYLOAD: u16 = INVALID_TEXT;
/// Well-formed, but more of it than anybody needs.
pub const POLICY_VIOLATION: u16 = 1008;
/// A message over the limit.
pub const MESSAGE_TOO_BIG: u16 = 1009;

/// Longest reason, in bytes of UTF-8: what a control frame holds, less the code.
pub const REASON_MAX_BYTES: usize = CONTROL_PAYLOAD_MAX_BYTES - 2;

/// The peer broke a rule: the connection is to be closed with this code. Nothing more can be read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (close {close_code})")]
pub struct Violation {
    /// The code to close with (RFC 6455 §7.4).
    pub close_code: u16,
    /// Which rule; never repeats what the peer sent.
    pub reason: &'static str,
}

impl Violation {
    /// A violation of the protocol itself: 1002.
    #[must_use]
    pub const fn protocol(reason: &'static str) -> Self {
        Self { close_code: PROTOCOL_ERROR, reason }
    }

    /// Text that is not UTF-8: 1007 (RFC 6455 §8.1).
    #[must_use]
    pub const fn invalid_text() -> Self {
        Self { close_code: INVALID_TEXT, reason: "text is not UTF-8" }
    }
}

/// What a close frame says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloseFrame {
    /// The code; a close frame may come without one.
    pub code: Option<u16>,
    /// For people who debug, often empty.
    pub reason: String,
}

impl CloseFrame {
    /// Reads the payload of a close frame (RFC 6455 §5.5.1).
    ///
    /// # Errors
    /// 1002 for half a code or one that may not be sent, 1007 for a reason that isn't UTF-8.
    pub fn parse(payload: &[u8]) -> Result<Self, Violation> {
        let (code, reason) = match payload {
            [] => return Ok(Self::default()),
            [_] => return Err(Violation::protocol("half a close code")),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        if !may_be_sent(code) {
            return Err(Violation::protocol("a close code that may not be sent"));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| Violation::invalid_text())?;
        Ok(Self { code: Some(code), reason: reason.to_owned() })
    }
}

/// Whether a peer may put this code into a close frame (RFC 6455 §7.4, with 1012 to 1014 as registered since).
///
/// 1004 is reserved, 1005, 1006 and 1015 stand for what never travels, and 1016 to 2999 wait for a standard.
#[must_use]
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Appends the payload of a close frame. A reason over [`REASON_MAX_BYTES`] is cut between characters; without a code
/// there is no reason either.
pub fn write_payload(code: Option<u16>, reason: &str, out: &mut Vec<u8>) {
    if let Some(code) = code {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(REASON_MAX_BYTES)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_payload_survives_being_written_and_read() {
        for (code, reason) in
            [(None, ""), (Some(1000), ""), (Some(4009), "superseded"), (Some(3000), "ünïcode")]
        {
            let mut payload = Vec::new();
            write_payload(code, reason, &mut payload);
            assert_eq!(CloseFrame::parse(&payload), Ok(CloseFrame { code, reason: reason.to_owned() }));
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut payload = Vec::new();
        write_payload(Some(1000), &"é".repeat(100), &mut payload);
        assert_eq!(payload.len(), 2 + 122);
        assert_eq!(CloseFrame::parse(&payload).unwrap().reason, "é".repeat(61));
    }

    #[test]
    fn only_codes_that_may_travel_are_taken() {
        for good in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert!(may_be_sent(good), "{good}");
        }
        for bad in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!may_be_sent(bad), "{bad}");
        }
    }
}
