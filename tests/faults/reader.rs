//! A client that wants to miss nothing: comes back, to whatever node is there, and goes on where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::attach::Attach;
use crate::harness::client::{Client, Place};
use crate::harness::runner::eventually;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;
use crate::harness::user::User;
use crate::oracle::Witness;

/// Before it tries again.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A reader of some dialogs.
pub(crate) struct Reader {
    pub(crate) user: User,
    pub(crate) on: Transport,
    /// The one it is at, and where it goes when that one is gone.
    pub(crate) nodes: [Stage; 2],
    pub(crate) witness: Witness,
    /// How often it was welcomed.
    pub(crate) attaches: Arc<AtomicUsize>,
}

impl Reader {
    /// The first attach, subscribed to the dialogs. On a busy machine the Store may be late at first.
    pub(crate) async fn begin(&self, dialogs: &[&str]) -> Client {
        let attach = Attach::new().dialogs(dialogs);
        eventually("all dialogs to be subscribed", || async {
            let client = self.nodes[0].user(&self.user).try_attach(self.on, attach.clone()).await.ok()?;
            let subscribed = client.welcome()["subscribed"]["dialogs"].as_array().map_or(0, Vec::len);
            if subscribed < dialogs.len() {
                return None;
            }
            self.welcomed(&client);
            Some(client)
        })
        .await
    }

    /// Reads for ever.
    pub(crate) async fn read(mut self, mut client: Client) {
        loop {
            while let Ok(event) = client.event_or_end().await {
                self.witness.event(&event);
            }
            client = self.come_back(client.cut()).await;
        }
    }

    async fn come_back(&mut self, place: Place) -> Client {
        loop {
            let place = Place { user: self.nodes[0].user(&place.user), ..place.clone() };
            match place.user.try_attach(self.on, place.again()).await {
                Ok(client) => {
                    assert_ne!(client.resume(), "expired", "{client}");
                    self.welcomed(&client);
                    return client;
                }
                Err(_) => {
                    self.nodes.swap(0, 1);
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn welcomed(&self, client: &Client) {
        self.attaches.fetch_add(1, Ordering::Relaxed);
        self.witness.welcomed(client.welcome());
    }
}
