//! Many small dialogs: 1,000 of ten receivers, 1,000 messages a second.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::setting::{PATIENCE, Setting};
use crate::child::Server;
use crate::plan::Carriage;
use crate::publisher::Publisher;
use crate::report::Row;
use crate::swarm::{Crowd, Swarm};
use crate::tally::percentile;

const ROOMS: usize = 1_000;
const MEMBERS: usize = 10;
const MESSAGES_PER_SECOND: usize = 1_000;
const TURN: Duration = Duration::from_secs(4);
const TURNS: usize = 2;
const TICK: Duration = Duration::from_millis(5);

pub(crate) struct Rooms {
    pub(crate) server: Server,
    pub(crate) swarm: Swarm,
    publisher: Publisher,
    rooms: usize,
    next: usize,
    spent: Duration,
    deliveries: u64,
}

impl Rooms {
    pub(crate) async fn of(
        setting: &Setting,
        server: Server,
        publisher: Publisher,
        carriage: impl Fn(usize) -> Carriage,
    ) -> anyhow::Result<Self> {
        // Whole rooms: every message has as many receivers.
        let count = setting.clients(ROOMS * MEMBERS).max(MEMBERS) / MEMBERS * MEMBERS;
        let crowd = Crowd::of(&server, &setting.tokens, 0, count);
        let swarm = crowd.connect(carriage, |index| Some(index / MEMBERS)).await?;
        let rooms = count / MEMBERS;
        Ok(Self { server, swarm, publisher, rooms, next: 0, spent: Duration::ZERO, deliveries: 0 })
    }

    /// Publishes at a steady rate, each message to the next room.
    pub(crate) async fn turn(&mut self, length: Duration, per_second: usize) -> anyhow::Result<()> {
        let (before, received) = (self.server.cpu()?, self.swarm.received());
        let mut ticks = interval_at(Instant::now(), TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let each = (per_second as u128 * TICK.as_millis() / 1000).max(1) as usize;
        let total = per_second * length.as_secs() as usize;
        let mut published = 0;
        while published < total {
            ticks.tick().await;
            for _ in 0..each.min(total - published) {
                self.next = (self.next + 1) % self.rooms;
                self.publisher.publish(self.next, 1, false).await?;
                published += 1;
            }
        }
        let wanted = received + (total * MEMBERS) as u64;
        self.swarm.tally.wait_received(wanted, PATIENCE).await?;
        self.spent += self.server.cpu()? - before;
        self.deliveries += (total * MEMBERS) as u64;
        Ok(())
    }

    pub(crate) fn us_per_delivery(&self) -> f64 {
        self.spent.as_secs_f64() * 1e6 / self.deliveries as f64
    }

    pub(crate) fn flights_ms(&self) -> (f64, f64) {
        let flights = self.swarm.tally.take_flights();
        (f64::from(percentile(&flights, 0.5)) / 1000.0, f64::from(percentile(&flights, 0.99)) / 1000.0)
    }
}

pub(crate) async fn run(setting: &mut Setting) -> anyhow::Result<()> {
    let server = setting.gateway().await?;
    let publisher = Publisher::door(&server).await?;
    compare(setting, server, publisher, "embedded bus", 1.5).await
}

pub(crate) async fn on_redis(setting: &mut Setting) -> anyhow::Result<()> {
    let (server, url) = setting.gateway_on_redis().await?;
    let publisher = Publisher::redis(&url)?;
    compare(setting, server, publisher, "with Redis", 2.5).await
}

async fn compare(
    setting: &mut Setting,
    server: Server,
    publisher: Publisher,
    what: &str,
    goal: f64,
) -> anyhow::Result<()> {
    let floor = setting.floor().await?;
    let door = Publisher::door(&floor).await?;
    let mut floor = Rooms::of(setting, floor, door, |_| Carriage::Ws).await?;
    let mut gateway = Rooms::of(setting, server, publisher, |_| Carriage::Ws).await?;
    // The first message of a room finds everything cold.
    for rooms in [&mut floor, &mut gateway] {
        rooms.turn(Duration::from_secs(1), MESSAGES_PER_SECOND).await?;
        (rooms.spent, rooms.deliveries) = (Duration::ZERO, 0);
        rooms.swarm.tally.timing.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    let each = gateway.server.cpu_of_each()?;
    for _ in 0..TURNS {
        floor.turn(TURN, MESSAGES_PER_SECOND).await?;
        gateway.turn(TURN, MESSAGES_PER_SECOND).await?;
    }
    let name = format!("{} x {MEMBERS}, {MESSAGES_PER_SECOND} msg/s, {what}", gateway.rooms);
    let figures = (floor.us_per_delivery(), gateway.us_per_delivery());
    setting.report.add(Row::ratio("rooms", format!("{name}, CPU"), "us/delivery", figures, Some(goal)));
    for (before, (after, process)) in each
        .iter()
        .zip(gateway.server.cpu_of_each()?.into_iter().zip(["gateway", "redis-server"]))
        .filter(|_| each.len() > 1)
    {
        let us = (after - *before).as_secs_f64() * 1e6 / gateway.deliveries as f64;
        setting.report.add(Row::absolute("rooms", format!("  of that, {process}"), "us/delivery", us, None));
    }
    let (p50, p99) = gateway.flights_ms();
    let of_floor = floor.flights_ms();
    setting.report.add(
        Row::absolute("rooms", format!("  {what}, time of flight, p50"), "ms", p50, None).beside(of_floor.0),
    );
    setting.report.add(
        Row::absolute("rooms", format!("  {what}, time of flight, p99"), "ms", p99, Some(5.0))
            .beside(of_floor.1),
    );
    Ok(())
}
