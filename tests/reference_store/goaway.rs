//! A Store that takes its connections back (RFC 9113 §6.8), also in the middle of a call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use edgeway::adapters::outbound::store_grpc::config::Config;
use edgeway::application::ports::store::{HistoryRange, MessageStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::harness::{beside, call, client, dialog, draft, url};
use crate::troubled::{Trouble, troubled};

const PATIENCE: Duration = Duration::from_secs(20);
const CONNECTIONS: usize = 8;
/// "None of your calls has been looked at": no payload but the last stream (0) and the code (`NO_ERROR`).
const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn connections_that_the_store_retires_fail_no_call() {
    let store = troubled(Trouble::None, Some(Duration::from_millis(100))).await;
    let client = client(Config::new(url(store.address)));
    let alice = call("alice");
    let calling = async {
        let mut n = 0;
        while store.connections.load(Ordering::SeqCst) < CONNECTIONS {
            n += 1;
            client.send(&alice, &draft("d1", &format!("c{n}"), "x")).await.unwrap();
            client.check_membership(&alice, &[dialog("d1")]).await.unwrap();
        }
        n
    };
    let sent = timeout(PATIENCE, calling).await.expect("connections are retired again and again");
    assert_eq!(store.sends.load(Ordering::SeqCst), sent, "and none is made twice");
}

#[tokio::test]
async fn a_call_on_a_connection_that_the_store_retires_is_answered_on_it_and_others_go_elsewhere() {
    let let_go = Arc::new(Notify::new());
    let trouble = Trouble::FirstSendWaits(let_go.clone());
    let store = troubled(trouble, Some(Duration::from_millis(100))).await;
    let client = client(Config::new(url(store.address)));
    let alice = call("alice");
    let first = draft("d1", "first", "x");
    let waiting = client.send(&alice, &first);
    let others = async {
        while store.sends.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let mut n = 0;
        // By then the connection of the call that waits has been retired: it is the oldest.
        while store.connections.load(Ordering::SeqCst) < CONNECTIONS {
            n += 1;
            client.send(&alice, &draft("d1", &format!("c{n}"), "x")).await.unwrap();
        }
        let_go.notify_one();
        n
    };
    let both = async { tokio::join!(waiting, others) };
    let (answer, others) = timeout(PATIENCE, both).await.expect("all calls are answered");
    assert!(!answer.unwrap().duplicate);
    assert_eq!(store.sends.load(Ordering::SeqCst), others + 1, "none is made twice");
}

/// Passes everything on. When told to, says GOAWAY to the client on all connections that there are.
async fn between(store: SocketAddr, say_goaway: Arc<Notify>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    beside(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(store).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            beside(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let say_goaway = say_goaway.clone();
            beside(async move {
                let mut buffer = [0; 16 * 1024];
                loop {
                    tokio::select! {
                        read = from_server.read(&mut buffer) => match read {
                            Ok(count @ 1..) => to_client.write_all(&buffer[..count]).await.unwrap(),
                            _ => break,
                        },
                        // Between two frames: the Store is silent just now.
                        () = say_goaway.notified() => to_client.write_all(&GOAWAY).await.unwrap(),
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_send_that_is_disowned_after_it_was_carried_out_is_made_again_and_is_one_message() {
    let (done, say_goaway) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let store = troubled(Trouble::FirstSendIsNotAnswered(done.clone()), None).await;
    let address = between(store.address, say_goaway.clone()).await;
    let client = client(Config::new(url(address)));
    let alice = call("alice");
    let draft = draft("d1", "c1", "x");
    let goaway = async {
        done.notified().await;
        say_goaway.notify_waiters();
    };
    // Well before the attempt's own deadline, which would bring the same about.
    let began = tokio::time::Instant::now();
    let (sent, ()) = tokio::join!(client.send(&alice, &draft), goaway);
    assert!(began.elapsed() < Config::new("").send.attempt, "{:?}", began.elapsed());
    assert!(sent.unwrap().duplicate, "the Store has it already");
    assert_eq!(store.sends.load(Ordering::SeqCst), 2);
    let page = store.behind.client.history(&alice, &dialog("d1"), HistoryRange::Newest, 10).await.unwrap();
    assert_eq!(page.messages.len(), 1);
}
