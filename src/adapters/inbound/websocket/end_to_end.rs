//! An echo server over real sockets and hyper, against tokio-tungstenite and against bare bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming as Body;
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Message, Role};
use tokio_util::task::TaskTracker;

use super::client_frames::client_frame;
use super::frame::Opcode;
use super::handshake::{Accepted, accept};
use super::reader::{Incoming, MessageLimits};
use super::socket::{Event, SocketError, WebSocket};
use crate::adapters::inbound::listener::transport::Transport;
use crate::domain::time::Tick;

const NOW: Tick = Tick(0);
const LIMITS: MessageLimits = MessageLimits::of_bytes(64 * 1024);
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
const FLOOD_MESSAGES: usize = 2_000;
const FLOOD_PAYLOAD_BYTES: usize = 5_000;

/// How the listener hands connections to hyper.
#[derive(Clone, Copy)]
enum Served {
    Http1,
    Auto,
    Http2,
}

/// Echoes; some texts ask for more than that.
async fn echo(mut socket: WebSocket<Transport>) {
    let flood = Bytes::from("f".repeat(FLOOD_PAYLOAD_BYTES));
    let mut flood_left = 0;
    let (code, reason) = loop {
        while flood_left > 0 && socket.has_room() {
            socket.feed_text(format!("{flood_left:08}").as_bytes(), flood.clone());
            flood_left -= 1;
        }
        match socket.event(NOW).await {
            Some(Ok(Event::Received(Incoming::Text(text)))) => match text.as_str() {
                "close" => break (4009, "superseded"),
                "ping" => socket.feed_ping(b"are you there?"),
                "flood" => flood_left = FLOOD_MESSAGES,
                "transport" => match socket.connection() {
                    Transport::Bare(_) => socket.feed_text(b"bare", Bytes::new()),
                    Transport::Upgraded(_) => socket.feed_text(b"upgraded", Bytes::new()),
                    Transport::Tls(_) => socket.feed_text(b"TLS", Bytes::new()),
                },
                _ => socket.feed_text(b"> ", text.into()),
            },
            Some(Ok(Event::Received(Incoming::Pong(payload)))) => socket.feed_text(b"pong: ", payload),
            Some(Ok(_)) => {}
            Some(Err(SocketError::Violation(violation))) => break (violation.close_code, violation.reason),
            Some(Err(SocketError::Io(_))) => return,
            None => break (1000, ""),
        }
    };
    socket.close(code, reason, CLOSE_LIMIT).await;
}

async fn answer(
    tasks: TaskTracker,
    mut request: Request<Body>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    Ok(match accept(&mut request, "edgeway.v1") {
        Ok(Accepted { response, upgrade, .. }) => {
            tasks.spawn(async move {
                let (stream, read_ahead) = upgrade.connection().await.unwrap();
                echo(WebSocket::new(stream, read_ahead, LIMITS)).await;
            });
            response.map(|()| Empty::new())
        }
        Err(error) => {
            let mut response = Response::new(Empty::new());
            *response.status_mut() = error.status();
            *response.headers_mut() = error.headers();
            response
        }
    })
}

/// A server that ends with the test's runtime.
async fn serve(served: Served) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let io = TokioIo::new(stream);
            let for_requests = tasks.clone();
            let service = service_fn(move |request| answer(for_requests.clone(), request));
            tasks.spawn(async move {
                let _ = match served {
                    Served::Http1 => hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .with_upgrades()
                        .await
                        .map_err(Into::into),
                    Served::Auto => {
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                            .serve_connection_with_upgrades(io, service)
                            .await
                    }
                    Served::Http2 => hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .enable_connect_protocol()
                        .serve_connection(io, service)
                        .await
                        .map_err(Into::into),
                };
            });
        }
    });
    address
}

async fn connect(served: Served) -> WebSocketStream<TcpStream> {
    let address = serve(served).await;
    let mut request = format!("ws://{address}/v1/ws").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "edgeway.v1".parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "edgeway.v1");
    client
}

const UPGRADE: &[u8] = b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Sends the request and whatever follows in one go; all that comes back after the response head, up to the end.
async fn exchange(after_request: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = TcpStream::connect(serve(Served::Http1).await).await.unwrap().into_split();
    let sent = [UPGRADE, after_request].concat();
    let mut received = Vec::new();
    // The server may stop reading; what counts is what it says.
    let (_, read) = tokio::join!(write.write_all(&sent), read.read_to_end(&mut received));
    read.expect("no reset");
    let head = received.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(received.starts_with(b"HTTP/1.1 101 "));
    received.split_off(head)
}

async fn next<S>(client: &mut WebSocketStream<S>) -> Message
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    client.next().await.unwrap().unwrap()
}

/// What every connection must be able to do, whatever lies under it.
async fn converse<S>(client: &mut WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    for bytes in [0, 1, 125, 126, 511, 512, 16_384, 65_535, 65_536] {
        let text = "é".repeat(bytes / 2) + &"x".repeat(bytes % 2);
        client.send(Message::text(text.clone())).await.unwrap();
        assert_eq!(next(client).await, Message::text(format!("> {text}")));
    }

    let fragment = |text: &'static str, data, last| {
        Message::Frame(Frame::message(text.as_bytes(), OpCode::Data(data), last))
    };
    client.feed(fragment("one, ", Data::Text, false)).await.unwrap();
    client.feed(Message::Ping("in between".into())).await.unwrap();
    client.feed(fragment("two, ", Data::Continue, false)).await.unwrap();
    client.send(fragment("three", Data::Continue, true)).await.unwrap();
    assert_eq!(next(client).await, Message::Pong("in between".into()));
    assert_eq!(next(client).await, Message::text("> one, two, three"));

    client.send(Message::text("ping")).await.unwrap();
    assert_eq!(next(client).await, Message::Ping("are you there?".into()));
    client.flush().await.unwrap();
    assert_eq!(next(client).await, Message::text("pong: are you there?"));

    // The client doesn't read while it sends: the server has to wait in the middle of frames, and to read all the same.
    client.send(Message::text("flood")).await.unwrap();
    client.send(Message::text("meanwhile")).await.unwrap();
    tokio::task::yield_now().await;
    let mut flood_left = FLOOD_MESSAGES;
    let mut meanwhile = false;
    while flood_left > 0 || !meanwhile {
        let Message::Text(text) = next(client).await else { panic!("not a text") };
        if text == "> meanwhile" {
            meanwhile = true;
        } else {
            assert_eq!(text.len(), 8 + FLOOD_PAYLOAD_BYTES);
            assert_eq!(text[..8].parse(), Ok(flood_left));
            flood_left -= 1;
        }
    }
}

#[tokio::test]
async fn a_client_converses_over_http_1() {
    converse(&mut connect(Served::Http1).await).await;
}

#[tokio::test]
async fn a_client_converses_over_http_2() {
    let stream = TcpStream::connect(serve(Served::Http2).await).await.unwrap();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(connection);

    // An ordinary request first: by its answer the server's settings have come as well.
    let ordinary = Request::get("http://localhost/v1/ws").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(send.send_request(ordinary).await.unwrap().status(), 400);

    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = "http://localhost/v1/ws".parse().unwrap();
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    request.headers_mut().insert("sec-websocket-protocol", "edgeway.v1".parse().unwrap());
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let response = send.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "edgeway.v1");
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut client = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;

    converse(&mut client).await;
    client.send(Message::text("transport")).await.unwrap();
    assert_eq!(next(&mut client).await, Message::text("upgraded"));
    client.send(Message::text("close")).await.unwrap();
    let superseded = CloseFrame { code: CloseCode::Library(4009), reason: "superseded".into() };
    assert_eq!(next(&mut client).await, Message::Close(Some(superseded)));
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn the_bare_stream_is_found_under_both_of_hypers_servers() {
    for served in [Served::Http1, Served::Auto] {
        let mut client = connect(served).await;
        client.send(Message::text("transport")).await.unwrap();
        assert_eq!(next(&mut client).await, Message::text("bare"));
    }
}

#[tokio::test]
async fn a_frame_that_comes_with_the_request_is_not_lost() {
    let frames =
        [client_frame(true, Opcode::Text, b"early"), client_frame(true, Opcode::Close, b"")].concat();
    assert_eq!(exchange(&frames).await, b"\x81\x07> early\x88\x00");
}

#[tokio::test]
async fn the_clients_close_is_echoed_and_ends_the_connection() {
    let mut client = connect(Served::Http1).await;
    let going = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
    client.close(Some(going)).await.unwrap();
    let echoed = CloseFrame { code: CloseCode::Away, reason: "".into() };
    assert_eq!(next(&mut client).await, Message::Close(Some(echoed)));
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn the_servers_close_arrives_with_its_reason_and_ends_the_connection() {
    let mut client = connect(Served::Http1).await;
    client.send(Message::text("close")).await.unwrap();
    client.send(Message::text("too late")).await.unwrap();
    let superseded = CloseFrame { code: CloseCode::Library(4009), reason: "superseded".into() };
    assert_eq!(next(&mut client).await, Message::Close(Some(superseded)));
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn a_client_that_breaks_a_rule_gets_to_see_the_close_code_though_it_goes_on_sending() {
    let much_more = vec![0x55; 700_000];
    for (name, bytes, code) in [
        ("not masked", b"\x81\x05hello".to_vec(), 1002u16),
        ("binary", client_frame(true, Opcode::Binary, b"bytes"), 1003),
        ("not UTF-8", client_frame(true, Opcode::Text, b"\xff\xff"), 1007),
        ("a message inside another", client_frame(false, Opcode::Text, b"").repeat(2), 1002),
        (
            "65 fragments",
            [
                client_frame(false, Opcode::Text, b""),
                client_frame(false, Opcode::Continuation, b"").repeat(64),
            ]
            .concat(),
            1008,
        ),
        ("ping flood", client_frame(true, Opcode::Ping, b"").repeat(21), 1008),
        ("too big", client_frame(true, Opcode::Text, &[b'x'; LIMITS.bytes as usize + 1]), 1009),
        ("claims 2^62 bytes", [&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0], &[0u8; 4][..]].concat(), 1009),
    ] {
        let received = exchange(&[bytes, much_more.clone()].concat()).await;
        let close = received.iter().position(|byte| *byte == 0x88).expect(name);
        assert_eq!(received[close + 2..close + 4], code.to_be_bytes(), "{name}");
        assert_eq!(
            received.len(),
            close + 2 + usize::from(received[close + 1]),
            "{name}: close is the last frame"
        );
    }
}

#[tokio::test]
async fn a_wrong_version_is_told_the_right_one() {
    let mut stream = TcpStream::connect(serve(Served::Http1).await).await.unwrap();
    let request = String::from_utf8_lossy(UPGRADE).replace("Version: 13", "Version: 12");
    stream
        .write_all(request.replace("Connection: Upgrade", "Connection: Upgrade, close").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(answer.contains("sec-websocket-version: 13\r\n"), "{answer}");
}
