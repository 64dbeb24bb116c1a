//! New WebSockets, each with a token of its own: from the first byte to the welcome.

use super::setting::Setting;
use crate::plan::Carriage;
use crate::report::Row;
use crate::swarm::Crowd;

const CLIENTS: usize = 5_000;

pub(crate) async fn run(setting: &mut Setting) -> anyhow::Result<()> {
    let count = setting.clients(CLIENTS);
    let mut figures = Vec::new();
    for server in [setting.floor().await?, setting.gateway().await?] {
        // Once before, so that pools are filled.
        let warm = Crowd::of(&server, &setting.tokens, 100_000, count / 10 + 1);
        warm.connect(|_| Carriage::Ws, |_| None).await?.hang_up().await;
        let before = server.cpu()?;
        let crowd = Crowd::of(&server, &setting.tokens, 0, count);
        let _swarm = crowd.connect(|_| Carriage::Ws, |_| None).await?;
        figures.push((server.cpu()? - before).as_secs_f64() * 1e6 / count as f64);
    }
    let what = format!("{count} WebSockets, an EdDSA token each, CPU");
    setting
        .report
        .add(Row::absolute("accept", what, "us/connection", figures[1], Some(50.0)).beside(figures[0]));
    Ok(())
}
