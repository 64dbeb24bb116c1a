//! Whoever has something to tell: gives events to a server.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use edgeway::adapters::outbound::clock::SystemClock;
use edgeway::adapters::outbound::redis::bus::{self, RedisBus};
use edgeway::adapters::outbound::redis::commands::{self, RedisCommands};
use edgeway::application::ports::bus::EventLog;
use edgeway::application::vital::VitalTasks;
use edgeway::domain::ids::{DialogId, FeedKey};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::child::Server;
use crate::clock::now_ns;
use crate::control::Controller;
use crate::posts::{Manner, Posts};

/// What a message says if nobody says otherwise.
const SHORT: &str = "Shall we meet at the usual place? I'll bring the maps.";
/// What people write when they have more to say: some 420 characters.
pub(crate) const LONG: &str = "Shall we meet at the usual place at seven? I'll bring the maps, and if it rains we can \
    still go to the small cafe behind the station, the one with the long table by the window. Ben said he might be a bit \
    late because of the meeting, so please don't wait for him with the food. Does anybody know whether the last train \
    still leaves at a quarter past eleven? Otherwise I'd take the car and could give two of you a lift home.";

/// Gives messages to a server.
pub(crate) struct Publisher {
    place: Place,
    /// What they say.
    pub(crate) text: &'static str,
}

/// Where events are given to a server.
enum Place {
    /// The server's own door.
    Door(Controller),
    /// A peer's, by HTTP.
    Http(Posts),
    /// Redis, by the script that Stores use.
    Redis { bus: Arc<RedisBus>, tasks: TaskTracker, _until: tokio_util::sync::DropGuard },
}

impl Publisher {
    pub(crate) async fn door(server: &Server) -> anyhow::Result<Self> {
        Ok(Self { place: Place::Door(Controller::connect(server.control).await?), text: SHORT })
    }

    /// By whatever door the server has.
    pub(crate) async fn of(server: &Server) -> anyhow::Result<Self> {
        let Some(manner) = server.posted else { return Self::door(server).await };
        Ok(Self { place: Place::Http(Posts::connect(server.control, manner).await?), text: SHORT })
    }

    /// What clients of a peer that says nothing of its own are told first, as if it welcomed them.
    pub(crate) async fn welcome(&mut self, dialog: Option<usize>) -> anyhow::Result<()> {
        let Place::Http(posts) = &mut self.place else { return Ok(()) };
        if posts.manner == Manner::Centrifugo {
            return Ok(());
        }
        posts.send(dialog, 1, br#"{"type":"welcome"}"#).await
    }

    pub(crate) fn redis(url: &str) -> anyhow::Result<Self> {
        let (tasks, until) = (TaskTracker::new(), CancellationToken::new());
        let vital = VitalTasks::from(tasks.clone());
        let servers = commands::Config::new(url.to_owned());
        let commands = RedisCommands::start(&servers, &vital, until.clone())?;
        let clock = Arc::new(SystemClock::start());
        let bus = RedisBus::start(&servers, commands, bus::Config::default(), clock, &vital, until.clone())?;
        let place = Place::Redis { bus: Arc::new(bus), tasks, _until: until.drop_guard() };
        Ok(Self { place, text: SHORT })
    }

    /// Gives an event, so many times, to one dialog, and does not wait for what comes of it.
    pub(crate) async fn publish(&mut self, dialog: usize, count: usize, batch: bool) -> anyhow::Result<()> {
        let json = message(dialog, self.text);
        match &mut self.place {
            Place::Door(door) => door.send(dialog, count, batch, json.as_bytes()).await,
            Place::Http(posts) => posts.send(Some(dialog), count, json.as_bytes()).await,
            Place::Redis { bus, tasks, .. } => {
                let feed = FeedKey::Dialog(DialogId::parse(&format!("d{dialog}")).context("an id")?);
                for index in 0..count {
                    let (bus, feed, json) = (bus.clone(), feed.clone(), Bytes::from(json.clone()));
                    let key = format!("m:{}:{index}", now_ns());
                    tasks.spawn(async move { bus.append(&feed, &key, json).await });
                }
                Ok(())
            }
        }
    }
}

/// A message that tells when it left.
fn message(dialog: usize, text: &str) -> String {
    let now = now_ns();
    format!(
        concat!(
            r#"{{"type":"message_new","dialog_id":"d{dialog}","message":{{"#,
            r#""message_id":"0198a7c2-6a1e-7c3b-9d54-0f2b6f1c7e10","dialog_id":"d{dialog}","seq":4711,"#,
            r#""sender_id":"alice","client_message_id":"c-0198a7c26a1e","#,
            r#""body":{{"text":"t={now} {text}"}},"#,
            r#""created_at":"2027-01-15T08:00:00.000Z"}}}}"#
        ),
        dialog = dialog,
        now = now,
        text = text
    )
}
