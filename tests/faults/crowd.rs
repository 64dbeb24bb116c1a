//! Writers and readers at two nodes, and what came of it in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::closing;
use crate::harness::nodes::Nodes;
use crate::harness::stage::Stage;
use crate::harness::transport::Transport;
use crate::harness::user::User;
use crate::oracle::{Oracle, Verdict};
use crate::reader::Reader;
use crate::writer::{Tally, Writer};

pub(crate) const DIALOGS: [&str; 4] = ["tea", "soup", "cake", "wine"];
const WRITERS: usize = 4;
/// After a fault: longest time without a send that is accepted, or for readers to come to have everything.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// Four writers and six readers: every transport at every node.
pub(crate) struct Crowd {
    pub(crate) oracle: Oracle,
    pub(crate) tally: Arc<Tally>,
    /// Welcomes of all readers so far.
    pub(crate) attaches: Arc<AtomicUsize>,
    readers: JoinSet<()>,
    writers: JoinSet<()>,
    over: watch::Sender<bool>,
    closer: User,
}

impl Crowd {
    /// Begins to read, and then to write about so many messages a second in all.
    pub(crate) async fn begin(nodes: &Nodes, messages_a_second: usize) -> Self {
        let oracle = Oracle::default();
        let over = watch::Sender::new(false);
        let mut crowd = Self {
            oracle: oracle.clone(),
            tally: Arc::default(),
            attaches: Arc::default(),
            readers: JoinSet::new(),
            writers: JoinSet::new(),
            over,
            closer: nodes.user_at_b("closer"),
        };
        for home in [[&nodes.a, &nodes.b], [&nodes.b, &nodes.a]] {
            for on in Transport::ALL {
                let user = nodes.user("reader");
                crowd.add_reader(user, home.map(Stage::clone), on).await;
            }
        }
        for n in 0..WRITERS {
            let home = if n % 2 == 0 { [&nodes.a, &nodes.b] } else { [&nodes.b, &nodes.a] };
            let mut dialogs = DIALOGS.map(str::to_owned).to_vec();
            dialogs.rotate_left(n);
            let writer = Writer {
                user: nodes.user("writer"),
                nodes: home.map(Stage::clone),
                dialogs,
                // Twenty-five steps a second.
                each_step: (messages_a_second / 25 / WRITERS).max(1),
                oracle: oracle.clone(),
                tally: crowd.tally.clone(),
            };
            crowd.writers.spawn(writer.write(crowd.over.subscribe()));
        }
        crowd
    }

    async fn add_reader(&mut self, user: User, nodes: [Stage; 2], on: Transport) {
        let witness = self.oracle.witness(&format!("{} by {on}", user.id()), user.id());
        let reader = Reader { user, on, nodes, witness, attaches: self.attaches.clone() };
        let client = reader.begin(&DIALOGS).await;
        self.readers.spawn(reader.read(client));
    }

    /// Lets it go on for a while.
    pub(crate) async fn goes_on(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Sends that were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.tally.accepted.load(Ordering::Relaxed)
    }

    /// Waits until so many more sends were accepted.
    pub(crate) async fn accepts(&self, more: usize) {
        let until = self.accepted() + more;
        let accepting = async {
            while self.accepted() < until {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let accepted = tokio::time::timeout(CATCH_UP_MAX, accepting).await;
        assert!(accepted.is_ok(), "{} of {until} sends were accepted", self.accepted());
    }

    /// Ends the writing, lets everybody catch up, and asks the oracle.
    pub(crate) async fn verdict(mut self) -> Verdict {
        self.over.send_replace(true);
        let mut accepted = self.accepted();
        let mut progress = Instant::now();
        while !self.writers.is_empty() {
            if let Some(ended) = self.writers.try_join_next() {
                ended.unwrap();
            }
            if self.accepted() > accepted {
                (accepted, progress) = (self.accepted(), Instant::now());
            } else if progress.elapsed() > CATCH_UP_MAX {
                let open = self.oracle.open_sends();
                panic!("{} sends are not answered, {accepted} were: {open:?}", open.len());
            }
            tokio::time::sleep(PAUSE).await;
        }
        // Whoever was told a gap learns by the next message where it stands.
        let stored = closing::close(&mut self.closer.attach(Transport::Ws).await, DIALOGS).await;
        let caught_up = async {
            let has_all = |(dialog, messages): (&String, &Vec<Value>)| {
                self.oracle.all_have(dialog, messages.len() as u64)
            };
            while !stored.iter().all(has_all) {
                if let Some(ended) = self.readers.try_join_next() {
                    ended.unwrap();
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        // If they don't, the oracle says who and what.
        let _ = tokio::time::timeout(CATCH_UP_MAX, caught_up).await;
        if let Some(ended) = self.readers.try_join_next() {
            ended.unwrap();
        }
        let verdict = self.oracle.judge(&stored);
        println!("{verdict:?}, {} put off", self.tally.put_off.load(Ordering::Relaxed));
        verdict
    }
}
