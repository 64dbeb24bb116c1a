//! Everything together: the steps of a run, the faults, and the calm at the end in which all must catch up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeway::domain::event::{Event, EventKind, MembershipChange};
use edgeway::domain::ids::{DialogId, FeedKey, SessionId, UserId};
use edgeway::domain::presence::TypingState;
use edgeway::domain::time::{Tick, UnixMillis};
use edgeway::session::machine::{Config, Session};
use edgeway::session::outbox::OutboxLimits;
use edgeway::session::piece::Progress;
use edgeway::session::reader::{
    AttachRefused, AttachRequest, Dismissal, DrainBudget, Drained, Outgoing, Resume, Transport,
};
use edgeway::session::since::Named;
use edgeway::session::snapshot::{SessionSnapshot, SubscribeOptions};
use edgeway::session::subscriptions::Confirmed;

use super::bus::Log;
use super::client::{Client, id_of};
use super::node::{Logs, Node, read_piece};
use crate::rng::Rng;

const STEPS: u64 = 220;
const CALM_ROUNDS_MAX: usize = 400;
const OPTIONS: SubscribeOptions = SubscribeOptions { presence: false, typing: true };
const BUS_BEGAN: u64 = 1_000_000_000;

/// A user, the client, and where its session is.
struct Seat {
    client: Client,
    node: Option<Node>,
    record: SessionSnapshot,
    /// When each subscription of the record was last confirmed.
    record_followed: BTreeMap<DialogId, u64>,
    follows_all: bool,
}

pub(crate) struct World {
    rng: Rng,
    now: u64,
    logs: Logs,
    seats: Vec<Seat>,
    members: BTreeSet<(UserId, DialogId)>,
    dialogs: Vec<DialogId>,
    next_id: u64,
    config: Arc<Config>,
    skew_max: u64,
    told: bool,
    /// Log entries kept.
    kept: usize,
    /// Whether failovers lose the ends of logs.
    rewinds: bool,
}

macro_rules! tell {
    ($world:expr, $($what:tt)*) => {
        if $world.told {
            println!("[{:>7}] {}", $world.now, format!($($what)*));
        }
    };
}

impl World {
    pub(crate) fn new(seed: u64, told: bool) -> Self {
        let mut rng = Rng::new(seed);
        let outbox =
            OutboxLimits { events: rng.between(3, 24) as usize, bytes: rng.between(150, 2000) as usize };
        let config = Arc::new(Config { outbox, subscriptions_max: 10, ..Config::default() });
        let skew_max = if rng.percent(40) { 2000 } else { 0 };
        let mut world = Self {
            kept: rng.between(4, 60) as usize,
            rewinds: rng.percent(40),
            rng,
            now: 0,
            logs: Logs::new(),
            seats: Vec::new(),
            members: BTreeSet::new(),
            dialogs: Vec::new(),
            next_id: 0,
            config,
            skew_max,
            told,
        };
        for number in 0..world.rng.between(1, 4) {
            let dialog = DialogId::parse(&format!("d{number}")).unwrap();
            world.add_log(FeedKey::Dialog(dialog.clone()));
            world.dialogs.push(dialog);
        }
        for number in 0..world.rng.between(1, 2) {
            let user = UserId::parse(&format!("u{number}")).unwrap();
            world.add_log(FeedKey::User(user.clone()));
            world.add_seat(user);
        }
        world
    }

    fn add_log(&mut self, feed: FeedKey) {
        let skew = self.rng.between(0, 2 * self.skew_max) as i64 - self.skew_max as i64;
        self.logs.insert(feed.clone(), Log::new(feed, skew));
    }

    fn add_seat(&mut self, user: UserId) {
        for dialog in self.dialogs.clone() {
            self.members.insert((user.clone(), dialog));
        }
        let id = SessionId::parse(&format!("s-{user}")).unwrap();
        let machine = Session::new(self.config.clone(), id, user.clone(), None, 7, Tick(0), self.bus_now());
        let mut node = Node::new(machine, self.bus_now());
        let own = FeedKey::User(user.clone());
        let log = &self.logs[&own];
        node.machine
            .subscribe(
                &own,
                OPTIONS,
                log.head.clone(),
                Confirmed { feed: log.head.clone(), own: None, at: UnixMillis(0) },
                0,
            )
            .unwrap();
        node.join(log);
        let follows_all = self.rng.percent(30);
        if follows_all {
            node.machine.set_follow_all(Some(OPTIONS));
        }
        let mut client = Client::new(user);
        client.follow(&own, 0, log.head.clone(), Some(0), 0);
        let record = node.machine.snapshot();
        self.seats.push(Seat {
            client,
            node: Some(node),
            record,
            record_followed: BTreeMap::new(),
            follows_all,
        });
        let seat = self.seats.len() - 1;
        for dialog in self.dialogs.clone() {
            if follows_all || self.rng.percent(80) {
                self.follow(seat, &dialog, false);
            }
        }
        self.save(seat);
    }

    fn bus_now(&self) -> UnixMillis {
        UnixMillis(BUS_BEGAN + self.now)
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.now += match self.rng.below(100) {
                0 => self.rng.between(20_000, 200_000),
                1..5 => self.rng.between(3_000, 20_000),
                5..60 => self.rng.between(0, 1_500),
                _ => self.rng.between(0, 5),
            };
            let seat = self.rng.index(self.seats.len());
            self.step(seat)?;
            for seat in 0..self.seats.len() {
                self.look_at_time(seat);
                self.check(seat)?;
            }
        }
        self.calm()
    }

    fn step(&mut self, seat: usize) -> Result<(), String> {
        match self.rng.below(100) {
            0..22 => {
                for _ in 0..self.rng.between(1, 3) {
                    self.append_something();
                }
            }
            22..42 => {
                for _ in 0..self.rng.between(1, 4) {
                    self.deliver(seat);
                }
            }
            42..44 => self.audit(seat),
            44..57 => self.care(seat)?,
            57..67 => self.attach(seat)?,
            67..80 => self.drain(seat)?,
            80..84 => self.acknowledge(seat)?,
            84..86 => self.detach(seat),
            86..88 => self.crash(seat),
            88..91 => self.change_membership(seat),
            91..95 => self.change_following(seat),
            95..97 => self.type_something(seat),
            97 => self.trim(),
            98 => self.lose_log(),
            _ => self.interrupt(seat),
        }
        Ok(())
    }

    // The bus.

    fn body(&mut self) -> Bytes {
        let id = self.fresh_id();
        let large = self.rng.percent(10);
        let padding = self.rng.between(0, if large { 400 } else { 40 }) as usize;
        Bytes::from(format!("{id};{}", "x".repeat(padding)))
    }

    fn append_something(&mut self) {
        let dialog = self.rng.index(self.dialogs.len());
        let feed = FeedKey::Dialog(self.dialogs[dialog].clone());
        let someone = UserId::parse("someone").unwrap();
        let kind = match self.rng.below(10) {
            0 => None,
            1..7 => {
                let log = self.logs.get_mut(&feed).unwrap();
                log.seq += 1;
                Some(EventKind::Message { sender: someone, seq: log.seq, created_at: None })
            }
            7 => Some(EventKind::Receipt { user: someone }),
            _ => Some(EventKind::Application),
        };
        self.append(&feed, kind);
    }

    fn append(&mut self, feed: &FeedKey, kind: Option<EventKind>) {
        let body = self.body();
        let now = self.bus_now();
        let kept = self.kept;
        let log = self.logs.get_mut(feed).unwrap();
        let entry = log.append(kind, body, now);
        log.trim_to(kept);
        tell!(
            self,
            "append {feed} {} {}",
            entry.offset,
            entry.event.as_ref().map_or("unreadable".into(), |e| format!("#{} {:?}", id_of(e), e.kind))
        );
        for seat in &mut self.seats {
            if let Some(view) = seat.node.as_mut().and_then(|node| node.views.get_mut(feed))
                && !self.rng.percent(6)
            {
                view.inbox.push_back(entry.clone());
            }
        }
    }

    fn trim(&mut self) {
        let which = self.rng.index(self.logs.len());
        let len = if self.rng.percent(30) { 0 } else { self.rng.between(0, 6) as usize };
        let log = self.logs.values_mut().nth(which).unwrap();
        log.trim_to(len);
        tell!(self, "trim {} to {len}", log.key);
    }

    fn lose_log(&mut self) {
        let now = self.bus_now();
        let which = self.rng.index(self.logs.len());
        let by = if self.rewinds && self.rng.percent(50) { Some(self.rng.between(1, 3)) } else { None };
        let log = self.logs.values_mut().nth(which).unwrap();
        let feed = log.key.clone();
        match by {
            Some(by) => log.rewind(by, now),
            None => log.reset(now),
        }
        tell!(self, "lose {feed}: {by:?} {:?}", self.logs[&feed].head);
        // A failover is never unseen: every link was cut, and every feed looks before anything is appended.
        if by.is_some() {
            for seat in 0..self.seats.len() {
                let known = self.seats[seat].node.as_ref().is_some_and(|node| {
                    let followed = node.machine.subscriptions().find(&feed);
                    let has = self.seats[seat].client.state.get(&feed).map(|state| &state.last);
                    followed.zip(has).is_some_and(|(followed, has)| {
                        followed.position.epoch == has.epoch && followed.position.offset >= has.offset
                    })
                });
                let own = feed == FeedKey::User(self.seats[seat].client.user.clone());
                if !known || own {
                    // What this client has may stand in the log no more, and nobody remembers that it has it; or
                    // a removal is gone that nobody has told it yet.
                    self.seats[seat].client.trust_no_more(&feed);
                }
            }
            for seat in 0..self.seats.len() {
                if let Some(node) = &mut self.seats[seat].node {
                    node.rewound.insert(feed.clone());
                    if let Some(view) = node.views.get_mut(&feed) {
                        view.inbox.clear();
                        view.interrupted = true;
                    }
                    node.pending.retain(|piece| piece.asked.feed != feed);
                    while node.views.get(&feed).is_some_and(|view| view.interrupted) {
                        node.audit(&feed, &self.logs, now, &mut self.rng);
                    }
                }
            }
        }
    }

    fn interrupt(&mut self, seat: usize) {
        let Some(node) = &mut self.seats[seat].node else { return };
        let which = self.rng.index(node.views.len());
        let view = node.views.values_mut().nth(which).unwrap();
        view.inbox.clear();
        view.interrupted = true;
    }

    // The node.

    fn deliver(&mut self, seat: usize) {
        let now = self.bus_now();
        let Some(node) = &mut self.seats[seat].node else { return };
        let waiting: Vec<FeedKey> = node
            .views
            .iter()
            .filter(|(_, view)| view.interrupted || !view.inbox.is_empty())
            .map(|(feed, _)| feed.clone())
            .collect();
        if waiting.is_empty() {
            return;
        }
        let feed = &waiting[self.rng.index(waiting.len())];
        node.deliver_one(feed, &self.logs, now, &mut self.rng);
        tell!(self, "seat {seat}: deliver {feed}");
        self.do_chores(seat);
    }

    fn audit(&mut self, seat: usize) {
        let now = self.bus_now();
        let Some(node) = &mut self.seats[seat].node else { return };
        for feed in node.views.keys().cloned().collect::<Vec<_>>() {
            node.audit(&feed, &self.logs, now, &mut self.rng);
        }
        tell!(self, "seat {seat}: audit");
        self.do_chores(seat);
    }

    fn do_chores(&mut self, seat: usize) {
        let Some(node) = &mut self.seats[seat].node else { return };
        let mut changed = std::mem::take(&mut node.left);
        let recheck = std::mem::take(&mut node.recheck);
        let joined = std::mem::take(&mut node.joined);
        node.views.retain(|feed, _| node.machine.subscriptions().find(feed).is_some());
        for dialog in joined {
            let follows_all = self.seats[seat].follows_all;
            let user = self.seats[seat].client.user.clone();
            if follows_all && self.members.contains(&(user, dialog.clone())) {
                self.follow(seat, &dialog, false);
            }
            changed = true;
        }
        if recheck {
            self.recheck(seat);
        }
        if changed || recheck {
            self.save(seat);
        }
    }

    fn save(&mut self, seat: usize) {
        let seat = &mut self.seats[seat];
        if let Some(node) = &seat.node {
            seat.record = node.machine.snapshot();
            seat.record_followed = node.followed.clone();
        }
    }

    /// Reads a log, or takes in what was read.
    fn care(&mut self, seat: usize) -> Result<(), String> {
        let Some(node) = &mut self.seats[seat].node else { return Ok(()) };
        if !node.pending.is_empty() && self.rng.percent(70) {
            let piece = node.pending.remove(0);
            return self.apply(seat, piece).map(drop);
        }
        let mut due = node.machine.due_catch_ups();
        due.sort_by(|a, b| a.feed.cmp(&b.feed));
        if due.is_empty() {
            return Ok(());
        }
        let asked = due.swap_remove(self.rng.index(due.len()));
        let piece = self.read(asked);
        tell!(
            self,
            "seat {seat}: read {} after {:?} ({:?})",
            piece.asked.feed,
            piece.asked.position,
            piece.asked.from
        );
        if self.rng.percent(50) {
            return self.apply(seat, piece).map(drop);
        }
        self.seats[seat].node.as_mut().unwrap().pending.push(piece);
        Ok(())
    }

    fn read(&mut self, asked: edgeway::session::catch_up::CatchUp) -> edgeway::session::piece::CaughtUp {
        let limit = self.rng.between(2, 12) as usize;
        let restores = self.rng.percent(60);
        let id = self.fresh_id();
        let log = &self.logs[&asked.feed];
        read_piece(asked, log, limit, restores, id)
    }

    fn apply(&mut self, seat: usize, piece: edgeway::session::piece::CaughtUp) -> Result<Progress, String> {
        let feed = piece.asked.feed.clone();
        let now = self.bus_now();
        let node = self.seats[seat].node.as_mut().unwrap();
        let progress = node.apply(piece, &self.logs, now);
        if progress == Progress::Full && node.machine.due_catch_ups().iter().any(|due| due.feed == feed) {
            return Err(format!("{feed} is full and due at once: the node would spin"));
        }
        tell!(self, "seat {seat}: applied {feed}: {progress:?}");
        self.do_chores(seat);
        Ok(progress)
    }

    fn look_at_time(&mut self, seat: usize) {
        let (now, unix) = (Tick(self.now), self.bus_now());
        let Some(node) = &mut self.seats[seat].node else { return };
        if now < node.machine.next_deadline(now, unix) {
            return;
        }
        let out = node.machine.handle_timeout(now, unix);
        if out.gone || out.expired {
            self.save(seat);
        }
        if out.expired {
            tell!(self, "seat {seat}: expired");
            self.seats[seat].node = None;
        }
    }

    fn crash(&mut self, seat: usize) {
        tell!(self, "seat {seat}: node dies");
        let Seat { client, node, .. } = &mut self.seats[seat];
        // What only this node knew: that a log no longer has what was sent from it.
        for feed in node.take().into_iter().flat_map(|node| node.rewound) {
            client.trust_no_more(&feed);
        }
    }

    // The client.

    fn attach(&mut self, seat: usize) -> Result<(), String> {
        let choice = self.rng.below(100);
        let client = &mut self.seats[seat].client;
        let presented = if choice < 10 && !client.must_present {
            None
        } else if choice < 30 && !client.history.is_empty() {
            let which = self.rng.index(client.history.len());
            let (cursor, old) = client.history[which].clone();
            if choice < 20 {
                client.history.truncate(which + 1);
                client.go_back(cursor, &old);
            }
            Some(cursor)
        } else {
            client.cursor
        };
        self.attach_with(seat, presented)
    }

    fn attach_with(
        &mut self,
        seat: usize,
        presented: Option<edgeway::session::cursor::Cursor>,
    ) -> Result<(), String> {
        let (now, bus_now) = (Tick(self.now), self.bus_now());
        let client = &mut self.seats[seat].client;
        client.attaches += 1;
        let transport = [Transport::WebSocket, Transport::Sse, Transport::Poll][self.rng.index(3)];
        let request = AttachRequest {
            cursor: presented,
            attach: Some(client.attaches),
            counted: false,
            transport,
            token_expires_at: bus_now.plus(Duration::from_secs(24 * 3600)),
        };
        let from_record = self.seats[seat].node.is_none();
        if from_record {
            let mut record = self.seats[seat].record.clone();
            let user = record.user_id.clone();
            record.keep_subscriptions(|kept| {
                kept.feed.dialog().is_none_or(|dialog| self.members.contains(&(user.clone(), dialog.clone())))
            });
            let base = record.acknowledged.watermark;
            let machine = Session::from_snapshot(self.config.clone(), record, now);
            let mut node = Node::new(machine, base);
            node.followed = self.seats[seat].record_followed.clone();
            self.seats[seat].node = Some(node);
        }
        let Seat { client, node, .. } = &mut self.seats[seat];
        let node = node.as_mut().unwrap();
        let old_reader = node.reader;
        let attached = match node.machine.attach(&request, bus_now) {
            Ok(attached) => attached,
            Err(why) => return Err(format!("attach with {presented:?} refused: {why}")),
        };
        if node.machine.attach(&request, bus_now) != Err(AttachRefused::Stale) {
            return Err("a repeated attach was not refused".into());
        }
        if let Some(old) = old_reader {
            let mut none = Vec::new();
            let told = node.machine.drain(old, DrainBudget { events: 9, bytes: 999 }, &mut none);
            if told != Drained::Dismissed(Dismissal::Superseded) || !none.is_empty() {
                return Err(format!("the old reader was told {told:?}"));
            }
        }
        node.reader = Some(attached.reader);
        client.attached(attached.resume, presented, attached.cursor)?;
        if presented.is_none() || self.rng.percent(80) {
            client.remember(attached.cursor);
        }
        if attached.resume == Resume::Rebuilt {
            node.base = attached.cursor.watermark;
            node.pending.clear();
        }
        if from_record {
            let feeds: Vec<FeedKey> =
                node.machine.subscriptions().iter().map(|(feed, _)| feed.clone()).collect();
            for feed in feeds {
                node.join(&self.logs[&feed]);
            }
        }
        if attached.resume == Resume::Rebuilt {
            self.save(seat);
        }
        tell!(self, "seat {seat}: attach with {presented:?}: {:?} from {}", attached.resume, attached.cursor);
        if from_record {
            self.recheck(seat);
        }
        Ok(())
    }

    /// What a node asks the Store when membership events may have been missed.
    fn recheck(&mut self, seat: usize) {
        let follows_all = self.seats[seat].follows_all;
        let user = self.seats[seat].client.user.clone();
        for dialog in self.dialogs.clone() {
            if !self.members.contains(&(user.clone(), dialog.clone())) {
                let node = self.seats[seat].node.as_mut().unwrap();
                if node.machine.unsubscribe(&dialog).is_some() {
                    node.views.remove(&FeedKey::Dialog(dialog));
                }
            } else if follows_all {
                self.follow(seat, &dialog, false);
            }
        }
        self.save(seat);
    }

    fn drain(&mut self, seat: usize) -> Result<(), String> {
        let budget = DrainBudget {
            events: self.rng.between(1, 12) as usize,
            bytes: self.rng.between(20, 1500) as usize,
        };
        let arrives = if self.rng.percent(75) { usize::MAX } else { self.rng.between(0, 6) as usize };
        self.drain_with(seat, budget, arrives).map(drop)
    }

    /// Only the first `arrives` of what is handed out arrive; then the connection is gone.
    fn drain_with(&mut self, seat: usize, budget: DrainBudget, arrives: usize) -> Result<Drained, String> {
        let told = self.told;
        let Seat { client, node, .. } = &mut self.seats[seat];
        let Some(node) = node else { return Ok(Drained::Empty) };
        let Some(reader) = node.reader else { return Ok(Drained::Empty) };
        let mut out = Vec::new();
        let drained = node.machine.drain(reader, budget, &mut out);
        let lost_some = out.len() > arrives;
        for (index, outgoing) in out.iter().enumerate() {
            match outgoing {
                Outgoing::Event { cursor, event } => {
                    if told {
                        println!(
                            "          seat {seat} {} {cursor} {} {:?} {:?}",
                            if index < arrives { "got" } else { "lost" },
                            event.feed,
                            event.logged.as_ref().map(|logged| logged.offset),
                            event.body
                        );
                    }
                    if event.feed.dialog().is_some_and(|dialog| node.revoked.contains(dialog)) {
                        return Err(format!("{event:?} left after its revoke"));
                    }
                    client.check_handed_out(*cursor, event)?;
                    if index < arrives {
                        let followed = |feed: &FeedKey| node.machine.subscriptions().find(feed).is_some();
                        client.process(*cursor, event, &self.logs, followed)?;
                    }
                }
                Outgoing::Ephemeral(event) => client.ephemeral(event)?,
                Outgoing::TokenExpiring(_) => return Err("no token expires here".into()),
            }
        }
        if lost_some {
            if self.rng.percent(50) {
                node.machine.detach(reader, Tick(self.now));
            }
            node.reader = None;
        }
        Ok(drained)
    }

    fn acknowledge(&mut self, seat: usize) -> Result<(), String> {
        let Seat { client, node, .. } = &mut self.seats[seat];
        let (Some(node), Some(cursor), false) = (node, client.cursor, client.must_present) else {
            return Ok(());
        };
        let cursor = if self.rng.percent(25) && !client.history.is_empty() {
            client.history[self.rng.index(client.history.len())].0
        } else {
            cursor
        };
        tell!(self, "seat {seat}: ack {cursor}");
        node.machine.acknowledge(cursor).map_err(|why| format!("ack {cursor} refused: {why}"))
    }

    fn detach(&mut self, seat: usize) {
        let Some(node) = &mut self.seats[seat].node else { return };
        if let Some(reader) = node.reader.take() {
            node.machine.detach(reader, Tick(self.now));
            tell!(self, "seat {seat}: detach");
        }
    }

    fn change_membership(&mut self, seat: usize) {
        let user = self.seats[seat].client.user.clone();
        let dialog = self.dialogs[self.rng.index(self.dialogs.len())].clone();
        let key = (user.clone(), dialog.clone());
        let change = if self.members.remove(&key) {
            MembershipChange::Removed
        } else {
            self.members.insert(key);
            MembershipChange::Added
        };
        let kind = EventKind::Membership { dialog: dialog.clone(), user: user.clone(), change };
        let mut feeds = [FeedKey::Dialog(dialog), FeedKey::User(user)];
        if self.rng.percent(50) {
            feeds.reverse();
        }
        for feed in feeds {
            self.append(&feed, Some(kind.clone()));
        }
    }

    fn change_following(&mut self, seat: usize) {
        if self.seats[seat].node.as_ref().is_none_or(|node| node.reader.is_none())
            || self.seats[seat].client.must_present
        {
            return;
        }
        let dialog = self.dialogs[self.rng.index(self.dialogs.len())].clone();
        let feed = FeedKey::Dialog(dialog.clone());
        let user = self.seats[seat].client.user.clone();
        if self.members.contains(&(user, dialog.clone())) && self.rng.percent(75) {
            let since = self.rng.percent(50);
            self.follow(seat, &dialog, since);
        } else if !self.seats[seat].follows_all {
            let Seat { client, node, .. } = &mut self.seats[seat];
            let node = node.as_mut().unwrap();
            node.machine.unsubscribe(&dialog);
            node.views.remove(&feed);
            client.unfollow(&feed);
        }
        tell!(self, "seat {seat}: changes following {dialog}");
        self.save(seat);
    }

    /// What the subscribe use-case does, as far as the session is concerned.
    fn follow(&mut self, seat: usize, dialog: &DialogId, since: bool) {
        let (instance, bus_now) = (self.fresh_id(), self.bus_now());
        let feed = FeedKey::Dialog(dialog.clone());
        let log = &self.logs[&feed];
        let Seat { client, node, .. } = &mut self.seats[seat];
        let node = node.as_mut().unwrap();
        let known = client.state.get(&feed).map(|state| (state.last.clone(), state.seq));
        let since = known.filter(|_| since);
        let head = node.views.get(&feed).map_or(&log.head, |view| &view.position).clone();
        let own = node.views.get(&FeedKey::User(client.user.clone())).map(|view| view.position.clone());
        let confirmed = Confirmed { feed: head.clone(), own, at: bus_now };
        let (position, seq) = since.clone().unwrap_or((head, Some(log.seq)));
        let known = since.is_none() && node.machine.subscriptions().find(&feed).is_some();
        let last_message_seq = seq.unwrap_or(0);
        let followed = if since.is_some() {
            let heard = Some(node.machine.heard());
            let named = Named { position: position.clone(), last_message_seq, heard };
            node.machine.follow_since(&feed, OPTIONS, named, confirmed)
        } else {
            node.machine.subscribe(&feed, OPTIONS, position.clone(), confirmed, last_message_seq)
        };
        if followed.is_err() {
            return;
        }
        node.join(log);
        node.revoked.remove(dialog);
        node.followed.insert(dialog.clone(), instance);
        if !known {
            // Begun anew amid a gap's messages, the rest of them is forgone.
            let said = if since.is_some() { last_message_seq } else { 0 };
            client.follow(&feed, instance, position, seq.filter(|_| since.is_none()), said);
        }
    }

    fn type_something(&mut self, seat: usize) {
        let dialog = self.dialogs[self.rng.index(self.dialogs.len())].clone();
        let id = self.fresh_id();
        let now = self.bus_now();
        let user = UserId::parse(&format!("typist{}", self.rng.below(3))).unwrap();
        let Some(node) = &mut self.seats[seat].node else { return };
        let event = Event {
            feed: FeedKey::Dialog(dialog),
            logged: None,
            kind: EventKind::Typing { user, state: TypingState::Started },
            body: Bytes::from(format!("{id};typing")),
        };
        let settled = node.settled(&self.logs, now);
        node.machine.push(&Arc::new(event), settled);
    }

    fn check(&mut self, seat: usize) -> Result<(), String> {
        let limits = (self.config.outbox.events, self.config.outbox.bytes);
        let tolerance = 2 * self.skew_max;
        match &mut self.seats[seat].node {
            Some(node) => node.check(&self.logs, limits, tolerance),
            None => Ok(()),
        }
    }

    // The end.

    /// No more faults: everybody must get everything.
    fn calm(&mut self) -> Result<(), String> {
        tell!(self, "calm");
        for seat in 0..self.seats.len() {
            let cursor = self.seats[seat].client.cursor;
            self.attach_with(seat, cursor)?;
            let mut rounds = 0;
            while !self.calm_round(seat)? {
                rounds += 1;
                if rounds > CALM_ROUNDS_MAX {
                    let node = self.seats[seat].node.as_ref().unwrap();
                    return Err(format!("never catches up: {:?}", node.machine));
                }
            }
            self.check_whole(seat)?;
        }
        Ok(())
    }

    /// True when nothing is left to do.
    fn calm_round(&mut self, seat: usize) -> Result<bool, String> {
        self.now += 10;
        let now = self.bus_now();
        let node = self.seats[seat].node.as_mut().unwrap();
        let feeds: Vec<FeedKey> = node.views.keys().cloned().collect();
        for feed in &feeds {
            while node.views[feed].interrupted || !node.views[feed].inbox.is_empty() {
                node.deliver_one(feed, &self.logs, now, &mut self.rng);
            }
            node.audit(feed, &self.logs, now, &mut self.rng);
        }
        self.do_chores(seat);
        self.check(seat)?;
        let pending = std::mem::take(&mut self.seats[seat].node.as_mut().unwrap().pending);
        for piece in pending {
            self.apply(seat, piece)?;
            self.check(seat)?;
        }
        let mut due = self.seats[seat].node.as_ref().unwrap().machine.due_catch_ups();
        due.sort_by(|a, b| a.feed.cmp(&b.feed));
        for asked in due {
            let piece = self.read(asked);
            self.apply(seat, piece)?;
            self.check(seat)?;
        }
        let drained = self.drain_with(seat, DrainBudget { events: 8, bytes: 1000 }, usize::MAX)?;
        let node = self.seats[seat].node.as_ref().unwrap();
        let settled = node.views.iter().all(|(feed, view)| {
            !view.interrupted && view.inbox.is_empty() && view.position == self.logs[feed].head
        });
        let reader = node.reader.unwrap();
        Ok(settled
            && drained == Drained::Empty
            && node.machine.subscriptions().behind() == 0
            && !node.machine.is_readable(reader))
    }

    fn check_whole(&self, seat: usize) -> Result<(), String> {
        let Seat { client, node, follows_all, .. } = &self.seats[seat];
        let followed = node.as_ref().unwrap().machine.subscriptions();
        let own = &client.state[&FeedKey::User(client.user.clone())];
        for feed in client.state.keys().filter(|_| !own.untrusted && !client.unsure) {
            if followed.find(feed).is_none() {
                return Err(format!("{} still follows {feed}, the session does not", client.user));
            }
        }
        for dialog in &self.dialogs {
            let member = self.members.contains(&(client.user.clone(), dialog.clone()));
            let follows = followed.find(&FeedKey::Dialog(dialog.clone())).is_some();
            if member && *follows_all && !follows && !own.untrusted && !client.unsure {
                return Err(format!("{dialog} is not followed by one who follows all"));
            }
        }
        client.check_whole(&self.logs, |feed| followed.find(feed).is_some())
    }
}
