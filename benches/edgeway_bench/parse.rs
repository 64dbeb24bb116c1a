//! What a server sends, cut into events: as little of WebSocket, SSE and HTTP as the load generator needs.

use crate::plan::Carriage;

/// Cuts a stream of bytes into events; holds only what is incomplete.
pub(crate) struct Parser {
    carriage: Carriage,
    pending: Vec<u8>,
    /// The head of the answer has been read (of a poll: of each answer).
    headed: bool,
    deflate: Option<Box<flate2::Decompress>>,
    inflated: Vec<u8>,
    /// What is left of a stream whose chunks end wherever they like.
    unchunked: Vec<u8>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// The status line of a first answer.
    Head(&'a [u8]),
    /// One event, JSON. Of a poll: one answer's body, with all of its events; of Nchan's, its head, too.
    Event(&'a [u8]),
    /// A ping of WebSocket.
    Ping,
    /// The end, with its code (RFC 6455 §5.5.1); 0 if there is none.
    Close(u16),
}

impl Parser {
    pub(crate) fn new(carriage: Carriage) -> Self {
        let deflate = (carriage == Carriage::WsDeflate).then(|| Box::new(flate2::Decompress::new(false)));
        Self {
            carriage,
            pending: Vec::new(),
            headed: false,
            deflate,
            inflated: Vec::new(),
            unchunked: Vec::new(),
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Piece<'_>)) {
        if self.pending.is_empty() {
            let used = self.cut(bytes, &mut take);
            self.pending.extend_from_slice(&bytes[used..]);
            return;
        }
        let mut all = std::mem::take(&mut self.pending);
        all.extend_from_slice(bytes);
        let used = self.cut(&all, &mut take);
        all.drain(..used);
        if !all.is_empty() {
            self.pending = all;
        }
    }

    /// How much was used up.
    fn cut(&mut self, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> usize {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let cut = match self.carriage {
                _ if !self.headed => self.head(rest, take),
                Carriage::Ws | Carriage::SocketIo => frame(rest, take),
                Carriage::WsDeflate => self.deflated_frame(rest, take),
                Carriage::Centrifugo => frame(rest, &mut |piece| match piece {
                    Piece::Event(lines) => {
                        lines.split(|byte| *byte == b'\n').for_each(|line| take(Piece::Event(line)))
                    }
                    piece => take(piece),
                }),
                Carriage::Sse => event(rest, take),
                Carriage::CentrifugoSse => self.chunk(rest, take),
                Carriage::Poll | Carriage::NchanPoll => self.answer(rest, take),
            };
            match cut {
                Some(length) => used += length,
                None => return used,
            }
        }
    }

    fn head(&mut self, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> Option<usize> {
        let end = find(bytes, b"\r\n\r\n")? + 4;
        self.headed = true;
        take(Piece::Head(&bytes[..end]));
        // A poll's answer is cut with its head.
        Some(if matches!(self.carriage, Carriage::Poll | Carriage::NchanPoll) { 0 } else { end })
    }

    /// One chunk (RFC 9112 §7.1), and the events that are whole with it.
    fn chunk(&mut self, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> Option<usize> {
        let line = find(bytes, b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..line]).ok();
        let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
            take(Piece::Close(0));
            return Some(bytes.len());
        };
        let data = bytes.get(line + 2..line + 2 + size + 2)?;
        if size == 0 {
            take(Piece::Close(0));
        }
        self.unchunked.extend_from_slice(&data[..size]);
        let mut used = 0;
        while let Some(length) = event(&self.unchunked[used..], take) {
            used += length;
        }
        self.unchunked.drain(..used);
        Some(line + 2 + size + 2)
    }

    fn answer(&mut self, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> Option<usize> {
        let end = find(bytes, b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
        let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        let answer = bytes.get(..end + length)?;
        take(Piece::Event(if self.carriage == Carriage::NchanPoll { answer } else { &answer[end..] }));
        Some(end + length)
    }

    fn deflated_frame(&mut self, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> Option<usize> {
        let (start, length) = frame_bounds(bytes)?;
        if bytes[0] & 0x40 == 0 {
            return frame(bytes, take);
        }
        let inflate = self.deflate.as_mut()?;
        self.inflated.clear();
        self.inflated.reserve(64 * 1024);
        inflate.reset(false);
        let flush = flate2::FlushDecompress::None;
        let payload = bytes.get(start..start + length)?;
        let done = inflate.decompress_vec(payload, &mut self.inflated, flush).is_ok()
            && inflate.decompress_vec(&[0, 0, 0xff, 0xff], &mut self.inflated, flush).is_ok();
        take(if done { Piece::Event(&self.inflated) } else { Piece::Close(0) });
        Some(start + length)
    }
}

/// Where a frame's payload begins, and how long it is.
fn frame_bounds(bytes: &[u8]) -> Option<(usize, usize)> {
    let short = usize::from(*bytes.get(1)? & 0x7f);
    let (start, length) = match short {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, length),
    };
    (bytes.len() >= start + length).then_some((start, length))
}

fn frame(bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> Option<usize> {
    let (start, length) = frame_bounds(bytes)?;
    let payload = &bytes[start..start + length];
    match bytes[0] & 0x0f {
        1 => take(Piece::Event(payload)),
        8 => take(Piece::Close(match payload {
            [high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        })),
        9 => take(Piece::Ping),
        _ => {}
    }
    Some(start + length)
}

/// A chunk of HTTP holds whole events, so its size is one more line before them.
fn event(bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> Option<usize> {
    let end = find(bytes, b"\n\n")? + 2;
    if let Some(data) = find(&bytes[..end], b"data: ") {
        take(Piece::Event(&bytes[data + 6..end - 2]));
    }
    Some(end)
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The text of a member, `"name":"text"`.
pub(crate) fn member<'a>(json: &'a [u8], name: &str) -> Option<&'a str> {
    let start = find(json, format!("\"{name}\":\"").as_bytes())? + name.len() + 4;
    let length = json[start..].iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&json[start..start + length]).ok()
}

/// The digits after a mark.
pub(crate) fn number_after(json: &[u8], mark: &[u8]) -> Option<u64> {
    let start = find(json, mark)? + mark.len();
    let digits = json[start..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
