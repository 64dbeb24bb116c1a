//! All three transports in the same dialogs, below what the machine can do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::rooms::Rooms;
use super::setting::Setting;
use crate::plan::Carriage;
use crate::publisher::Publisher;
use crate::report::Row;

const MESSAGES_PER_SECOND: usize = 400;
const LENGTH: Duration = Duration::from_secs(6);

pub(crate) async fn run(setting: &mut Setting) -> anyhow::Result<()> {
    let server = setting.gateway().await?;
    let publisher = Publisher::door(&server).await?;
    let carriages = [Carriage::Ws, Carriage::Sse, Carriage::Poll];
    let mut rooms = Rooms::of(setting, server, publisher, |index| carriages[index % 3]).await?;
    rooms.turn(Duration::from_secs(3), MESSAGES_PER_SECOND).await?;
    rooms.swarm.tally.timing.store(true, Ordering::Relaxed);
    rooms.turn(LENGTH, MESSAGES_PER_SECOND).await?;
    let (p50, p99) = rooms.flights_ms();
    let name = format!("ws, sse and poll, {MESSAGES_PER_SECOND} msg/s x 10");
    setting.report.add(Row::absolute(
        "mixed",
        format!("{name}, CPU"),
        "us/delivery",
        rooms.us_per_delivery(),
        None,
    ));
    setting.report.add(Row::absolute("mixed", format!("{name}, p50"), "ms", p50, None));
    setting.report.add(Row::absolute("mixed", format!("{name}, p99"), "ms", p99, None));
    Ok(())
}
