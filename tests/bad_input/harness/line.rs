//! Bytes to and from the server, whatever is underneath.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::Answer;

/// Far more than anything takes that has no time of its own.
pub(crate) const SOON: Duration = Duration::from_secs(15);
/// Longest answer that is read.
const ANSWER_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A connection, or a stream of one.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<Io: AsyncRead + AsyncWrite + Send + Unpin> Duplex for Io {}

/// A connection that is written and read by hand.
pub(crate) struct Line {
    io: Box<dyn Duplex>,
    read: Vec<u8>,
}

impl Line {
    pub(crate) fn new(io: impl Duplex + 'static) -> Self {
        Self { io: Box::new(io), read: Vec::new() }
    }

    /// The stream underneath; nothing may have been read.
    pub(crate) fn into_io(self) -> Box<dyn Duplex> {
        assert!(self.read.is_empty());
        self.io
    }

    /// Writes as far as the other side lets it: what counts is what is read afterwards.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let writing = async {
            self.io.write_all(bytes.as_ref()).await?;
            self.io.flush().await
        };
        let _ = tokio::time::timeout(SOON, writing).await.expect("the bytes are taken or the line ends");
    }

    /// Reads one HTTP/1.1 answer, its body by `Content-Length`; of a chunked one only the head.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("").await
    }

    /// The same to this method: to a HEAD comes no body.
    pub(crate) async fn answer_to(&mut self, method: &str) -> Answer {
        match tokio::time::timeout(SOON, self.try_answer(method == "HEAD")).await.expect("an answer comes") {
            Ok(answer) => answer,
            Err(read) => panic!("the connection ended without an answer: {read:?}"),
        }
    }

    /// An answer, or what was read before the connection ended.
    async fn try_answer(&mut self, bodyless: bool) -> Result<Answer, String> {
        let head_end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill().await {
                return Err(String::from_utf8_lossy(&self.read).into_owned());
            }
        };
        let head = String::from_utf8(self.read.drain(..head_end).collect()).expect("a head is ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {head:?}"));
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: String::new() };
        let length = if bodyless { None } else { answer.header("content-length") };
        let length = length.map_or(0, |text| text.parse().expect("a number"));
        while self.read.len() < length {
            if !self.fill().await {
                return Err(format!("{answer:?}"));
            }
        }
        answer.body = String::from_utf8(self.read.drain(..length).collect()).expect("a body is UTF-8");
        Ok(answer)
    }

    /// Reads until this comes, and gives everything up to its end.
    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        String::from_utf8(self.read_bytes_until(text.as_bytes()).await).expect("it is UTF-8")
    }

    /// The same of what is no text.
    pub(crate) async fn read_bytes_until(&mut self, wanted: &[u8]) -> Vec<u8> {
        let reading = async {
            loop {
                if let Some(at) = find(&self.read, wanted) {
                    return self.read.drain(..at + wanted.len()).collect();
                }
                assert!(self.fill().await, "the line ended before {wanted:?}: {:?}", self.read);
            }
        };
        let read = tokio::time::timeout(SOON * 2, reading).await;
        read.unwrap_or_else(|_| panic!("{:?} comes", String::from_utf8_lossy(wanted)))
    }

    /// All that comes before the server closes, politely or by a reset.
    pub(crate) async fn read_to_end(&mut self, within: Duration) -> Vec<u8> {
        let closed = tokio::time::timeout(within, async { while self.fill().await {} }).await;
        closed.unwrap_or_else(|_| panic!("the server should close within {within:?}; {:?}", self.read));
        std::mem::take(&mut self.read)
    }

    /// What comes next; nothing at the end.
    pub(crate) async fn read_some(&mut self) -> Vec<u8> {
        self.fill().await;
        std::mem::take(&mut self.read)
    }

    /// Nothing more comes before the server closes.
    pub(crate) async fn is_closed(&mut self, within: Duration) {
        let rest = self.read_to_end(within).await;
        assert!(rest.is_empty(), "something came before the end: {:?}", String::from_utf8_lossy(&rest));
    }

    pub(super) fn unread(&mut self) -> &mut Vec<u8> {
        &mut self.read
    }

    /// Reads more; false at the end.
    pub(super) async fn fill(&mut self) -> bool {
        assert!(self.read.len() < ANSWER_MAX_BYTES, "more than {ANSWER_MAX_BYTES} bytes of an answer");
        let mut piece = [0; 4096];
        let count = self.io.read(&mut piece).await.unwrap_or(0);
        self.read.extend_from_slice(&piece[..count]);
        count > 0
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
