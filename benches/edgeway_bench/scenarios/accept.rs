//! New WebSockets, each with a token of its own: from the first byte to the welcome.

use super::setting::Setting;
use crate::child::Server;
use crate::plan::Carriage;
use crate::report::Row;
use crate::swarm::Crowd;
use crate::tokens::Tokens;

const CLIENTS: usize = 5_000;

pub(crate) async fn run(setting: &mut Setting) -> anyhow::Result<()> {
    let count = setting.clients(CLIENTS);
    let directory = tempfile::tempdir()?;
    let shared = Tokens::generate_shared(directory.path())?;
    let floor = cost(&setting.floor().await?, &setting.tokens, count).await?;
    let signed = cost(&setting.gateway().await?, &setting.tokens, count).await?;
    let keyed = cost(&setting.gateway_for(&shared).await?, &shared, count).await?;
    for (algorithm, cost) in [("EdDSA", signed), ("HS256", keyed)] {
        let what = format!("{count} WebSockets, each with a token ({algorithm}), CPU");
        setting.report.add(Row::absolute("accept", what, "us/connection", cost, Some(50.0)).beside(floor));
    }
    Ok(())
}

/// Microseconds each.
async fn cost(server: &Server, tokens: &Tokens, count: usize) -> anyhow::Result<f64> {
    // Once before, so that pools are filled.
    let warm = Crowd::of(server, tokens, 100_000, count / 10 + 1);
    warm.connect(|_| Carriage::Ws, |_| None).await?.hang_up().await;
    let before = server.cpu()?;
    let _swarm = Crowd::of(server, tokens, 0, count).connect(|_| Carriage::Ws, |_| None).await?;
    Ok((server.cpu()? - before).as_secs_f64() * 1e6 / count as f64)
}
