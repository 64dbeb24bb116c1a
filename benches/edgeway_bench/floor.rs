//! The floor: holds sockets, and writes a ready-made frame per delivery. It parses nothing and knows no protocol, so
//! nothing that delivers over sockets of its own can be cheaper by much.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::control::{Order, Orders, announce};
use crate::parse::{find, number_after};
use crate::plan::Carriage;

/// In place of a cursor: as long as one.
const PREFIX: &str = r#"{"cursor":"k1u2l9.1x.mh3rz0pq",""#;
const WS_OPENING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x12{\"type\":\"welcome\"}";
const SSE_OPENING: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 0\ndata: {\"type\":\"welcome\"}\n\n";
const POLL_OPENING: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 58\r\n\r\n\
    {\"session\":\"s\",\"cursor\":\"c\",\"events\":[{\"type\":\"welcome\"}]}";

struct Client {
    stream: TcpStream,
    carriage: Carriage,
}

type Groups = Arc<Mutex<HashMap<u64, Arc<Vec<Arc<Client>>>>>>;

/// How often each client is pinged, as by the gateway.
const PING_EVERY: Duration = Duration::from_secs(25);
/// And how finely that is spread.
const PING_TICK: Duration = Duration::from_millis(10);
/// A ping without anything in it (RFC 6455 §5.5.2).
const PING: &[u8] = &[0x89, 0];

/// Runs until it is killed.
pub(crate) async fn serve(pings: bool) -> anyhow::Result<()> {
    let listener = crate::control::listen()?;
    let control = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?, control.local_addr()?)?;
    let groups = Groups::default();
    let accepting = async {
        let mut clients = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            clients.spawn(hold(stream, groups.clone()));
            while clients.try_join_next().is_some() {}
        }
    };
    let publishing = async {
        let mut orders = Orders::accept(&control).await?;
        while let Some(order) = orders.next().await? {
            publish(&groups, &order).await;
            orders.done().await?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        ended = accepting => ended,
        ended = publishing => ended,
        () = ping(&groups), if pings => Ok(()),
    }
}

/// Pings each client in its turn, for ever.
async fn ping(groups: &Groups) {
    let ticks = (PING_EVERY.as_millis() / PING_TICK.as_millis()) as usize;
    let mut ticking = interval(PING_TICK);
    for tick in (0..ticks).cycle() {
        ticking.tick().await;
        let due: Vec<_> = {
            let groups = groups.lock();
            groups.values().flat_map(|members| members.iter().skip(tick).step_by(ticks)).cloned().collect()
        };
        for client in due {
            // A client that is gone is somebody else's affair.
            let _ = write_all(&client.stream, PING).await;
        }
    }
}

/// Answers the first request, and reads on to the end.
async fn hold(stream: TcpStream, groups: Groups) -> std::io::Result<()> {
    let Some((carriage, group)) =
        wait_and(&stream, |head| (carriage_of(head), number_after(head, b"dialogs=d"))).await?
    else {
        return Ok(());
    };
    let Some(carriage) = carriage else { return Ok(()) };
    let client = Arc::new(Client { stream, carriage });
    let group = group.unwrap_or(u64::MAX);
    {
        // In one step for whoever publishes: a client that is welcomed misses nothing, and hears nothing before.
        let mut groups = groups.lock();
        client.stream.try_write(match carriage {
            Carriage::Ws | Carriage::WsDeflate | Carriage::SocketIo | Carriage::Centrifugo => WS_OPENING,
            Carriage::Sse | Carriage::CentrifugoSse => SSE_OPENING,
            Carriage::Poll | Carriage::NchanPoll => POLL_OPENING,
        })?;
        Arc::make_mut(groups.entry(group).or_default()).push(client.clone());
    }
    while let Ok(Some(())) = wait_and(&client.stream, |_| ()).await {}
    if let Some(members) = groups.lock().get_mut(&group) {
        Arc::make_mut(members).retain(|member| !Arc::ptr_eq(member, &client));
    }
    Ok(())
}

/// Waits for bytes and looks at them; `None` at the end. The buffer lives only as long as the look.
async fn wait_and<R>(stream: &TcpStream, look: impl Fn(&[u8]) -> R) -> std::io::Result<Option<R>> {
    loop {
        stream.readable().await?;
        let mut buffer = [0; 4096];
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(read) => return Ok(Some(look(&buffer[..read]))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn carriage_of(head: &[u8]) -> Option<Carriage> {
    let is = |path: &[u8]| find(head, path) == Some(4);
    if is(b"/v1/ws") {
        Some(Carriage::Ws)
    } else if is(b"/v1/sse") {
        Some(Carriage::Sse)
    } else if is(b"/v1/poll") {
        Some(Carriage::Poll)
    } else {
        None
    }
}

/// One write per client and event; with `batch`, one write per client for all of them.
async fn publish(groups: &Groups, order: &Order) {
    let members = groups.lock().get(&order.group).cloned().unwrap_or_default();
    let (rounds, each) = if order.batch { (1, order.count) } else { (order.count, 1) };
    let mut frames: HashMap<Carriage, Vec<u8>> = HashMap::new();
    for _ in 0..rounds {
        for client in members.iter() {
            let frame =
                frames.entry(client.carriage).or_insert_with(|| frame(client.carriage, &order.json, each));
            // A client that is gone is somebody else's affair.
            let _ = write_all(&client.stream, frame).await;
        }
    }
}

fn frame(carriage: Carriage, json: &[u8], count: usize) -> Vec<u8> {
    let event = [PREFIX.as_bytes(), &json[1..]].concat();
    match carriage {
        Carriage::Ws | Carriage::WsDeflate | Carriage::SocketIo | Carriage::Centrifugo => {
            let mut frame = vec![0x81, 126];
            frame.extend_from_slice(&(event.len() as u16).to_be_bytes());
            frame.extend_from_slice(&event);
            frame.repeat(count)
        }
        Carriage::Sse | Carriage::CentrifugoSse => {
            [b"id: s98a7c26a1e7c3b9d540f2b6f1c~k1u2l9.1x.mh3rz0pq\ndata: ", &*event, b"\n\n"]
                .concat()
                .repeat(count)
        }
        Carriage::Poll | Carriage::NchanPoll => {
            let events = vec![event; count].join(&b","[..]);
            let body = [
                br#"{"session":"s","cursor":"c","resume":"resumed","events":["#,
                &*events,
                br#"],"more":false}"#,
            ]
            .concat();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), &body].concat()
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
