//! What others take for the same work, beside the floor of the same run.

use super::fanout::{DIALOG, Side, compare};
use super::idle::grow;
use super::setting::Setting;
use crate::child::Server;
use crate::peers::{nchan, socket_io};
use crate::plan::Carriage;
use crate::publisher::Publisher;
use crate::report::Row;

const IDLE: usize = 10_000;
const RECEIVERS: usize = 1_000;

pub(crate) async fn run(setting: &mut Setting) -> anyhow::Result<()> {
    for carriage in [Carriage::Ws, Carriage::Sse] {
        let directory = tempfile::tempdir()?;
        match nchan(directory.path()).await? {
            Some(server) => measure(setting, "Nchan", server, carriage).await?,
            None => setting.report.note("Nchan is not there; `make bench-peers` fetches it"),
        }
    }
    match socket_io().await? {
        Some(server) => measure(setting, "Socket.IO", server, Carriage::SocketIo).await?,
        None => setting.report.note("Socket.IO is not there; `make bench-peers` fetches it"),
    }
    Ok(())
}

async fn measure(
    setting: &mut Setting,
    name: &str,
    server: Server,
    carriage: Carriage,
) -> anyhow::Result<()> {
    let name = format!("{name}: {}", carriage.name());
    let mut publisher = Publisher::of(&server).await?;
    // Stands in for the `welcome`, which clients wait for.
    publisher.welcome(None).await?;
    publisher.welcome(Some(DIALOG)).await?;

    let count = setting.clients(IDLE);
    let (kib, swarm) = grow(setting, &server, carriage, count).await?;
    setting.report.add(Row::absolute("peers", format!("{name} of {count}, memory each"), "KiB", kib, None));
    swarm.hang_up().await;

    let count = setting.clients(RECEIVERS);
    let floor_carriage = if carriage == Carriage::SocketIo { Carriage::Ws } else { carriage };
    let mut floor = Side::of(setting, setting.floor().await?, floor_carriage, count).await?;
    let mut peer = Side::of(setting, server, carriage, count).await?;
    for (in_flight, rounds) in [(1, 50), (16, 20)] {
        let figures = compare(&mut floor, &mut peer, in_flight, rounds).await?;
        let what = format!("{name} 1 -> {count}, {in_flight} in flight, CPU");
        setting.report.add(Row::ratio("peers", what, "us/delivery", figures, None));
    }
    Ok(())
}
