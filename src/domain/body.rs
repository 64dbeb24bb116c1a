//! What a message says: text and attachments, within limits.

/// Most characters (Unicode scalar values) in a message's text.
pub const TEXT_MAX_CHARS: usize = 4096;
/// Most attachments of one message.
pub const ATTACHMENTS_MAX: usize = 10;
/// Largest body, in bytes: text and all the fields of all attachments together.
pub const BODY_MAX_BYTES: usize = 16 * 1024;

/// A reference to something kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attachment {
    /// The attachment's name in its own store.
    pub id: String,
    /// A file name to show.
    pub name: String,
    /// Media type (RFC 6838).
    pub mime: String,
    /// Size in bytes.
    pub size: u64,
    /// Where it can be fetched, if it can.
    pub url: Option<String>,
}

/// A message's content: never empty, within the limits, free of control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageBody {
    text: String,
    attachments: Vec<Attachment>,
}

/// Why a body is refused. The texts are safe to show: they never repeat the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBody {
    /// Neither text nor attachment.
    #[error("body is empty: give text or an attachment")]
    Empty,
    /// More than [`TEXT_MAX_CHARS`].
    #[error("body.text is longer than 4096 characters")]
    TextTooLong,
    /// More than [`ATTACHMENTS_MAX`].
    #[error("body.attachments has more than 10 entries")]
    TooManyAttachments,
    /// More than [`BODY_MAX_BYTES`].
    #[error("body is larger than 16 KiB")]
    TooLarge,
    /// A control character other than newline and tab.
    #[error("body has a control character other than newline and tab")]
    ControlCharacter,
    /// An attachment without an id.
    #[error("an attachment has no id")]
    AttachmentWithoutId,
}

impl MessageBody {
    /// Checks the limits and builds a body.
    ///
    /// # Errors
    /// [`InvalidBody`] names the limit that is broken.
    pub fn new(text: String, attachments: Vec<Attachment>) -> Result<Self, InvalidBody> {
        if text.is_empty() && attachments.is_empty() {
            return Err(InvalidBody::Empty);
        }
        if attachments.len() > ATTACHMENTS_MAX {
            return Err(InvalidBody::TooManyAttachments);
        }
        let attached_bytes: usize = attachments.iter().map(attachment_bytes).sum();
        if text.len() + attached_bytes > BODY_MAX_BYTES {
            // A text over its own limit is told so, whatever its bytes.
            return Err(if text.chars().count() > TEXT_MAX_CHARS {
                InvalidBody::TextTooLong
            } else {
                InvalidBody::TooLarge
            });
        }
        if text.chars().count() > TEXT_MAX_CHARS {
            return Err(InvalidBody::TextTooLong);
        }
        let fields = attachments
            .iter()
            .flat_map(|a| [a.id.as_str(), &a.name, &a.mime].into_iter().chain(a.url.as_deref()));
        if std::iter::once(text.as_str()).chain(fields).any(has_control_character) {
            return Err(InvalidBody::ControlCharacter);
        }
        if attachments.iter().any(|a| a.id.is_empty()) {
            return Err(InvalidBody::AttachmentWithoutId);
        }
        Ok(Self { text, attachments })
    }

    /// The text; empty only when there are attachments.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The attachments, at most [`ATTACHMENTS_MAX`].
    #[must_use]
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }
}

fn attachment_bytes(a: &Attachment) -> usize {
    a.id.len() + a.name.len() + a.mime.len() + a.url.as_ref().map_or(0, String::len)
}

fn has_control_character(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(name: &str) -> Attachment {
        Attachment { id: "a1".into(), name: name.into(), mime: "image/png".into(), size: 3, url: None }
    }

    #[test]
    fn a_body_has_text_or_an_attachment() {
        assert_eq!(MessageBody::new(String::new(), vec![]), Err(InvalidBody::Empty));
        assert!(MessageBody::new(String::new(), vec![attachment("x")]).is_ok());
    }

    #[test]
    fn each_limit_is_the_last_value_that_passes() {
        assert!(MessageBody::new("é".repeat(TEXT_MAX_CHARS), vec![]).is_ok());
        assert_eq!(MessageBody::new("e".repeat(TEXT_MAX_CHARS + 1), vec![]), Err(InvalidBody::TextTooLong));
        assert_eq!(MessageBody::new("e".repeat(BODY_MAX_BYTES + 1), vec![]), Err(InvalidBody::TextTooLong));
        assert!(MessageBody::new("x".into(), vec![attachment("x"); ATTACHMENTS_MAX]).is_ok());
        assert_eq!(
            MessageBody::new("x".into(), vec![attachment("x"); ATTACHMENTS_MAX + 1]),
            Err(InvalidBody::TooManyAttachments)
        );
        assert_eq!(
            MessageBody::new("x".into(), vec![attachment(&"n".repeat(BODY_MAX_BYTES))]),
            Err(InvalidBody::TooLarge)
        );
    }

    #[test]
    fn control_characters_are_refused_but_newline_and_tab_pass() {
        assert!(MessageBody::new("a\n\tb".into(), vec![]).is_ok());
        for bad in ["a\0", "a\r", "\u{1b}[31m", "\u{85}", "\u{7f}"] {
            assert_eq!(MessageBody::new(bad.into(), vec![]), Err(InvalidBody::ControlCharacter), "{bad:?}");
        }
        assert_eq!(MessageBody::new("x".into(), vec![attachment("a\0")]), Err(InvalidBody::ControlCharacter));
    }
}
