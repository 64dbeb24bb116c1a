//! The Autobahn test suite against the WebSocket codec: its fuzzing client talks to an echo server that consists of the
//! listener, the handshake and the codec as they are shipped. `make autobahn` installs the suite and runs it.
//!
//! Whatever is not passed stands in `deviations`, with the reason; a deviation that is none any more fails as well.
//! `EDGEWAY_AUTOBAHN_CASES=12.1.*,7.*` runs a part.

#[cfg(test)]
mod deviations;
#[cfg(test)]
mod echo;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod verdict;

#[cfg(test)]
mod tests {
    use crate::echo::Echo;
    use crate::{suite, verdict};

    #[tokio::test(flavor = "multi_thread")]
    async fn the_codec_is_what_the_suite_expects_but_for_the_deviations() {
        let echo = Echo::start().await;
        let outcomes = suite::run(&echo.url()).await;
        echo.stop().await;
        println!("\n{}", verdict::table(&outcomes));
        let complaints = verdict::complaints(&outcomes, suite::chosen_cases().is_none());
        assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    }
}
