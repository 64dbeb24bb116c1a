//! The certificate of the public listener, kept as new as its files.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::adapters::inbound::listener::tls::{Reload, ServerTls};

/// How often the files are looked at. They are small, and a certificate is exchanged days before it has to be.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// SIGHUP: look at the files now. From here on it does not end the process.
///
/// # Errors
/// When the signal can't be listened to.
pub fn reload_signal() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("SIGHUP")
}

/// Looks at the files now and then, and when asked. A pair that can't be used changes nothing but the log.
pub async fn keep_current(tls: ServerTls, mut asked: Signal, until: CancellationToken) {
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
