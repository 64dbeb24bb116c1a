//! Connections that do nothing: their memory, and what their heartbeats cost.

use std::time::Duration;

use tokio::time::sleep;

use super::setting::Setting;
use crate::child::Server;
use crate::plan::Carriage;
use crate::report::Row;
use crate::swarm::{Crowd, Swarm};

/// Connections that come and go before anything is counted: what is made once should not count.
const WARM_UP: usize = 200;
const SETTLE: Duration = Duration::from_secs(2);
/// Long enough to see each WebSocket pinged once, each stream's heartbeat twice.
const WATCH: Duration = Duration::from_secs(26);
const CLIENTS: usize = 10_000;
const CARRIAGES: [Carriage; 3] = [Carriage::Ws, Carriage::Sse, Carriage::Poll];
/// What a connection may take; three is what comes next.
const GOAL_KIB: f64 = 4.0;

pub(crate) async fn run(setting: &mut Setting) -> anyhow::Result<()> {
    let count = setting.clients(CLIENTS);
    let floor_server = setting.pinging_floor().await?;
    let (floor, swarm) = grow(setting, &floor_server, Carriage::Ws, count).await?;
    let floor_share = busy_share(&floor_server).await?;
    drop((swarm, floor_server));
    for carriage in CARRIAGES {
        let server = setting.gateway().await?;
        let (kib, _swarm) = grow(setting, &server, carriage, count).await?;
        let what = format!("{} of {count}, memory each", carriage.name());
        setting.report.add(Row::absolute("idle", what, "KiB", kib, Some(GOAL_KIB)).beside(floor));
        if carriage == Carriage::Ws {
            let share = busy_share(&server).await?;
            let what = format!("ws of {count}, heartbeats, share of a core");
            setting.report.add(Row::absolute("idle", what, "%", share, Some(1.0)).beside(floor_share));
        }
    }
    on_redis(setting, count).await?;
    dialogs(setting, count / 5).await
}

/// How much of a core a server takes while nothing happens, in percent.
async fn busy_share(server: &Server) -> anyhow::Result<f64> {
    let before = server.cpu()?;
    sleep(WATCH).await;
    Ok((server.cpu()? - before).as_secs_f64() / WATCH.as_secs_f64() * 100.0)
}

/// The same where records, rosters and logs are not kept in the process: only the gateway's own memory counts.
async fn on_redis(setting: &mut Setting, count: usize) -> anyhow::Result<()> {
    for carriage in CARRIAGES {
        let (server, _url) = setting.gateway_on_redis().await?;
        let (kib, _swarm) = grow(setting, &server, carriage, count).await?;
        let what = format!("{} of {count}, memory each, with Redis", carriage.name());
        setting.report.add(Row::absolute("idle", what, "KiB", kib, Some(GOAL_KIB)));
    }
    Ok(())
}

/// The same session with 20 dialogs, each shared by 20: what a subscription costs beside it.
async fn dialogs(setting: &mut Setting, count: usize) -> anyhow::Result<()> {
    const EACH: usize = 20;
    let server = setting.gateway().await?;
    warm(setting, &server, Carriage::Ws).await?;
    let before = server.pss()?;
    let mut plans = Crowd::of(&server, &setting.tokens, 0, count).plans(|_| Carriage::Ws, |_| None)?;
    for (index, plan) in plans.iter_mut().enumerate() {
        let first = index / EACH * EACH;
        plan.dialogs = first..first + EACH;
    }
    let mut swarm = Swarm::empty();
    swarm.add(plans, false, false).await?;
    sleep(SETTLE).await;
    let kib = (server.pss()? - before) as f64 / count as f64 / 1024.0;
    setting.report.add(Row::absolute(
        "idle",
        format!("ws of {count}, 20 dialogs each, memory"),
        "KiB",
        kib,
        None,
    ));
    Ok(())
}

async fn warm(setting: &Setting, server: &Server, carriage: Carriage) -> anyhow::Result<()> {
    let crowd = Crowd::of(server, &setting.tokens, 100_000, WARM_UP);
    crowd.connect(|_| carriage, |_| None).await?.hang_up().await;
    Ok(())
}

/// KiB that each of so many connections adds.
pub(super) async fn grow(
    setting: &Setting,
    server: &Server,
    carriage: Carriage,
    count: usize,
) -> anyhow::Result<(f64, Swarm)> {
    warm(setting, server, carriage).await?;
    let before = server.own_pss()?;
    let swarm = Crowd::of(server, &setting.tokens, 0, count).connect(|_| carriage, |_| None).await?;
    sleep(SETTLE).await;
    let grown = server.own_pss()?.saturating_sub(before);
    // Whoever was dropped takes no memory.
    swarm.tally.ensure_all_well()?;
    Ok((grown as f64 / count as f64 / 1024.0, swarm))
}
