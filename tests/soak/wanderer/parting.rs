//! The ways in which a client ends a connection.

use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{BACK_OFF, Wanderer};
use crate::harness::client::Client;
use crate::harness::line::Line;
use crate::harness::names::{percent, unique};
use crate::post::{ANSWER_MAX, request};

/// How long it is away at times: also for longer than sessions are kept.
const AWAY_MS: (u64, u64) = (0, 4000);
/// How long a lost connection lies there: longer than a server waits for an answer to its ping.
const LOST_MS: (u64, u64) = (500, 13_000);

impl Wanderer {
    /// Ends a connection, in one way or another, and is away for a while at times.
    pub(super) async fn part(&mut self, mut client: Client) {
        self.hung_up(&mut client);
        if self.rng.percent(40) {
            self.town = 1 - self.town;
        }
        match self.rng.below(100) {
            // What it has just sent must not be refused for that.
            0..15 if self.desk.is_empty() && self.posts.is_empty() => {
                self.say_farewell(client).await;
            }
            0..30 => {
                self.note("lost its network");
                self.company.tally.lost.fetch_add(1, Ordering::Relaxed);
                self.place = Some(client.place());
                let until = Instant::now() + self.draw(LOST_MS);
                self.lost.push((until, client));
            }
            // It goes on by another line at once: the server learns of the end of this one after that.
            30..50 => {
                self.note("goes on by another line");
                self.place = Some(client.place());
                self.lost.push((Instant::now() + BACK_OFF, client));
            }
            _ => {
                self.note("cut");
                self.company.tally.cut.fetch_add(1, Ordering::Relaxed);
                self.place = Some(client.cut());
            }
        }
        if self.rng.percent(30) {
            sleep(self.draw(AWAY_MS)).await;
        }
    }

    /// What was said on a WebSocket and not answered will not be.
    pub(super) fn hung_up(&mut self, client: &mut Client) {
        if matches!(client.line(), Line::Ws(_)) {
            self.desk.all_unanswered(self.user.id(), &self.company.oracle);
        }
    }

    /// Ends the session.
    async fn say_farewell(&mut self, mut client: Client) {
        self.note("says farewell");
        self.company.tally.farewells.fetch_add(1, Ordering::Relaxed);
        self.place = None;
        let is_socket = matches!(client.line(), Line::Ws(_));
        if is_socket && self.rng.percent(50) {
            let bye = json!({ "type": "bye", "ref": unique("bye") });
            self.say(&mut client, bye).await;
            let ended = timeout(ANSWER_MAX, async { while client.event_or_answer_or_end().await.is_ok() {} });
            if ended.await.is_err() {
                self.company.oracle.fault(format!("{ANSWER_MAX:?} after a bye, the line goes on: {client}"));
            }
        } else {
            let path = format!("/v1/sessions/{}", percent(client.session()));
            if let Err(late) = request(client.user(), Method::DELETE, &path, None).await {
                self.company.oracle.fault(late);
            }
        }
    }

    /// For good: with a farewell or without.
    pub(super) async fn leave(mut self, client: Client) {
        assert!(self.desk.is_empty(), "{} has not sent everything", self.user.id());
        if self.rng.percent(50) {
            self.say_farewell(client).await;
        }
    }
}
