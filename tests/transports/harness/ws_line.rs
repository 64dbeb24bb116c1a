//! WebSocket, by tokio-tungstenite.

use std::fmt::Debug;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::attach::Attach;
use super::ending::Ended;
use super::json::strict;
use super::line::Heard;
use super::runner::within;
use super::transport::Transport;
use super::user::User;

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct WsLine {
    stream: WebSocketStream<TcpStream>,
    close: Option<u16>,
}

impl WsLine {
    /// Opens a WebSocket with an attach's parameters; nothing is awaited after the upgrade.
    ///
    /// # Errors
    /// The HTTP answer, if it wasn't an upgrade.
    pub(crate) async fn open(user: &User, attach: &Attach) -> Result<Self, Ended> {
        Self::open_with_headers(user, attach, &[]).await.map(|(line, _)| line)
    }

    /// The same with further headers, and with the answer to the upgrade.
    pub(crate) async fn open_with_headers(
        user: &User,
        attach: &Attach,
        further: &[(&'static str, &str)],
    ) -> Result<(Self, Response), Ended> {
        let address = user.stage().server().address();
        let path = attach.path_and_query(Transport::Ws.path(), &[]);
        let mut request = format!("ws://{address}{path}").into_client_request().expect("the URL is good");
        let own = attach.headers(user.token());
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(further.iter().copied()) {
            let value = HeaderValue::from_str(value).expect("the header's value is good");
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
        let tcp = within("a TCP connection", TcpStream::connect(address)).await;
        let broken = |e: &dyn Debug| Ended { note: format!("{path}: {e:?}"), ..Ended::default() };
        let tcp = tcp.map_err(|e| broken(&e))?;
        tcp.set_nodelay(true).expect("TCP_NODELAY can be set");
        match within("the WebSocket upgrade", tokio_tungstenite::client_async(request, tcp)).await {
            Ok((stream, response)) => Ok((Self { stream, close: None }, response)),
            Err(Error::Http(response)) => {
                let body =
                    String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
                Err(Ended {
                    status: Some(response.status().as_u16()),
                    error: strict(&body).ok(),
                    note: format!("the upgrade was refused: {body:?}"),
                    ..Ended::default()
                })
            }
            Err(e) => Err(broken(&e)),
        }
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            let note = match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame = strict(&text).unwrap_or_else(|e| panic!("every frame is strict JSON: {e}"));
                    return Heard::Frame(frame);
                }
                Some(Ok(Message::Close(frame))) => {
                    // The code is remembered; the end is when the connection is.
                    self.close = frame.map(|frame| frame.code.into());
                    continue;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(other)) => panic!("the server sends text frames only, not {other:?}"),
                Some(Err(e)) => format!("the connection broke: {e:?}"),
                None => "the connection ended".into(),
            };
            return Heard::Ended(Ended { close: self.close, note, ..Ended::default() });
        }
    }

    pub(crate) async fn send(&mut self, message: Message) {
        if let Err(e) = self.try_send(message).await {
            panic!("a frame could not be sent: {e:?}; {:?}", self.hear().await);
        }
    }

    /// The same where the connection may just have been closed: then that is what is heard next.
    ///
    /// # Errors
    /// What broke.
    pub(crate) async fn try_send(&mut self, message: Message) -> Result<(), Error> {
        within("a frame to be sent", self.stream.send(message)).await
    }

    /// Sends an object as a text frame.
    pub(crate) async fn send_json(&mut self, object: &Value) {
        self.send(Message::text(object.to_string())).await;
    }

    /// Sends an object as a text frame. Returns whether it could be: the line may be at its end.
    pub(crate) async fn try_send_json(&mut self, object: &Value) -> bool {
        within("a frame to be sent", self.stream.send(Message::text(object.to_string()))).await.is_ok()
    }

    /// Begins the closing handshake (RFC 6455 §7.1.2) without a code.
    pub(crate) async fn close(&mut self) {
        let closing = within("the close frame to be sent", self.stream.close(None)).await;
        closing.unwrap_or_else(|e| panic!("the close frame could not be sent: {e:?}"));
    }

    /// Waits for a control frame of the server: a ping's payload.
    pub(crate) async fn hear_ping(&mut self) -> Vec<u8> {
        within("a protocol ping", async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Ping(payload))) => return payload.to_vec(),
                    Some(Ok(_)) => {}
                    end => panic!("the connection ended before a ping: {end:?}"),
                }
            }
        })
        .await
    }

    /// The bare socket, to write what no WebSocket library would.
    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }
}
