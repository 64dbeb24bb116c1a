//! One timer for two waits: for a request to begin, and for its header to end.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;

/// The clock of one HTTP/1.1 connection.
///
/// hyper's only timer on HTTP/1.1 is the header's, and it starts it when the connection begins to *wait* for a request.
/// With hyper's own, an idle keep-alive connection would therefore be closed after the header's time, far sooner than
/// load balancers expect. So the first sleep, which starts when the first byte is there, is the header's; each later
/// one is the idle time until bytes arrive, and from then on the header's.
#[derive(Debug)]
pub(super) struct HeaderTimer {
    header_read_timeout: Duration,
    keep_alive_idle_timeout: Duration,
    first_request: AtomicBool,
}

impl HeaderTimer {
    pub(super) fn new(header_read_timeout: Duration, keep_alive_idle_timeout: Duration) -> Self {
        Self { header_read_timeout, keep_alive_idle_timeout, first_request: AtomicBool::new(true) }
    }
}

impl Timer for HeaderTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let first = self.first_request.swap(false, Ordering::Relaxed);
        let (deadline, stage) = if first {
            (deadline.into(), Stage::Header)
        } else {
            (tokio::time::Instant::now() + self.keep_alive_idle_timeout, Stage::Fresh)
        };
        Box::pin(RequestSleep {
            sleep: tokio::time::sleep_until(deadline),
            header_read_timeout: self.header_read_timeout,
            stage,
        })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Never polled: the connection has just begun to wait.
    Fresh,
    /// Polled once, when there was nothing to read.
    Idle,
    /// A header is being read.
    Header,
}

pin_project! {
    struct RequestSleep {
        #[pin]
        sleep: tokio::time::Sleep,
        header_read_timeout: Duration,
        stage: Stage,
    }
}

impl Future for RequestSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        match *this.stage {
            Stage::Fresh => *this.stage = Stage::Idle,
            // hyper polls the timer when it has read all there is and needs more: the second time, something came.
            // Being woken for another reason ends the wait sooner than need be, which is what hyper alone would do.
            Stage::Idle => {
                *this.stage = Stage::Header;
                let deadline = tokio::time::Instant::now() + *this.header_read_timeout;
                if deadline < this.sleep.deadline() {
                    this.sleep.as_mut().reset(deadline);
                }
            }
            Stage::Header => {}
        }
        this.sleep.poll(cx)
    }
}

impl Sleep for RequestSleep {}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const HEADER: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    /// How long a sleep lasts that hyper polls when it begins to wait, and again when bytes came.
    async fn lasts(mut sleep: Pin<Box<dyn Sleep>>, bytes_after: Option<Duration>) -> Duration {
        let start = tokio::time::Instant::now();
        if let Some(wait) = bytes_after {
            assert!((&mut sleep).now_or_never().is_none());
            tokio::time::advance(wait).await;
            assert!((&mut sleep).now_or_never().is_none());
        }
        sleep.await;
        start.elapsed()
    }

    fn about(expected: Duration, seen: Duration) -> bool {
        seen >= expected && seen < expected + Duration::from_millis(10)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_has_the_headers_time() {
        let timer = HeaderTimer::new(HEADER, IDLE);
        let seen = lasts(timer.sleep(HEADER), Some(Duration::from_secs(4))).await;
        assert!(about(HEADER, seen), "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn later_ones_may_wait_longer_to_begin_but_not_to_end() {
        let timer = HeaderTimer::new(HEADER, IDLE);
        drop(timer.sleep(HEADER));
        let idle = lasts(timer.sleep(HEADER), None).await;
        assert!(about(IDLE, idle), "{idle:?}");
        let begun_after = Duration::from_secs(30);
        let slow = lasts(timer.sleep(HEADER), Some(begun_after)).await;
        assert!(about(begun_after + HEADER, slow), "{slow:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_begins_late_never_lengthens_the_wait() {
        let timer = HeaderTimer::new(HEADER, IDLE);
        drop(timer.sleep(HEADER));
        let seen = lasts(timer.sleep(HEADER), Some(IDLE - Duration::from_secs(1))).await;
        assert!(about(IDLE, seen), "{seen:?}");
    }
}
