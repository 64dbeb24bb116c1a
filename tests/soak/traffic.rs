//! All the clients, and what came of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::closing;
use crate::diary::Diary;
use crate::faults::befall;
use crate::harness::names::unique;
use crate::harness::nodes::Nodes;
use crate::harness::transport::Transport;
use crate::harness::user::User;
use crate::oracle::{Oracle, Verdict};
use crate::rng::Rng;
use crate::steward::Steward;
use crate::towns::Towns;
use crate::wanderer::{Company, Wanderer};

const USERS: usize = 10;
/// Clients of each user.
const DEVICES: usize = 2;
/// Dialogs that everybody is in.
const OPEN_DIALOGS: usize = 3;
/// Dialogs that users are let into and thrown out of.
const CLOSED_DIALOGS: usize = 2;
/// How often a membership changes.
const CHANGE_EVERY: Duration = Duration::from_millis(250);
/// Longest until everything is answered, or everybody has everything.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// How often it is said how far a long soak is.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What the clients are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Send, move and get lost.
    Wander,
    /// Send nothing new, stay and read.
    Stay,
    /// Leave for good.
    Leave,
}

/// What was done, by all clients.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Sends that are not answered for good.
    pub(crate) open: AtomicUsize,
    accepted: AtomicUsize,
    refused: AtomicUsize,
    attaches: [AtomicUsize; 3],
    resumed: AtomicUsize,
    rebuilt: AtomicUsize,
    /// Ends of a connection without a word, with a farewell, and by lying unread.
    pub(crate) cut: AtomicUsize,
    pub(crate) farewells: AtomicUsize,
    pub(crate) lost: AtomicUsize,
    /// Typing, reads and the like.
    pub(crate) asides: AtomicUsize,
    removals: AtomicUsize,
    /// Clients that are here to stay.
    pub(crate) staying: AtomicUsize,
}

impl Tally {
    /// A send was answered for good.
    pub(crate) fn sent(&self, reply: &Value) {
        let count = if reply["type"] == "ok" { &self.accepted } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A client was welcomed.
    pub(crate) fn attached(&self, on: Transport, resume: &str) {
        self.attaches[on as usize].fetch_add(1, Ordering::Relaxed);
        match resume {
            "resumed" => self.resumed.fetch_add(1, Ordering::Relaxed),
            "rebuilt" => self.rebuilt.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    /// A soak that did nothing would find nothing.
    pub(crate) fn was_mixed(&self, length: Duration) {
        let seconds = length.as_secs() as usize;
        let least = |what: &str, count: &AtomicUsize, least: usize| {
            let count = count.load(Ordering::Relaxed);
            assert!(count >= least, "{count} {what} in {seconds} s: at least {least} are worth the name");
        };
        self.attaches.iter().for_each(|count| least("attaches by a transport", count, seconds));
        least("messages", &self.accepted, 5 * seconds);
        least("resumes", &self.resumed, seconds);
        least("rebuilt sessions", &self.rebuilt, 1);
        least("lost connections", &self.lost, seconds / 5);
        least("farewells", &self.farewells, seconds / 5);
        least("removals", &self.removals, seconds / 2);
    }
}

/// The clients, while they are under way.
pub(crate) struct Traffic<'n> {
    nodes: &'n Nodes,
    company: Company,
    phase: watch::Sender<Phase>,
    wanderers: JoinSet<()>,
    steward: JoinSet<()>,
    /// Who says the last word in every dialog.
    closer: User,
}

impl<'n> Traffic<'n> {
    /// Everybody comes.
    pub(crate) async fn begin(nodes: &'n Nodes, seed: u64) -> Self {
        let (oracle, tally) = (Oracle::default(), Arc::<Tally>::default());
        let phase = watch::Sender::new(Phase::Wander);
        let users: Vec<User> = (0..USERS).map(|_| nodes.user("wanderer")).collect();
        let ids: Vec<String> = users.iter().map(|user| user.id().to_owned()).collect();
        let closed: Vec<String> = (0..CLOSED_DIALOGS).map(|_| unique("closed")).collect();
        let closer = nodes.user("closer");
        let steward = Steward::open(nodes, &oracle, &closed, &ids, closer.id()).await;
        let mut dialogs: Vec<String> = (0..OPEN_DIALOGS).map(|_| unique("open")).collect();
        dialogs.extend(closed);
        let company = Company {
            dialogs: dialogs.into(),
            towns: Towns::of(nodes),
            oracle,
            tally: tally.clone(),
            diary: Diary::default(),
        };

        let mut wanderers = JoinSet::new();
        for (number, user) in (0..DEVICES).flat_map(|_| &users).enumerate() {
            let name = format!("client {number}, {}", user.id());
            let rng = Rng::new(seed.wrapping_mul(1000).wrapping_add(number as u64));
            let wanderer = Wanderer::new(name, user, company.clone(), rng);
            wanderers.spawn(wanderer.wander(phase.subscribe()));
        }
        let mut stewards = JoinSet::new();
        stewards.spawn(change_members(steward, Rng::new(seed ^ 0x57e), phase.subscribe(), tally));
        Self { nodes, company, phase, wanderers, steward: stewards, closer }
    }

    pub(crate) fn towns(&self) -> Towns {
        self.company.towns.clone()
    }

    /// Lets it go on for a while.
    pub(crate) async fn goes_on(&self, length: Duration) {
        sleep(length).await;
    }

    /// The same, and things happen to the servers.
    pub(crate) async fn goes_on_with_faults(&mut self, length: Duration, seed: u64) {
        let end = Instant::now() + length;
        let telling = async {
            loop {
                sleep(TELL_EVERY).await;
                println!("{:?} to go: {:?}", end - Instant::now(), self.company.tally);
            }
        };
        let done = tokio::select! {
            done = befall(self.nodes, &self.company.towns, seed, end) => done,
            () = telling => unreachable!("it tells until the end"),
            Some(ended) = self.wanderers.join_next() => panic!("a client has left before the end: {ended:?}"),
            Some(ended) = self.steward.join_next() => panic!("the steward has left before the end: {ended:?}"),
        };
        println!("{done:?}");
        assert!(done.nodes_killed > 0 && done.links_killed > 0, "{done:?} in {length:?}");
    }

    /// Everything is answered, everybody has everything, the oracle agrees, and everybody has gone.
    pub(crate) async fn ends(mut self) -> Arc<Tally> {
        self.phase.send_replace(Phase::Stay);
        while let Some(ended) = self.steward.join_next().await {
            ended.unwrap();
        }
        let tally = self.company.tally.clone();
        let clients = self.wanderers.len();
        self.until("everybody is here", || tally.staying.load(Ordering::Relaxed) == clients).await;
        self.until("everything is answered", || tally.open.load(Ordering::Relaxed) == 0).await;
        let stored = self.close().await;
        let oracle = self.company.oracle.clone();
        // If they don't, the oracle says who and what.
        let _ = timeout(CATCH_UP_MAX, async {
            while !stored.iter().all(|(dialog, messages)| oracle.all_have(dialog, messages.len() as u64)) {
                sleep(PAUSE).await;
            }
        })
        .await;
        let verdict: Verdict = oracle.judge(&stored);
        println!("{verdict:?}, {:?}", self.company.tally);
        assert_eq!(verdict.gaps, 0, "{verdict:?}");
        self.phase.send_replace(Phase::Leave);
        while let Some(ended) = self.wanderers.join_next().await {
            ended.unwrap();
        }
        tally
    }

    async fn until(&mut self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + CATCH_UP_MAX;
        while !holds() {
            if let Some(ended) = self.wanderers.try_join_next() {
                ended.unwrap();
            }
            let open = || self.company.oracle.open_sends();
            let faults = || self.company.oracle.faults();
            assert!(Instant::now() < deadline, "waited in vain until {what}: {:?}\n{:?}", open(), faults());
            sleep(PAUSE).await;
        }
    }

    /// The last word in every dialog, and all that the Store has of it.
    async fn close(&self) -> BTreeMap<String, Vec<Value>> {
        let closer = self.company.towns.get(0).afresh().user(&self.closer);
        let mut client = closer.attach(Transport::Ws).await;
        closing::close(&mut client, self.company.dialogs.iter().map(String::as_str)).await
    }
}

impl Drop for Traffic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.company.diary.show();
        }
    }
}

async fn change_members(
    mut steward: Steward,
    mut rng: Rng,
    mut phase: watch::Receiver<Phase>,
    tally: Arc<Tally>,
) {
    while *phase.borrow_and_update() == Phase::Wander {
        tokio::select! {
            () = sleep(CHANGE_EVERY) => {
                let removed = steward.changes_one(&mut rng).await;
                tally.removals.fetch_add(usize::from(removed), Ordering::Relaxed);
            }
            changed = phase.changed() => changed.unwrap(),
        }
    }
}
