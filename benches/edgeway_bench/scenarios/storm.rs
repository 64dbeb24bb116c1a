//! Everybody drops, misses twenty messages, and comes back at once.

use std::time::Duration;

use tokio::time::Instant;

use super::setting::{PATIENCE, Setting};
use crate::plan::Carriage;
use crate::publisher::Publisher;
use crate::report::Row;
use crate::swarm::{Crowd, Swarm};

const CLIENTS: usize = 5_000;
const MEMBERS: usize = 50;
const MISSED: usize = 20;

pub(crate) async fn run(setting: &mut Setting) -> anyhow::Result<()> {
    let count = setting.clients(CLIENTS);
    let server = setting.gateway().await?;
    let mut publisher = Publisher::door(&server).await?;
    let mut crowd = Crowd::of(&server, &setting.tokens, 0, count);
    crowd.remember = true;
    let dialog = |index: usize| Some(index / MEMBERS);
    let swarm = crowd.connect(|_| Carriage::Ws, dialog).await?;
    for dialog in 0..count.div_ceil(MEMBERS) {
        publisher.publish(dialog, 1, false).await?;
    }
    swarm.tally.wait_received(count as u64, PATIENCE).await?;
    let notebooks = swarm.hang_up().await;
    for dialog in 0..count.div_ceil(MEMBERS) {
        publisher.publish(dialog, MISSED, false).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut plans = crowd.plans(|_| Carriage::Ws, dialog)?;
    for (plan, notebook) in plans.iter_mut().zip(&notebooks) {
        let memory = notebook.lock();
        plan.resume = Some((memory.session.clone(), memory.cursor.clone()));
    }
    let (cpu, start) = (server.cpu()?, Instant::now());
    let mut again = Swarm::empty();
    again.add(plans, true, true).await?;
    again.tally.wait_received((count * MISSED) as u64, PATIENCE).await?;
    let (took, spent) = (start.elapsed(), server.cpu()? - cpu);
    // What comes twice comes late.
    tokio::time::sleep(Duration::from_millis(500)).await;
    anyhow::ensure!(again.received() == (count * MISSED) as u64, "something was told twice");
    for (before, after) in notebooks.iter().zip(&again.notebooks) {
        let (before, after) = (before.lock(), after.lock());
        anyhow::ensure!(before.session == after.session, "a session was not resumed");
        anyhow::ensure!(after.last_offset == before.last_offset + MISSED as u64, "something was lost");
    }
    let what = format!("{count} resume at once, {MISSED} missed each");
    let each = spent.as_secs_f64() * 1e6 / count as f64;
    setting.report.add(Row::absolute(
        "storm",
        format!("{what}, all caught up"),
        "s",
        took.as_secs_f64(),
        Some(1.0),
    ));
    setting.report.add(Row::absolute("storm", format!("{what}, CPU"), "us/client", each, Some(150.0)));
    Ok(())
}
