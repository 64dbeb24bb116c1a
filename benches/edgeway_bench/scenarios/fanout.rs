//! One dialog, many receivers: CPU time of the server per delivery.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::setting::{PATIENCE, Setting, total};
use crate::child::Server;
use crate::plan::Carriage;
use crate::publisher::{LONG, Publisher};
use crate::report::Row;
use crate::swarm::{Crowd, Swarm};

pub(super) const DIALOG: usize = 1;
const RECEIVERS: usize = 1_000;
/// Turns of floor and gateway.
const TURNS: usize = 12;

/// By then a server has done what the last deliveries of a turn have left to do.
const SETTLE: Duration = Duration::from_millis(50);

/// A server with its receivers.
pub(super) struct Side {
    server: Server,
    swarm: Swarm,
    publisher: Publisher,
    receivers: u64,
    spent: Vec<Duration>,
}

impl Side {
    pub(super) async fn of(
        setting: &Setting,
        server: Server,
        carriage: Carriage,
        count: usize,
    ) -> anyhow::Result<Self> {
        let crowd = Crowd::of(&server, &setting.tokens, 0, count);
        let swarm = crowd.connect(|_| carriage, |_| Some(DIALOG)).await?;
        let publisher = Publisher::of(&server).await?;
        Ok(Self { server, swarm, publisher, receivers: count as u64, spent: Vec::new() })
    }

    /// Publishes so many at a time, and waits for all of it, again and again.
    async fn turn(&mut self, in_flight: usize, batch: bool, rounds: usize) -> anyhow::Result<()> {
        let before = self.server.cpu()?;
        for _ in 0..rounds {
            let wanted = self.swarm.received() + self.receivers * in_flight as u64;
            self.publisher.publish(DIALOG, in_flight, batch).await?;
            self.swarm.tally.wait_received(wanted, PATIENCE).await?;
        }
        // What a delivery leaves to be done counts, too: of a poll, that is the next one.
        sleep(SETTLE).await;
        self.spent.push(self.server.cpu()? - before);
        Ok(())
    }

    fn take_spent(&mut self) -> f64 {
        total(&std::mem::take(&mut self.spent))
    }
}

pub(crate) async fn run(setting: &mut Setting) -> anyhow::Result<()> {
    for (carriage, goal_one, goal_sixteen) in
        [(Carriage::Ws, 1.25, 2.5), (Carriage::Sse, 1.25, 2.5), (Carriage::Poll, 1.5, 4.0)]
    {
        let count = setting.clients(RECEIVERS);
        let mut floor = Side::of(setting, setting.floor().await?, carriage, count).await?;
        let mut gateway = Side::of(setting, setting.gateway().await?, carriage, count).await?;
        for (in_flight, goal) in [(1, goal_one), (16, goal_sixteen)] {
            let rounds = if in_flight == 1 { 50 } else { 20 };
            let figures = compare(&mut floor, &mut gateway, in_flight, rounds).await?;
            let what = format!("{} 1 -> {count}, {in_flight} in flight, CPU", carriage.name());
            setting.report.add(Row::ratio("fanout", what, "us/delivery", figures, Some(goal)));
        }
    }
    Ok(())
}

/// From 10 to 10,000 receivers: per delivery it should cost the same.
pub(crate) async fn growth(setting: &mut Setting) -> anyhow::Result<()> {
    /// What the larger number is held against.
    const REFERENCE: usize = 1_000;
    let mut reference = None;
    for receivers in [10, 100, REFERENCE, 10_000] {
        let count = setting.clients(receivers).max(10);
        let mut floor = Side::of(setting, setting.floor().await?, Carriage::Ws, count).await?;
        let mut gateway = Side::of(setting, setting.gateway().await?, Carriage::Ws, count).await?;
        let rounds = (60_000 / count).max(5);
        let (of_floor, of_gateway) = compare(&mut floor, &mut gateway, 1, rounds).await?;
        let what = format!("ws 1 -> {count}, 1 in flight, CPU");
        let goal = reference.map(|ratio: f64| ratio * 1.15);
        setting.report.add(Row::ratio("growth", what, "us/delivery", (of_floor, of_gateway), goal));
        if receivers == REFERENCE {
            reference = Some(of_gateway / of_floor);
        }
    }
    Ok(())
}

/// Longer messages, plain and with permessage-deflate: bytes on the wire, and what they cost.
pub(crate) async fn deflate(setting: &mut Setting) -> anyhow::Result<()> {
    let count = setting.clients(RECEIVERS);
    let mut floor = Side::of(setting, setting.floor().await?, Carriage::Ws, count).await?;
    floor.publisher.text = LONG;
    for carriage in [Carriage::Ws, Carriage::WsDeflate] {
        let mut gateway = Side::of(setting, setting.gateway().await?, carriage, count).await?;
        gateway.publisher.text = LONG;
        let before = gateway.swarm.tally.bytes.load(Ordering::Relaxed);
        let received = gateway.swarm.received();
        let figures = compare(&mut floor, &mut gateway, 1, 30).await?;
        let bytes = gateway.swarm.tally.bytes.load(Ordering::Relaxed) - before;
        let each = bytes as f64 / (gateway.swarm.received() - received) as f64;
        let name = format!("{} 1 -> {count}, {} characters", carriage.name(), LONG.len());
        setting.report.add(Row::ratio("deflate", format!("{name}, CPU"), "us/delivery", figures, None));
        setting.report.add(Row::absolute("deflate", format!("{name}, on the wire"), "bytes", each, None));
    }
    Ok(())
}

/// Microseconds per delivery of each.
pub(super) async fn compare(
    floor: &mut Side,
    gateway: &mut Side,
    in_flight: usize,
    rounds: usize,
) -> anyhow::Result<(f64, f64)> {
    for side in [&mut *floor, &mut *gateway] {
        side.turn(in_flight, true, 3).await?;
        side.take_spent();
    }
    for _ in 0..TURNS {
        floor.turn(in_flight, true, rounds).await?;
        gateway.turn(in_flight, true, rounds).await?;
    }
    let deliveries = (TURNS * rounds * in_flight) as f64 * floor.receivers as f64;
    Ok((floor.take_spent() * 1e6 / deliveries, gateway.take_spent() * 1e6 / deliveries))
}
