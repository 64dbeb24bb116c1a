//! What a simulated client does.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use crate::centrifugo;
use crate::parse::find;

/// How a session travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Carriage {
    Ws,
    /// With permessage-deflate.
    WsDeflate,
    Sse,
    Poll,
    /// Engine.IO 4 and Socket.IO 5 over WebSocket.
    SocketIo,
    /// Nchan's, whose place in a channel is in the headers of an answer.
    NchanPoll,
    /// Centrifugo's bidirectional protocol, JSON over WebSocket.
    Centrifugo,
    /// Centrifugo's unidirectional protocol.
    CentrifugoSse,
}

impl Carriage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ws | Self::SocketIo | Self::Centrifugo => "ws",
            Self::WsDeflate => "ws+deflate",
            Self::Sse | Self::CentrifugoSse => "sse",
            Self::Poll | Self::NchanPoll => "poll",
        }
    }

    /// How the floor does the same.
    pub(crate) fn of_floor(self) -> Self {
        match self {
            Self::SocketIo | Self::Centrifugo => Self::Ws,
            Self::CentrifugoSse => Self::Sse,
            Self::NchanPoll => Self::Poll,
            Self::Ws | Self::WsDeflate | Self::Sse | Self::Poll => self,
        }
    }
}

/// One client.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) carriage: Carriage,
    pub(crate) server: SocketAddr,
    /// Names the client, and picks the loopback address that it comes from.
    pub(crate) number: usize,
    pub(crate) token: Option<Arc<str>>,
    /// Which dialogs it follows: `d` and each of these numbers.
    pub(crate) dialogs: Range<usize>,
    /// The session to go on with, and its cursor.
    pub(crate) resume: Option<(String, String)>,
}

/// So many connections come from one loopback address: ephemeral ports are not endless.
const CONNECTIONS_PER_ADDRESS: usize = 500;

impl Plan {
    pub(crate) fn source(&self) -> Ipv4Addr {
        let block = self.number / CONNECTIONS_PER_ADDRESS;
        Ipv4Addr::new(127, 0, (block / 250) as u8, (block % 250 + 2) as u8)
    }

    /// The channel of Centrifugo that it follows.
    pub(crate) fn channel(&self) -> String {
        centrifugo::channel(self.dialogs.clone().next())
    }

    /// The poll of Nchan that goes on after an answer.
    pub(crate) fn next_nchan_poll(&self, answer: &[u8]) -> Option<String> {
        let end = find(answer, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&answer[..end]).ok()?;
        let header = |name: &str| {
            let mut headers = head.split("\r\n").filter_map(|line| line.split_once(": "));
            headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let (modified, tag) = (header("last-modified")?, header("etag")?);
        let first = self.request();
        let request = first.strip_suffix("\r\n")?;
        Some(format!("{request}If-Modified-Since: {modified}\r\nIf-None-Match: {tag}\r\n\r\n"))
    }

    /// The request that opens the connection; of a poll, the first one.
    pub(crate) fn request(&self) -> String {
        let mut query = Vec::new();
        match &self.resume {
            Some((session, cursor)) => query.push(format!("session={session}&cursor={cursor}")),
            None if self.dialogs.is_empty() => {}
            None => {
                let names: Vec<_> = self.dialogs.clone().map(|dialog| format!("d{dialog}")).collect();
                query.push(format!("dialogs={}", names.join(",")));
            }
        }
        if self.carriage == Carriage::SocketIo {
            query.push("EIO=4&transport=websocket".to_owned());
        }
        if self.carriage == Carriage::CentrifugoSse {
            query = vec![centrifugo::query(&self.channel())];
        }
        if self.carriage == Carriage::Poll {
            query.push("wait_ms=55000".to_owned());
        }
        let path = match self.carriage {
            Carriage::Ws | Carriage::WsDeflate => "/v1/ws",
            Carriage::Sse => "/v1/sse",
            Carriage::Poll | Carriage::NchanPoll => "/v1/poll",
            Carriage::SocketIo => "/socket.io/",
            Carriage::Centrifugo => "/connection/websocket",
            Carriage::CentrifugoSse => "/connection/uni_sse",
        };
        let mut text = format!("GET {path}?{} HTTP/1.1\r\nHost: {}\r\n", query.join("&"), self.server);
        if let Some(token) = &self.token {
            text.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        match self.carriage {
            Carriage::Ws | Carriage::WsDeflate | Carriage::SocketIo | Carriage::Centrifugo => text.push_str(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            ),
            Carriage::Sse | Carriage::CentrifugoSse => text.push_str("Accept: text/event-stream\r\n"),
            Carriage::Poll | Carriage::NchanPoll => {}
        }
        if self.carriage == Carriage::WsDeflate {
            text.push_str(
                "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; \
                 server_no_context_takeover\r\n",
            );
        }
        text.push_str("\r\n");
        text
    }
}
