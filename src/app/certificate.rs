//! The certificate of the public listener, kept as new as its files.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::lifecycle::Lifecycle;
use crate::adapters::inbound::listener::tls::{Reload, ServerTls};
use crate::config::settings::Settings;

/// How often the files are looked at. They are small, and a certificate is exchanged days before it has to be.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// TLS with the certificate that is configured, if one is; from here on it is kept current, and SIGHUP does not end the
/// process any more.
///
/// # Errors
/// When the certificate can't be used, or the signal can't be listened to.
pub fn tls(settings: &Settings, life: &Lifecycle) -> anyhow::Result<Option<ServerTls>> {
    let Some(files) = settings.tls_part() else { return Ok(None) };
    let tls = ServerTls::load(files).context("tls")?;
    let asked = signal(SignalKind::hangup()).context("SIGHUP")?;
    let (watched, until) = (tls.clone(), life.soft.clone());
    life.spawn_vital("the watch over the certificate", async move {
        keep_current(watched, asked, until).await;
    });
    Ok(Some(tls))
}

/// What a URL of the public listener begins with.
#[must_use]
pub fn scheme(tls: Option<&ServerTls>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

/// Looks at the files now and then, and when asked. A pair that can't be used changes nothing but the log.
async fn keep_current(tls: ServerTls, mut asked: Signal, until: CancellationToken) {
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What is wrong is told once, not at every look.
    let mut told = String::new();
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            _ = looks.tick() => {}
            _ = asked.recv() => {
                tracing::info!("SIGHUP: looking at the certificate's files");
                told.clear();
            }
        }
        match tls.reload() {
            Ok(Reload::Unchanged) => {}
            Ok(Reload::Replaced) => {
                told.clear();
                tracing::info!("new connections get the new certificate");
            }
            Err(error) => {
                let what = format!("{:#}", anyhow::Error::new(error));
                if what != told {
                    tracing::error!(
                        error = what,
                        "the new certificate can't be used: the old one stays in use until it is mended"
                    );
                    told = what;
                }
            }
        }
    }
}
