//! What others take for the same work, beside the floor of the same run.

use super::fanout::{DIALOG, Side, compare};
use super::idle::grow;
use super::setting::Setting;
use crate::peers::Peer;
use crate::plan::Carriage;
use crate::publisher::Publisher;
use crate::report::Row;

const IDLE: usize = 10_000;
const RECEIVERS: usize = 1_000;

pub(crate) async fn run(setting: &mut Setting) -> anyhow::Result<()> {
    let all: [(Peer, &[Carriage]); 3] = [
        (Peer::Nchan, &[Carriage::Ws, Carriage::Sse, Carriage::NchanPoll]),
        (Peer::SocketIo, &[Carriage::SocketIo]),
        (Peer::Centrifugo, &[Carriage::Centrifugo, Carriage::CentrifugoSse]),
    ];
    for (peer, carriages) in all {
        if !peer.is_installed() {
            setting.report.note(&format!(
                "{} is not there, and is not measured; {}",
                peer.name(),
                peer.whence()
            ));
            continue;
        }
        for carriage in carriages {
            memory(setting, peer, *carriage).await?;
            fan_out(setting, peer, *carriage).await?;
        }
    }
    Ok(())
}

async fn memory(setting: &mut Setting, peer: Peer, carriage: Carriage) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let server = peer.start(directory.path()).await?;
    // Stands in for the `welcome`, which clients wait for.
    Publisher::of(&server).await?.welcome(None).await?;
    let count = setting.clients(IDLE);
    let (kib, _swarm) = grow(setting, &server, carriage, count).await?;
    let what = format!("{}: {} of {count}, memory each", peer.name(), carriage.name());
    setting.report.add(Row::absolute("peers", what, "KiB", kib, None));
    Ok(())
}

/// By a server of its own, as Edgeway's is measured: none that has held ten thousand before.
async fn fan_out(setting: &mut Setting, peer: Peer, carriage: Carriage) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let server = peer.start(directory.path()).await?;
    Publisher::of(&server).await?.welcome(Some(DIALOG)).await?;
    let count = setting.clients(RECEIVERS);
    let mut floor = Side::of(setting, setting.floor().await?, carriage.of_floor(), count).await?;
    let mut side = Side::of(setting, server, carriage, count).await?;
    for (in_flight, rounds) in [(1, 50), (16, 20)] {
        let figures = compare(&mut floor, &mut side, in_flight, rounds).await?;
        let name = format!("{}: {}", peer.name(), carriage.name());
        let what = format!("{name} 1 -> {count}, {in_flight} in flight, CPU");
        setting.report.add(Row::ratio("peers", what, "us/delivery", figures, None));
    }
    Ok(())
}
