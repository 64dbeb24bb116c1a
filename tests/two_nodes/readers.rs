//! Clients that take nothing of what they asked for.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::harness::attach::Attach;
use crate::harness::client::numbered;
use crate::harness::nodes::Nodes;
use crate::harness::seen::Seen;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;
use crate::harness::user::User;

tests! {
    a_client_that_takes_nothing_is_let_go_whatever_carries_it_and_can_go_on,
}

/// What an attach over HTTP/1.1 asks for, beside path and credentials.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A connection of which nothing is read any more, once it is known which session it carries.
struct Stuck {
    _stream: TcpStream,
    session: String,
}

impl Stuck {
    /// The kernel takes as little as it can for it.
    async fn attach(user: &User, path: &str, headers: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        let mut stream = socket.connect(user.stage().server().address()).await.unwrap();
        let token = user.token();
        let request = format!(
            "GET {path}?dialogs=tea HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut heard = String::new();
        let session = loop {
            let mut piece = [0; 64];
            let count = stream.read(&mut piece).await.unwrap();
            heard.push_str(&String::from_utf8_lossy(&piece[..count]));
            let told = heard.split_once(r#""session":""#).and_then(|(_, rest)| rest.split_once('"'));
            if let Some((session, _)) = told {
                break session.to_owned();
            }
            assert!(count > 0, "{heard}");
        };
        Self { _stream: stream, session }
    }
}

/// How many sessions are read by WebSocket, and how many by stream.
async fn attached(node: &Stage) -> (u64, u64) {
    let (_, census) = node.admin("/debug/sessions").await;
    let census: Value = serde_json::from_str(&census).unwrap();
    let count = |transport: &str| census["attached"][transport].as_u64().unwrap();
    (count("ws"), count("sse"))
}

async fn a_client_that_takes_nothing_is_let_go_whatever_carries_it_and_can_go_on() {
    /// Several times what the kernel holds for a connection.
    const COUNT: usize = 400;
    /// 30 s by the node's own clock, and room for a busy machine; less than the 60 s of the kernel's (`TCP_USER_TIMEOUT`).
    const WITHIN: Duration = Duration::from_secs(50);
    // Else a WebSocket would be missed by its pongs, too.
    let nodes = Nodes::with(&[("EDGEWAY__TRANSPORTS__WS__PING", "5m")]).await;
    let mut neighbour = nodes.user("bob").attach_to(Transport::Ws, &["tea"]).await;
    let stuck = [(nodes.user("alice"), "/v1/ws", UPGRADE), (nodes.user("carol"), "/v1/sse", "")];
    let mut lines = Vec::new();
    for (user, path, headers) in stuck {
        lines.push((Stuck::attach(&user, path, headers).await, user));
    }
    assert_eq!(attached(&nodes.a).await, (2, 1));

    let padding = "😀".repeat(4000);
    let texts: Vec<_> = numbered("m", COUNT).into_iter().map(|text| format!("{text} {padding}")).collect();
    for some in texts.chunks(20) {
        neighbour.say_all("tea", some).await;
        assert_eq!(neighbour.texts(some.len()).await, some, "others go on as if nothing were");
    }
    let filled = Instant::now();
    let let_go = async {
        while attached(&nodes.a).await != (1, 0) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let let_go = tokio::time::timeout_at(filled + WITHIN, let_go).await;
    assert!(let_go.is_ok(), "{:?} are read after {WITHIN:?}", attached(&nodes.a).await);
    for (line, user) in lines {
        let mut again = user.attach_with(Transport::Ws, Attach::new().session(&line.session)).await;
        // From the queue, or from the log what the queue could not hold.
        assert!(["resumed", "rebuilt"].contains(&again.resume()), "{}", again.welcome());
        let mut seen = Seen::default();
        seen.listen(&mut again, COUNT).await;
        assert_eq!(seen.texts, texts);
    }
}
