//! Bytes in, messages out: decodes what a client sends, strictly, and assembles fragments (RFC 6455 §5).

use bytes::Bytes;

use super::close::{CloseFrame, MESSAGE_TOO_BIG, POLICY_VIOLATION, UNSUPPORTED_DATA, Violation};
use super::deflate;
use super::flood::PingAllowance;
use super::frame::{Header, Opcode, PartialHeader, unmask};
use crate::domain::time::Tick;

/// Most fragments that a message may come in, unless [`MessageLimits`] say otherwise.
pub const MESSAGE_MAX_FRAGMENTS: u32 = 64;

/// How much a client may put into one message. Beyond it the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// Payload over all fragments; of a compressed message before it is inflated, and after. Beyond: 1009.
    pub bytes: u32,
    /// In how many fragments it may come. Beyond: 1008.
    pub fragments: u32,
}

impl MessageLimits {
    /// So many bytes, in [`MESSAGE_MAX_FRAGMENTS`] at the most.
    #[must_use]
    pub const fn of_bytes(bytes: u32) -> Self {
        Self { bytes, fragments: MESSAGE_MAX_FRAGMENTS }
    }
}

/// What a client has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A whole text message, from however many fragments.
    Text(String),
    /// A ping with its payload.
    Ping(Bytes),
    /// A pong with its payload, asked for or not.
    Pong(Bytes),
    /// The last that is heard of this client.
    Close(CloseFrame),
}

/// The decoding half of a connection. It holds no buffer while nothing is half received, and never takes memory on the
/// word of a header: it grows with what has arrived.
#[derive(Debug)]
pub struct Decoder {
    limits: MessageLimits,
    /// permessage-deflate has been negotiated.
    inflates: bool,
    pings: PingAllowance,
    /// What has come of a message, or of a frame's header, while the rest has not.
    begun: Option<Box<Begun>>,
}

/// A message that is half received, or nothing yet.
#[derive(Debug, Default)]
struct Begun {
    header: PartialHeader,
    frame: Option<Frame>,
    fragments: u32,
    /// The message is compressed.
    compressed: bool,
    /// The text so far.
    message: Vec<u8>,
    /// How much of `message` is known to be UTF-8.
    checked_bytes: u32,
    /// The payload so far of a control frame, which may come in the middle of a message.
    control: Vec<u8>,
}

/// A frame whose header is here and whose payload isn't, or not all of it.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    mask: [u8; 4],
    missing_bytes: u32,
}

impl Decoder {
    /// A decoder for a fresh connection.
    #[must_use]
    pub fn new(limits: MessageLimits) -> Self {
        Self { limits, inflates: false, pings: PingAllowance::default(), begun: None }
    }

    /// From here on messages may be compressed.
    pub fn inflate(&mut self) {
        self.inflates = true;
    }

    /// Takes bytes off the input until one message is complete. `None`: the input is used up.
    ///
    /// # Errors
    /// The rule that was broken. The decoder is of no use afterwards.
    pub fn decode(&mut self, input: &mut &[u8], now: Tick) -> Result<Option<Incoming>, Violation> {
        let mut begun = self.begun.take().map_or_else(Begun::default, |begun| *begun);
        let decoded = self.go_on(&mut begun, input, now);
        if !begun.is_nothing() {
            self.begun = Some(Box::new(begun));
        }
        decoded
    }

    fn go_on(
        &mut self,
        begun: &mut Begun,
        input: &mut &[u8],
        now: Tick,
    ) -> Result<Option<Incoming>, Violation> {
        loop {
            let mut frame = match begun.frame.take() {
                Some(frame) => frame,
                None => match begun.header.read(input, self.inflates)? {
                    Some(header) => {
                        if header.opcode == Opcode::Ping && !self.pings.take(now) {
                            return Err(Violation { close_code: POLICY_VIOLATION, reason: "too many pings" });
                        }
                        begun.begin(header, self.limits)?
                    }
                    None => return Ok(None),
                },
            };
            begun.take_payload(&mut frame, input)?;
            if frame.missing_bytes > 0 {
                begun.frame = Some(frame);
                return Ok(None);
            }
            if let Some(incoming) = begun.finish(frame, self.limits)? {
                return Ok(Some(incoming));
            }
        }
    }
}

impl Begun {
    /// Whether there is nothing to be kept until more comes.
    fn is_nothing(&self) -> bool {
        self.frame.is_none() && self.fragments == 0 && self.header.is_empty()
    }

    /// Checks what depends on the frames before this one, and all limits: by the claim alone, before any payload.
    fn begin(&mut self, header: Header, limits: MessageLimits) -> Result<Frame, Violation> {
        let Header { fin, opcode, compressed, payload_bytes, mask } = header;
        let mut before = 0;
        match opcode {
            Opcode::Text | Opcode::Binary if self.fragments > 0 => {
                return Err(Violation::protocol("a new message inside a fragmented one"));
            }
            Opcode::Binary => {
                return Err(Violation {
                    close_code: UNSUPPORTED_DATA,
                    reason: "binary messages are not taken",
                });
            }
            Opcode::Continuation if self.fragments == 0 => {
                return Err(Violation::protocol("a continuation of nothing"));
            }
            Opcode::Text | Opcode::Continuation => {
                if self.fragments == limits.fragments {
                    return Err(Violation { close_code: POLICY_VIOLATION, reason: "too many fragments" });
                }
                self.compressed |= compressed;
                self.fragments += 1;
                before = self.message.len() as u64;
            }
            Opcode::Close if payload_bytes == 1 => return Err(Violation::protocol("half a close code")),
            Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
        let missing_bytes = match u32::try_from(payload_bytes) {
            Ok(bytes) if opcode.is_control() => bytes,
            Ok(bytes) if before + payload_bytes <= u64::from(limits.bytes) => bytes,
            _ => return Err(Violation { close_code: MESSAGE_TOO_BIG, reason: "a message is too big" }),
        };
        Ok(Frame { opcode, fin, mask, missing_bytes })
    }

    fn take_payload(&mut self, frame: &mut Frame, input: &mut &[u8]) -> Result<(), Violation> {
        let (taken, rest) = input.split_at(input.len().min(frame.missing_bytes as usize));
        *input = rest;
        let payload = if frame.opcode.is_control() { &mut self.control } else { &mut self.message };
        let start = payload.len();
        payload.extend_from_slice(taken);
        unmask(&mut payload[start..], &mut frame.mask);
        frame.missing_bytes -= taken.len() as u32;
        let message_goes_on = !frame.opcode.is_control() && (frame.missing_bytes > 0 || !frame.fin);
        if message_goes_on && !self.compressed { self.check_text_so_far() } else { Ok(()) }
    }

    /// Fails at the first byte that no later one can make good, instead of waiting for the message's end.
    fn check_text_so_far(&mut self) -> Result<(), Violation> {
        let good = match std::str::from_utf8(&self.message[self.checked_bytes as usize..]) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(Violation::invalid_text()),
        };
        self.checked_bytes += good as u32;
        Ok(())
    }

    fn finish(&mut self, frame: Frame, limits: MessageLimits) -> Result<Option<Incoming>, Violation> {
        Ok(Some(match frame.opcode {
            Opcode::Ping => Incoming::Ping(std::mem::take(&mut self.control).into()),
            Opcode::Pong => Incoming::Pong(std::mem::take(&mut self.control).into()),
            Opcode::Close => Incoming::Close(CloseFrame::parse(&std::mem::take(&mut self.control))?),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                if !frame.fin {
                    return Ok(None);
                }
                self.fragments = 0;
                self.checked_bytes = 0;
                let mut message = std::mem::take(&mut self.message);
                if std::mem::take(&mut self.compressed) {
                    message = deflate::inflate(&message, limits.bytes as usize)?;
                }
                let text = String::from_utf8(message);
                Incoming::Text(text.map_err(|_| Violation::invalid_text())?)
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::adapters::inbound::websocket::client_frames::{client_frame, raw_frame};

    const LIMIT: MessageLimits = MessageLimits::of_bytes(1_000);
    const NOW: Tick = Tick(0);

    fn decode_all(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Incoming>, Violation> {
        let mut input = bytes;
        let mut all = Vec::new();
        while let Some(incoming) = decoder.decode(&mut input, NOW)? {
            all.push(incoming);
        }
        assert!(input.is_empty());
        Ok(all)
    }

    /// The close code that a byte stream earns, fed byte by byte, and after how many bytes.
    fn violation(bytes: &[u8]) -> (u16, usize) {
        let mut decoder = Decoder::new(LIMIT);
        for (i, byte) in bytes.iter().enumerate() {
            match decoder.decode(&mut [*byte].as_slice(), NOW) {
                Ok(_) => {}
                Err(violation) => return (violation.close_code, i + 1),
            }
        }
        panic!("no violation");
    }

    fn text(text: &str) -> Incoming {
        Incoming::Text(text.to_owned())
    }

    #[test]
    fn fragments_become_one_message_and_control_frames_may_come_between_them() {
        let stream = [
            client_frame(false, Opcode::Text, "gr\u{fc}".as_bytes().split_last().unwrap().1),
            client_frame(true, Opcode::Ping, b"in between"),
            client_frame(false, Opcode::Continuation, b""),
            client_frame(true, Opcode::Pong, b""),
            client_frame(true, Opcode::Continuation, b"\xbc\xc3\x9fe"),
            client_frame(true, Opcode::Text, b""),
            client_frame(true, Opcode::Close, b"\x03\xe8bye"),
        ];
        assert_eq!(
            decode_all(&mut Decoder::new(LIMIT), &stream.concat()).unwrap(),
            [
                Incoming::Ping("in between".into()),
                Incoming::Pong(Bytes::new()),
                text("grüße"),
                text(""),
                Incoming::Close(CloseFrame { code: Some(1000), reason: "bye".into() }),
            ]
        );
    }

    #[test]
    fn every_broken_rule_has_its_close_code_and_is_seen_at_the_earliest_byte() {
        let masked = 0x80u8;
        let begun = client_frame(false, Opcode::Text, b"begun");
        let claim = |length: u64| [&[0x81, masked | 127][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat();
        let cases: Vec<(&str, Vec<u8>, (u16, usize))> = vec![
            ("not masked", vec![0x81, 5], (1002, 2)),
            ("RSV1", vec![0xc1, masked], (1002, 2)),
            ("RSV2", vec![0xa1, masked], (1002, 2)),
            ("RSV3", vec![0x91, masked], (1002, 2)),
            ("RSV on a control frame", vec![0xc9, masked], (1002, 2)),
            ("data opcode 3", vec![0x83, masked], (1002, 2)),
            ("data opcode 7", vec![0x87, masked], (1002, 2)),
            ("control opcode 11", vec![0x8b, masked], (1002, 2)),
            ("control opcode 15", vec![0x8f, masked], (1002, 2)),
            ("fragmented ping", vec![0x09, masked], (1002, 2)),
            ("fragmented close", vec![0x08, masked], (1002, 2)),
            ("ping of 126 bytes", vec![0x89, masked | 126], (1002, 2)),
            ("close with a 64-bit length", vec![0x88, masked | 127], (1002, 2)),
            ("125 in 16 bits", vec![0x81, masked | 126, 0, 125, 1, 2, 3, 4], (1002, 8)),
            ("65,535 in 64 bits", claim(65_535), (1002, 14)),
            ("highest bit of the length", claim(1 << 63), (1002, 14)),
            ("2^62 bytes", claim(1 << 62), (1009, 14)),
            ("2^32 bytes", claim(1 << 32), (1009, 14)),
            ("one byte over the limit", vec![0x81, masked | 126, 3, 0xe9, 1, 2, 3, 4], (1009, 8)),
            (
                "one byte over the limit over all fragments",
                [&begun[..], &[0x80, masked | 126, 3, 0xe4, 1, 2, 3, 4]].concat(),
                (1009, begun.len() + 8),
            ),
            ("continuation of nothing", vec![0x80, masked, 1, 2, 3, 4], (1002, 6)),
            ("last continuation of nothing", vec![0x00, masked, 1, 2, 3, 4], (1002, 6)),
            (
                "new text inside a message",
                [&begun[..], &[0x81, masked, 1, 2, 3, 4]].concat(),
                (1002, begun.len() + 6),
            ),
            (
                "binary inside a message",
                [&begun[..], &[0x82, masked, 1, 2, 3, 4]].concat(),
                (1002, begun.len() + 6),
            ),
            ("binary", vec![0x82, masked | 5, 1, 2, 3, 4], (1003, 6)),
            ("a binary fragment", vec![0x02, masked | 5, 1, 2, 3, 4], (1003, 6)),
            ("half a close code", vec![0x88, masked | 1, 1, 2, 3, 4], (1002, 6)),
            ("close code 1005", client_frame(true, Opcode::Close, &1005u16.to_be_bytes()), (1002, 8)),
            ("close reason not UTF-8", client_frame(true, Opcode::Close, b"\x03\xe8\xff"), (1007, 9)),
            ("not UTF-8", client_frame(true, Opcode::Text, b"ab\xff"), (1007, 9)),
            ("not UTF-8 in the middle", client_frame(true, Opcode::Text, b"ab\xffcd"), (1007, 9)),
            ("a surrogate", client_frame(true, Opcode::Text, b"\xed\xa0\x80"), (1007, 8)),
            ("beyond U+10FFFF", client_frame(true, Opcode::Text, b"\xf4\x90\x80\x80"), (1007, 8)),
            ("overlong", client_frame(true, Opcode::Text, b"\xc0\xaf"), (1007, 7)),
            ("ends inside a character", client_frame(true, Opcode::Text, b"\xe2\x82"), (1007, 8)),
            (
                "ends inside a character, by an empty fragment",
                [
                    client_frame(false, Opcode::Text, b"\xe2\x82"),
                    client_frame(true, Opcode::Continuation, b""),
                ]
                .concat(),
                (1007, 14),
            ),
            (
                "65 fragments",
                [
                    client_frame(false, Opcode::Text, b""),
                    client_frame(false, Opcode::Continuation, b"").repeat(64),
                ]
                .concat(),
                (1008, 65 * 6),
            ),
            ("21 pings at once", client_frame(true, Opcode::Ping, b"").repeat(21), (1008, 21 * 6)),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(violation(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn the_largest_of_everything_is_taken() {
        let long = "x".repeat(LIMIT.bytes as usize);
        let stream = [
            client_frame(true, Opcode::Text, long.as_bytes()),
            client_frame(true, Opcode::Ping, &[7; 125]),
            client_frame(false, Opcode::Text, b"1"),
            client_frame(false, Opcode::Continuation, b"2").repeat(62),
            client_frame(true, Opcode::Continuation, b"3"),
        ]
        .concat();
        let all = decode_all(&mut Decoder::new(LIMIT), &stream).unwrap();
        assert_eq!(
            all,
            [text(&long), Incoming::Ping(vec![7; 125].into()), text(&format!("1{}3", "2".repeat(62)))]
        );
    }

    #[test]
    fn nothing_is_held_once_a_message_is_complete() {
        let mut decoder = Decoder::new(LIMIT);
        let stream =
            [client_frame(true, Opcode::Text, &[b'x'; 900]), client_frame(true, Opcode::Ping, b"ping")];
        decode_all(&mut decoder, &stream.concat()).unwrap();
        assert!(decoder.begun.is_none());
    }

    #[test]
    fn memory_is_not_taken_on_the_word_of_a_header() {
        let mut decoder = Decoder::new(MessageLimits::of_bytes(u32::MAX));
        let mut input: &[u8] = &[0x81, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 1, 2, 3, 4, b'x' ^ 1];
        assert_eq!(decoder.decode(&mut input, NOW), Ok(None));
        assert!(decoder.begun.unwrap().message.capacity() < 64);
    }

    #[test]
    fn a_compressed_message_is_inflated_and_the_limit_holds_for_what_comes_out() {
        let json = "{\"type\":\"ping\"}".repeat(50);
        let packed = deflate::deflate(json.as_bytes()).unwrap();
        let (head, tail) = packed.split_at(packed.len() / 2);
        let mut first = client_frame(false, Opcode::Text, head);
        first[0] |= 0x40;
        let stream = [
            first,
            client_frame(true, Opcode::Ping, b""),
            client_frame(true, Opcode::Continuation, tail),
            client_frame(true, Opcode::Text, b"plain"),
        ];
        let mut decoder = Decoder::new(LIMIT);
        decoder.inflate();
        let all = decode_all(&mut decoder, &stream.concat()).unwrap();
        assert_eq!(all, [Incoming::Ping(Bytes::new()), text(&json), text("plain")]);

        let mut bomb = client_frame(true, Opcode::Text, &deflate::deflate(&[b' '; 100_000]).unwrap());
        bomb[0] |= 0x40;
        let mut decoder = Decoder::new(LIMIT);
        decoder.inflate();
        assert_eq!(decode_all(&mut decoder, &bomb).unwrap_err().close_code, 1009);
    }

    #[test]
    fn only_the_first_frame_of_a_message_may_say_that_it_is_compressed() {
        let begun = client_frame(false, Opcode::Text, b"");
        let marked = |opcode| {
            let mut frame = client_frame(true, opcode, b"");
            frame[0] |= 0x40;
            frame
        };
        for stream in [marked(Opcode::Ping), [begun, marked(Opcode::Continuation)].concat()] {
            let mut decoder = Decoder::new(LIMIT);
            decoder.inflate();
            assert_eq!(decode_all(&mut decoder, &stream).unwrap_err().close_code, 1002);
        }
    }

    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let control = (8u8..=10, proptest::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(bits, payload)| raw_frame(0x80 | bits, &payload));
        let whole = "\\PC{0,300}".prop_map(|text| client_frame(true, Opcode::Text, text.as_bytes()));
        let fragmented = ("\\PC{0,60}", 0usize..60, any::<bool>()).prop_map(|(text, cut, ping)| {
            let (head, tail) = text.as_bytes().split_at(cut.min(text.len()));
            let ping = if ping { client_frame(true, Opcode::Ping, b"?") } else { Vec::new() };
            [client_frame(false, Opcode::Text, head), ping, client_frame(true, Opcode::Continuation, tail)]
                .concat()
        });
        let anything = proptest::collection::vec(any::<u8>(), 0..30);
        let frame = prop_oneof![4 => whole, 4 => fragmented, 1 => control, 1 => anything];
        proptest::collection::vec(frame, 0..12).prop_map(|frames| frames.concat())
    }

    /// Everything that a stream says until it ends or breaks a rule.
    fn outcome<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Incoming>, Option<u16>) {
        let mut decoder = Decoder::new(LIMIT);
        let mut all = Vec::new();
        for mut piece in pieces {
            loop {
                match decoder.decode(&mut piece, NOW) {
                    Ok(Some(incoming)) => all.push(incoming),
                    Ok(None) => break,
                    Err(violation) => return (all, Some(violation.close_code)),
                }
            }
        }
        (all, None)
    }

    proptest! {
        #[test]
        fn however_the_stream_is_split_the_messages_are_the_same(
            stream in frames(),
            sizes in proptest::collection::vec(1usize..40, 1..20),
        ) {
            let mut rest = stream.as_slice();
            let mut sizes = sizes.iter().cycle();
            let split = outcome(std::iter::from_fn(|| {
                let (piece, tail) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                rest = tail;
                (!piece.is_empty()).then_some(piece)
            }));
            prop_assert_eq!(&split, &outcome(std::iter::once(stream.as_slice())));
            prop_assert_eq!(&split, &outcome(stream.chunks(1)));
        }
    }
}
