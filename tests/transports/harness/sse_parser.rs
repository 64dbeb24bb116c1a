//! Server-sent events (WHATWG HTML §9.2), strictly: what the standard would let pass in silence is an error here.

use std::fmt;

/// What stands between two blank lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Block {
    /// Bytes of the comment lines, with the colon and the line's end.
    pub(crate) comment_bytes: usize,
    /// Reconnection time in milliseconds.
    pub(crate) retry: Option<u64>,
    pub(crate) id: Option<String>,
    pub(crate) data: Option<String>,
}

/// What the server must not write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes bytes in whatever pieces they come, gives whole blocks.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    bytes: Vec<u8>,
}

impl SseParser {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole block, if there is one.
    pub(crate) fn next_block(&mut self) -> Result<Option<Block>, Malformed> {
        let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\n\n") else {
            return Ok(None);
        };
        let bytes: Vec<u8> = self.bytes.drain(..end + 2).collect();
        let text = String::from_utf8(bytes).map_err(|e| Malformed(format!("not UTF-8: {e}")))?;
        parse_block(&text[..end]).map(Some)
    }

    /// What is left of a block that was cut.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes
    }
}

fn parse_block(text: &str) -> Result<Block, Malformed> {
    let mut block = Block::default();
    for line in text.split('\n') {
        if line.is_empty() || line.contains(['\r', '\0', '\u{feff}']) {
            return Err(Malformed(format!("an empty line too many, CR, NUL or BOM in {text:?}")));
        }
        let (field, value) =
            line.split_once(':').ok_or_else(|| Malformed(format!("no colon in {line:?}")))?;
        if field.is_empty() {
            block.comment_bytes += line.len() + 1;
            continue;
        }
        // One space after the colon belongs to the carriage.
        let value = value.strip_prefix(' ').unwrap_or(value);
        let repeated = match field {
            "retry" => {
                let ms = value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse().ok()).flatten();
                block
                    .retry
                    .replace(ms.ok_or_else(|| Malformed(format!("not milliseconds: {line:?}")))?)
                    .is_some()
            }
            "id" => block.id.replace(value.into()).is_some(),
            "data" => block.data.replace(value.into()).is_some(),
            _ => return Err(Malformed(format!("the field {field:?} is not of this protocol: {line:?}"))),
        };
        if repeated {
            return Err(Malformed(format!("the field {field:?} stands twice in one event: {text:?}")));
        }
    }
    if block.id.is_some() && block.data.is_none() {
        return Err(Malformed(format!("an id without data is no event: {text:?}")));
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": padding\n\nretry: 3000\n\nid: s~1.2.3\ndata: {\"a\":\"é\"}\n\ndata:{}\n\n";

    fn blocks() -> Vec<Block> {
        vec![
            Block { comment_bytes: 10, ..Block::default() },
            Block { retry: Some(3000), ..Block::default() },
            Block { id: Some("s~1.2.3".into()), data: Some("{\"a\":\"é\"}".into()), ..Block::default() },
            Block { data: Some("{}".into()), ..Block::default() },
        ]
    }

    fn parse(text: &str) -> Result<Option<Block>, Malformed> {
        let mut parser = SseParser::default();
        parser.feed(text.as_bytes());
        parser.next_block()
    }

    #[test]
    fn a_block_may_hold_comment_retry_id_and_data() {
        assert_eq!(
            parse(":x\nretry: 1\nid: i\ndata: d\n\n"),
            Ok(Some(Block {
                comment_bytes: 3,
                retry: Some(1),
                id: Some("i".into()),
                data: Some("d".into())
            }))
        );
    }

    #[test]
    fn a_block_without_its_blank_line_is_not_there_yet() {
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("data: {}\n"), Ok(None));
    }

    #[test]
    fn what_the_protocol_does_not_allow_is_an_error() {
        for bad in [
            "event: message\ndata: {}\n\n",
            "data: {\ndata: }\n\n",
            "id: a\nid: b\ndata: {}\n\n",
            "id: a\n\n",
            "retry: soon\n\n",
            "retry:\n\n",
            "retry: +1\n\n",
            "data: {}\r\n\n",
            "data\n\n",
            "\n\n",
            "data: \u{0}\n\n",
            "\u{feff}data: {}\n\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?} gave {:?}", parse(bad));
        }
        let mut parser = SseParser::default();
        parser.feed(b"data: \xff\n\n");
        assert!(parser.next_block().is_err());
    }

    proptest! {
        #[test]
        fn blocks_are_the_same_however_the_bytes_are_cut(cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let mut parser = SseParser::default();
            let mut found = Vec::new();
            for piece in cuts.windows(2) {
                parser.feed(&STREAM.as_bytes()[piece[0]..piece[1]]);
                while let Some(block) = parser.next_block().expect("the stream is good") {
                    found.push(block);
                }
            }
            prop_assert_eq!(found, blocks());
            prop_assert!(parser.rest().is_empty());
        }
    }
}
