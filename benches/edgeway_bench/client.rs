//! A simulated client: one socket, one task, no buffer while nothing is half received.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::centrifugo::{self, Meaning};
use crate::clock::now_ns;
use crate::parse::{Parser, Piece, member, number_after};
use crate::plan::{Carriage, Plan};
use crate::tally::Tally;

const CONNECT_ATTEMPTS_MAX: usize = 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An unmasked-looking pong: the mask is zero.
const PONG: &[u8] = &[0x8a, 0x80, 0, 0, 0, 0];
/// Socket.IO: an event begins so.
const SOCKET_IO_EVENT: &[u8] = b"42";
const EVENT: &[u8] = br#""type":"message_new""#;

/// What a client remembers for a resume.
#[derive(Debug, Default, Clone)]
pub(crate) struct Memory {
    pub(crate) session: String,
    pub(crate) cursor: String,
    pub(crate) last_offset: u64,
}

/// Where a client keeps its memory, if it is to keep one.
pub(crate) type Notebook = Option<Arc<Mutex<Memory>>>;

/// Connects, and counts what arrives until the connection ends or it is dropped.
pub(crate) async fn run(plan: Plan, tally: Arc<Tally>, notebook: Notebook) {
    if let Err(error) = follow(&plan, &tally, &notebook).await {
        tally.fail(format!("client {}: {error:#}", plan.number));
    }
}

async fn follow(plan: &Plan, tally: &Tally, notebook: &Notebook) -> anyhow::Result<()> {
    let stream = connect(plan).await?;
    write(&stream, plan.request().as_bytes()).await?;
    let mut client = Client { plan, tally, notebook, parser: Parser::new(plan.carriage), welcomed: false };
    loop {
        stream.readable().await?;
        let Some(answer) = client.read(&stream)? else { continue };
        if let Some(answer) = answer {
            write(&stream, &answer).await?;
        }
    }
}

struct Client<'a> {
    plan: &'a Plan,
    tally: &'a Tally,
    notebook: &'a Notebook,
    parser: Parser,
    welcomed: bool,
}

impl Client<'_> {
    /// Reads once, into a buffer that lives no longer. `Some(Some(_))` is to be sent.
    fn read(&mut self, stream: &TcpStream) -> anyhow::Result<Option<Option<Vec<u8>>>> {
        let mut buffer = [0; 16 * 1024];
        let read = match stream.try_read(&mut buffer) {
            Ok(0) => bail!("the server has closed"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.tally.bytes.fetch_add(read as u64, Ordering::Relaxed);
        let (mut events, mut answer, mut wrong) = (0, None, None);
        let (plan, tally, notebook, welcomed) = (self.plan, self.tally, self.notebook, &mut self.welcomed);
        self.parser.feed(&buffer[..read], |piece| match piece {
            Piece::Head(head) => {
                if !head.starts_with(b"HTTP/1.1 101") && !head.starts_with(b"HTTP/1.1 200") {
                    wrong = Some(String::from_utf8_lossy(head).into_owned());
                } else if plan.carriage == Carriage::Centrifugo {
                    answer = Some(centrifugo::opening(&plan.channel()));
                }
            }
            Piece::Ping => answer = Some(PONG.to_vec()),
            Piece::Close(code) => wrong = Some(format!("closed with {code}")),
            Piece::Event(packet)
                if plan.carriage == Carriage::SocketIo && !packet.starts_with(SOCKET_IO_EVENT) =>
            {
                if let [b'4', b'1' | b'4', ..] = packet {
                    wrong = Some("sent away by Socket.IO".to_owned());
                }
                answer = socket_io_answer(packet).map(<[u8]>::to_vec).or(answer.take());
            }
            Piece::Event(response) if plan.carriage == Carriage::NchanPoll => {
                let next =
                    response.starts_with(b"HTTP/1.1 200").then(|| plan.next_nchan_poll(response)).flatten();
                match next {
                    Some(next) => answer = Some(next.into_bytes()),
                    None => wrong = Some(String::from_utf8_lossy(response).into_owned()),
                }
                if !std::mem::replace(welcomed, true) {
                    tally.welcomed();
                }
                events += count_events(plan, tally, notebook, response, &mut wrong);
            }
            Piece::Event(message)
                if matches!(plan.carriage, Carriage::Centrifugo | Carriage::CentrifugoSse) =>
            {
                match centrifugo::read(message, &plan.channel()) {
                    Meaning::Subscribed if !std::mem::replace(welcomed, true) => tally.welcomed(),
                    Meaning::Publication => {
                        events += count_events(plan, tally, notebook, message, &mut wrong)
                    }
                    // Over SSE nobody waits for a pong.
                    Meaning::Ping if plan.carriage == Carriage::Centrifugo => {
                        answer = Some(centrifugo::pong())
                    }
                    Meaning::Ping | Meaning::Other => {}
                    Meaning::Subscribed | Meaning::Refusal => {
                        wrong = Some(format!("Centrifugo says {}", String::from_utf8_lossy(message)));
                    }
                }
            }
            Piece::Event(json) => {
                if !std::mem::replace(welcomed, true) {
                    tally.welcomed();
                    note(notebook, json);
                    if plan.carriage == Carriage::Poll && plan.resume.is_none() {
                        answer = Some(next_poll(plan, json));
                        return;
                    }
                }
                if plan.carriage == Carriage::Poll {
                    answer = Some(next_poll(plan, json));
                }
                events += count_events(plan, tally, notebook, json, &mut wrong);
            }
        });
        if events > 0 {
            self.tally.received(events);
        }
        match wrong {
            Some(wrong) => bail!(wrong),
            None => Ok(Some(answer)),
        }
    }
}

/// Engine.IO's handshake is answered by Socket.IO's connect, its ping by a pong; both masked with zeros.
fn socket_io_answer(packet: &[u8]) -> Option<&'static [u8]> {
    match packet {
        [b'0', ..] => Some(&[0x81, 0x82, 0, 0, 0, 0, b'4', b'0']),
        [b'2'] => Some(&[0x81, 0x81, 0, 0, 0, 0, b'3']),
        _ => None,
    }
}

fn count_events(
    plan: &Plan,
    tally: &Tally,
    notebook: &Notebook,
    json: &[u8],
    wrong: &mut Option<String>,
) -> u64 {
    if matches!(plan.carriage, Carriage::Poll | Carriage::NchanPoll) {
        let events = json.windows(EVENT.len()).filter(|window| window == &EVENT).count() as u64;
        if events > 0 {
            time(plan, tally, json);
        }
        note(notebook, json);
        return events;
    }
    if !json.windows(EVENT.len()).any(|window| window == EVENT) {
        return 0;
    }
    time(plan, tally, json);
    if let Some(notebook) = notebook {
        let mut memory = notebook.lock();
        let offset = number_after(json, b"\"offset\":").unwrap_or(0);
        if memory.last_offset > 0 && offset != memory.last_offset + 1 {
            *wrong = Some(format!("offset {offset} after {}", memory.last_offset));
        }
        memory.last_offset = offset;
        memory.cursor = member(json, "cursor").unwrap_or_default().to_owned();
    }
    1
}

/// Notes the time of flight of what one client in sixteen sees.
fn time(plan: &Plan, tally: &Tally, json: &[u8]) {
    if plan.number.is_multiple_of(16)
        && tally.timing.load(Ordering::Relaxed)
        && let Some(sent) = number_after(json, b"t=")
    {
        tally.flights_us.lock().push((now_ns().saturating_sub(sent) / 1000) as u32);
    }
}

fn note(notebook: &Notebook, json: &[u8]) {
    if let Some(notebook) = notebook {
        let mut memory = notebook.lock();
        if let Some(session) = member(json, "session") {
            memory.session = session.to_owned();
        }
        if let Some(cursor) = member(json, "cursor") {
            memory.cursor = cursor.to_owned();
        }
    }
}

fn next_poll(plan: &Plan, json: &[u8]) -> Vec<u8> {
    let text = |name| member(json, name).unwrap_or_default().to_owned();
    Plan { resume: Some((text("session"), text("cursor"))), ..plan.clone() }.request().into_bytes()
}

async fn connect(plan: &Plan) -> anyhow::Result<TcpStream> {
    for attempt in 0..CONNECT_ATTEMPTS_MAX {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((plan.source(), 0)))?;
        if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, socket.connect(plan.server)).await {
            stream.set_nodelay(true)?;
            return Ok(stream);
        }
        sleep(Duration::from_millis(50 * (attempt as u64 + 1))).await;
    }
    bail!("it can't connect")
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error).context("writing"),
        }
    }
    Ok(())
}
