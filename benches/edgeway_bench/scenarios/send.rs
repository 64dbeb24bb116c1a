//! From a client's `send_message` over Store and bus to another client.

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::setting::{PATIENCE, Setting};
use crate::child::Server;
use crate::clock::now_ns;
use crate::report::Row;
use crate::tally::percentile;

type Line = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

const MESSAGES: usize = 1_500;
const WARM_UP: usize = 200;

pub(crate) async fn run(setting: &mut Setting) -> anyhow::Result<()> {
    let server = setting.gateway().await?;
    let mut sender = connect(setting, &server, 1).await?;
    let mut receiver = connect(setting, &server, 2).await?;
    let mut flights = Vec::new();
    for index in 0..(WARM_UP + MESSAGES / setting.divide) {
        let start = now_ns();
        let command = format!(
            r#"{{"type":"send_message","dialog_id":"d1","client_message_id":"c{index}","body":{{"text":"Shall we meet?"}}}}"#
        );
        sender.send(Message::text(command)).await?;
        until_message(&mut receiver).await?;
        if index >= WARM_UP {
            flights.push(((now_ns() - start) / 1000) as u32);
        }
        until_message(&mut sender).await?;
    }
    flights.sort_unstable();
    for (name, part, goal) in [("p50", 0.5, Some(1.0)), ("p99", 0.99, None)] {
        let ms = f64::from(percentile(&flights, part)) / 1000.0;
        let what = format!("send -> Store -> bus -> receiver, {name}");
        setting.report.add(Row::absolute("send", what, "ms", ms, goal));
    }
    Ok(())
}

async fn connect(setting: &Setting, server: &Server, user: usize) -> anyhow::Result<Line> {
    let mut request = format!("ws://{}/v1/ws?dialogs=d1", server.address).into_client_request()?;
    let bearer = format!("Bearer {}", setting.tokens.for_user(user)?);
    request.headers_mut().insert("authorization", bearer.parse()?);
    let mut line = timeout(PATIENCE, connect_async(request)).await??.0;
    let first = timeout(PATIENCE, line.next()).await?.context("the server has closed")??;
    anyhow::ensure!(first.to_text().is_ok_and(|text| text.contains(r#""type":"welcome""#)), "{first}");
    Ok(line)
}

async fn until_message(line: &mut Line) -> anyhow::Result<()> {
    let waiting = async {
        while let Some(message) = line.next().await {
            if message?.to_text().is_ok_and(|text| text.contains(r#""type":"message_new""#)) {
                return Ok(());
            }
        }
        anyhow::bail!("the server has closed")
    };
    timeout(PATIENCE, waiting).await?
}
