//! A client: one task for its connection, which moves from transport to transport and from node to node; others for what
//! it asks and sends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use edgeway::application::command::{Command, DialogTarget, Reply, Since, Targets};
use edgeway::application::gateway::Gateway;
use edgeway::application::ports::auth::{Identity, Scopes};
use edgeway::application::sessions::live::LiveSession;
use edgeway::application::usecase::attach::AttachInput;
use edgeway::application::usecase::reading::Reading;
use edgeway::application::usecase::relocate::Whereabouts;
use edgeway::domain::body::MessageBody;
use edgeway::domain::error::{ErrorCode, Refusal};
use edgeway::domain::event::{EventKind, LogPosition};
use edgeway::domain::ids::{ClientMessageId, DialogId, FeedKey, UserId};
use edgeway::domain::message::Draft;
use edgeway::domain::presence::TypingState;
use edgeway::domain::time::UnixMillis;
use edgeway::session::cursor::Cursor;
use edgeway::session::reader::{Dismissal, DrainBudget, Drained, Outgoing, Resume, Transport};
use edgeway::session::snapshot::SubscribeOptions;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::gate::Gate;
use super::mutant::Mutant;
use super::view::View;
use super::world::World;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
pub(crate) const OPTIONS: SubscribeOptions = SubscribeOptions { presence: false, typing: true };

/// A client, for the whole run.
pub(crate) struct Seat {
    pub(crate) index: usize,
    pub(crate) user: UserId,
    identity: Arc<Identity>,
    pub(crate) state: Mutex<SeatState>,
    cut: Notify,
}

pub(crate) struct SeatState {
    pub(crate) view: View,
    session: Option<String>,
    attaches: u64,
    /// The connection that counts: an older one is over.
    connection: u64,
    pub(crate) at: Option<Place>,
    pub(crate) wanted: BTreeSet<DialogId>,
    /// Wanted, and not known to be followed by this session.
    pub(crate) unconfirmed: BTreeSet<DialogId>,
    asking: bool,
    slow: Duration,
    /// Where it was last.
    last_node: Option<usize>,
    sent: u64,
    pub(crate) unanswered: usize,
}

/// Where a session is being read.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) node: usize,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) session: Arc<LiveSession>,
    connection: u64,
}

/// A node that answers.
type Reached = (usize, Arc<Gateway>, Arc<Gate>);

/// Why a connection ends.
enum End {
    /// A newer one takes its place, or none.
    Over,
    /// It comes back after a while.
    Again(Duration),
}

impl Seat {
    pub(crate) fn new(index: usize, user: UserId, view: View) -> Arc<Self> {
        let identity = Identity {
            user_id: user.clone(),
            scopes: Scopes { read: true, write: true },
            expires_at: UnixMillis(u64::MAX / 4),
        };
        Arc::new(Self {
            index,
            user,
            identity: Arc::new(identity),
            state: Mutex::new(SeatState {
                view,
                session: None,
                attaches: 0,
                connection: 0,
                at: None,
                wanted: BTreeSet::new(),
                unconfirmed: BTreeSet::new(),
                asking: false,
                slow: Duration::ZERO,
                last_node: None,
                sent: 0,
                unanswered: 0,
            }),
            cut: Notify::new(),
        })
    }

    /// Drops the connection, if there is one, and begins another.
    pub(crate) fn connect(self: &Arc<Self>, world: &Arc<World>) {
        let connection = self.disconnect();
        let (seat, world_there) = (self.clone(), world.clone());
        world.tasks.spawn(async move { seat.live(&world_there, connection).await });
    }

    pub(crate) fn disconnect(&self) -> u64 {
        let mut state = self.state.lock();
        state.connection += 1;
        state.at = None;
        self.cut.notify_waiters();
        state.connection
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state.lock().at.is_some()
    }

    pub(crate) fn set_slow(&self, slow: Duration) {
        self.state.lock().slow = slow;
    }

    /// The node is gone: whoever reads there notices.
    pub(crate) fn node_is_gone(&self, node: usize) {
        let mut state = self.state.lock();
        if state.at.as_ref().is_some_and(|place| place.node == node) {
            state.at = None;
            self.cut.notify_waiters();
        }
    }

    async fn live(self: Arc<Self>, world: &Arc<World>, connection: u64) {
        let mut transport = self.any_transport(world);
        loop {
            let end = self.live_once(world, connection, transport).await;
            if world.truth.is_wrong() {
                return;
            }
            match end {
                End::Over => return,
                End::Again(pause) => {
                    tokio::time::sleep(pause).await;
                    if world.chance.percent(40) {
                        transport = self.any_transport(world);
                    }
                }
            }
            if self.state.lock().connection != connection {
                return;
            }
        }
    }

    fn any_transport(&self, world: &World) -> Transport {
        [Transport::WebSocket, Transport::Sse, Transport::Poll][world.chance.below(3) as usize]
    }

    /// One attach and what follows from it.
    async fn live_once(self: &Arc<Self>, world: &Arc<World>, connection: u64, transport: Transport) -> End {
        let soon = world.chance.while_of(600);
        let stay = self.state.lock().last_node;
        let Some(asked) = world.some_node(stay) else { return End::Again(soon) };
        let attach = tokio::time::timeout(PATIENCE, self.attach(world, asked, transport, connection));
        let reading = match attach.await {
            Err(_) => return End::Again(soon),
            Ok(Err(refusal)) => {
                // A newer connection was quicker: what this one is told says nothing.
                let counts = self.state.lock().connection == connection;
                return if counts { self.refused(world, &refusal, soon) } else { End::Over };
            }
            Ok(Ok(attached)) => attached,
        };
        let (reading, presented, (node, gateway, gate)) = reading;
        // The answer may never arrive.
        if gate.is_dead() || world.chance.percent(4) {
            return End::Again(soon);
        }
        let place = {
            let mut state = self.state.lock();
            if state.connection != connection {
                return End::Over;
            }
            let session = reading.session().clone();
            let place = Place { node, gateway: gateway.clone(), gate, session, connection };
            if let Err(why) = welcome(&mut state, world, &self.user, &reading, presented) {
                world.truth.wrong(format!("seat {}: {why}", self.index));
                return End::Over;
            }
            state.at = Some(place.clone());
            state.last_node = Some(node);
            place
        };
        world.truth.tell(format_args!(
            "seat {}: {:?} {} from {}",
            self.index,
            reading.resume,
            world.name_of(place.session.id()),
            reading.cursor.number
        ));
        self.ask_for_wanted(world);
        self.read(world, &place, &reading, transport).await
    }

    /// As the transports do it: what another node holds is read there, or, by a WebSocket, taken over from it.
    async fn attach(
        &self,
        world: &World,
        asked: Reached,
        transport: Transport,
        connection: u64,
    ) -> Result<(Reading, Option<Cursor>, Reached), Refusal> {
        let session = self.state.lock().session.clone();
        let mut reached = asked;
        let mut held_by = None;
        if let Some(session) = &session
            && let Whereabouts::Elsewhere { node, .. } =
                reached.1.whereabouts(&self.identity, session).await?
        {
            match world.node_called(&node) {
                Some(owner) if transport != Transport::WebSocket => reached = owner,
                Some(_) => held_by = Some(node),
                // It answers that it is going: then it is asked to let go.
                None if world.is_leaving(&node) => held_by = Some(node),
                None => {}
            }
        }
        if self.state.lock().connection != connection {
            return Err(Refusal::new(ErrorCode::Superseded, "a newer connection is there"));
        }
        let (mut input, presented) = self.wish(world, &reached.1, transport);
        world.truth.tell(format_args!(
            "seat {}: attach {transport:?} at {} with {:?}{}",
            self.index,
            reached.0,
            presented.map(|cursor| cursor.number),
            held_by.as_ref().map_or("", |_| ", taken over")
        ));
        input.held_by = held_by;
        let reading = reached.1.attach(&self.identity, input).await?;
        Ok((reading, presented, reached))
    }

    fn wish(&self, world: &World, gateway: &Gateway, transport: Transport) -> (AttachInput, Option<Cursor>) {
        let mut state = self.state.lock();
        state.attaches += 1;
        let nameless = world.chance.percent(6);
        let mut presented = state.session.as_ref().and(state.view.cursor).filter(|_| !nameless);
        if world.mutant == Some(Mutant::NoGenerationCheck)
            && let Some(cursor) = &mut presented
            && let Some(there) = gateway
                .sessions()
                .all()
                .iter()
                .find(|session| Some(session.id().as_str()) == state.session.as_deref())
        {
            cursor.epoch = there.peek(|machine| machine.epoch());
        }
        let input = AttachInput {
            session: state.session.clone(),
            cursor: presented.map(|cursor| cursor.to_string()),
            attach: Some(state.attaches),
            transport,
            device_id: None,
            dialogs: state.view.follows_all.then_some(Targets::All),
            replace_expired: true,
            held_by: None,
        };
        (input, presented)
    }

    fn refused(&self, world: &World, refusal: &Refusal, soon: Duration) -> End {
        world.truth.tell(format_args!("seat {}: refused {}", self.index, refusal.code.as_str()));
        match refusal.code {
            code if code.retryable() => End::Again(soon + Duration::from_millis(100)),
            code => {
                world.truth.wrong(format!("seat {}: attach refused: {}", self.index, code.as_str()));
                End::Over
            }
        }
    }

    async fn read(
        self: &Arc<Self>,
        world: &Arc<World>,
        place: &Place,
        reading: &Reading,
        transport: Transport,
    ) -> End {
        loop {
            let budget = DrainBudget {
                events: 1 + world.chance.below(12) as usize,
                bytes: 100 + world.chance.below(3000) as usize,
            };
            let mut out = Vec::new();
            let cut = self.cut.notified();
            tokio::pin!(cut);
            cut.as_mut().enable();
            if !self.counts(place) {
                return self.end_of(world, place);
            }
            let wait = Duration::from_millis(500 + world.chance.below(25_000));
            let drained = tokio::select! {
                biased;
                () = cut => return self.end_of(world, place),
                drained = reading.drain(budget, &mut out) => drained,
                () = tokio::time::sleep(wait), if transport == Transport::Poll => Drained::Empty,
            };
            if world.mutant == Some(Mutant::PruneOnSend)
                && let Some(reached) = reading.reached()
            {
                let _ = place.session.with(|machine| machine.acknowledge(reached));
            }
            if place.gate.is_dead() {
                return self.end_of(world, place);
            }
            // Cut in the middle of it: only so many arrive.
            let arrives = if world.chance.percent(4) { world.chance.below(4) as usize } else { usize::MAX };
            let lost = arrives < out.len();
            if !self.take(world, place, &out, arrives) {
                return End::Over;
            }
            if lost {
                world.truth.tell(format_args!("seat {}: cut after {arrives}", self.index));
                return End::Again(world.chance.while_of(300));
            }
            if let Drained::Dismissed(why) = drained {
                world.truth.tell(format_args!("seat {}: dismissed {why:?}", self.index));
                return match why {
                    Dismissal::Superseded | Dismissal::Draining { .. } => {
                        End::Again(world.chance.while_of(1000))
                    }
                    other => {
                        world.truth.wrong(format!("seat {}: dismissed {other:?}", self.index));
                        End::Over
                    }
                };
            }
            let slow = self.state.lock().slow;
            if !slow.is_zero() {
                tokio::time::sleep(slow).await;
            }
            if transport == Transport::Poll {
                return End::Again(world.chance.while_of(40));
            }
            if world.chance.percent(10) {
                self.acknowledge(world, place).await;
            }
        }
    }

    fn counts(&self, place: &Place) -> bool {
        let state = self.state.lock();
        state.connection == place.connection && state.at.is_some()
    }

    fn end_of(&self, world: &World, place: &Place) -> End {
        if self.state.lock().connection == place.connection {
            End::Again(world.chance.while_of(800))
        } else {
            End::Over
        }
    }

    /// Processes what arrived. False if something was wrong.
    fn take(&self, world: &World, place: &Place, out: &[Outgoing], arrives: usize) -> bool {
        let mut state = self.state.lock();
        for outgoing in out.iter().take(arrives) {
            let Outgoing::Event { cursor, event } = outgoing else { continue };
            let logged = event.logged.as_ref();
            let at = logged.map(|logged| format!("{}/{}", world.truth.name_of(&logged.epoch), logged.offset));
            let what = at.unwrap_or_else(|| kind_of(&event.kind, world));
            world
                .truth
                .tell(format_args!("seat {}: got {} {} {what}", self.index, cursor.number, event.feed));
            let followed =
                |feed: &FeedKey| place.session.peek(|machine| machine.subscriptions().find(feed).is_some());
            let may_read = |dialog: &DialogId, offset| world.may_read(&self.user, dialog, offset);
            if let Err(why) = state.view.take(*cursor, event, followed, may_read) {
                world.truth.wrong(format!("seat {}: {why}", self.index));
                return false;
            }
        }
        true
    }

    async fn acknowledge(&self, world: &World, place: &Place) {
        let Some(cursor) = self.state.lock().view.cursor else { return };
        let acknowledged = self.ask(place, Command::Ack(cursor)).await;
        if let Some(Err(refusal)) = acknowledged
            && !refusal.code.retryable()
            && self.counts(place)
        {
            world.truth.wrong(format!("seat {}: ack {cursor} refused", self.index));
        }
    }

    async fn ask(&self, place: &Place, command: Command) -> Option<Result<Reply, Refusal>> {
        let answer = place.gateway.carry_out(&self.identity, &place.session, command);
        let answer = tokio::time::timeout(PATIENCE, answer).await.ok()?;
        (!place.gate.is_dead()).then_some(answer)
    }

    pub(crate) fn type_something(self: &Arc<Self>, world: &Arc<World>, dialog: &DialogId) {
        let Some(place) = self.state.lock().at.clone() else { return };
        let (seat, dialog) = (self.clone(), dialog.clone());
        world.tasks.spawn(async move {
            seat.ask(&place, Command::Typing { dialog_id: dialog, state: TypingState::Started }).await;
        });
    }

    // Following.

    pub(crate) fn subscribe(self: &Arc<Self>, world: &Arc<World>, dialog: &DialogId) {
        {
            let mut state = self.state.lock();
            if state.view.follows_all {
                return;
            }
            state.wanted.insert(dialog.clone());
            state.unconfirmed.insert(dialog.clone());
        }
        self.ask_for_wanted(world);
    }

    pub(crate) fn unsubscribe(self: &Arc<Self>, world: &Arc<World>, dialog: &DialogId) {
        let place = {
            let state = self.state.lock();
            // One thing at a time: whoever asks for both at once can't tell what comes of it.
            if state.view.follows_all || state.asking || state.unconfirmed.contains(dialog) {
                return;
            }
            let Some(place) = state.at.clone() else { return };
            place
        };
        let (seat, dialog, world_there) = (self.clone(), dialog.clone(), world.clone());
        world.tasks.spawn(async move {
            let answer = seat.ask(&place, Command::Unsubscribe(Some(vec![dialog.clone()]))).await;
            let mut state = seat.state.lock();
            if state.unconfirmed.contains(&dialog) {
                return;
            }
            if matches!(answer, Some(Ok(_))) && state.connection == place.connection {
                state.wanted.remove(&dialog);
                state.view.not_followed(&dialog);
                world_there.truth.tell(format_args!("seat {}: left {dialog}", seat.index));
            } else if state.wanted.contains(&dialog) {
                // Nobody knows: it follows it after all.
                state.unconfirmed.insert(dialog);
                drop(state);
                seat.ask_for_wanted(&world_there);
            }
        });
    }

    fn ask_for_wanted(self: &Arc<Self>, world: &Arc<World>) {
        {
            let mut state = self.state.lock();
            if state.asking || state.at.is_none() || state.unconfirmed.is_empty() {
                return;
            }
            state.asking = true;
        }
        let (seat, world_there) = (self.clone(), world.clone());
        world.tasks.spawn(async move {
            while seat.ask_once(&world_there).await {
                tokio::time::sleep(Duration::from_millis(50) + world_there.chance.while_of(500)).await;
            }
        });
    }

    /// True if it is to be tried again.
    async fn ask_once(&self, world: &World) -> bool {
        let (place, targets) = {
            let mut state = self.state.lock();
            let Some(place) = state.at.clone().filter(|_| !state.unconfirmed.is_empty()) else {
                state.asking = false;
                return false;
            };
            let dialogs: Vec<DialogId> = state.unconfirmed.iter().cloned().collect();
            let targets: Vec<DialogTarget> = dialogs
                .into_iter()
                .map(|dialog_id| {
                    state.view.ask(&dialog_id);
                    let known = state.view.feeds.get(&FeedKey::Dialog(dialog_id.clone()));
                    let since = known.map(|known| Since {
                        position: LogPosition { epoch: known.epoch.clone(), offset: known.position() },
                        message_seq: known.seq,
                    });
                    DialogTarget { dialog_id, since }
                })
                .collect();
            (place, targets)
        };
        for DialogTarget { dialog_id, since } in &targets {
            let since = since.as_ref().map(|since| &since.position);
            let since = since.map(|at| format!("{}/{}", world.truth.name_of(&at.epoch), at.offset));
            world.truth.tell(format_args!("seat {}: subscribe {dialog_id} since {since:?}", self.index));
        }
        let command = Command::Subscribe { targets: Targets::Dialogs(targets, Vec::new()), options: OPTIONS };
        let answer = self.ask(&place, command).await;
        let mut state = self.state.lock();
        if state.connection != place.connection || state.at.is_none() {
            return true;
        }
        if let Some(Ok(Reply::Subscribed(subscribed))) = answer {
            for followed in subscribed.dialogs {
                world.truth.tell(format_args!(
                    "seat {}: follows {} {}/{}",
                    self.index,
                    followed.dialog_id,
                    world.truth.name_of(&followed.epoch),
                    followed.offset
                ));
                state.unconfirmed.remove(&followed.dialog_id);
                state.view.followed(&followed.dialog_id, followed.epoch, followed.offset, None);
            }
            for failed in subscribed.failed {
                world.truth.tell(format_args!(
                    "seat {}: {} failed {}",
                    self.index,
                    failed.dialog_id,
                    failed.code.as_str()
                ));
                let dialog = DialogId::parse(&failed.dialog_id).unwrap();
                if !failed.code.retryable() {
                    state.unconfirmed.remove(&dialog);
                    state.wanted.remove(&dialog);
                    state.view.not_followed(&dialog);
                    if failed.code != ErrorCode::NotMember {
                        world.truth.wrong(format!("subscribe failed: {}", failed.code.as_str()));
                    }
                }
            }
        }
        let again = !state.unconfirmed.is_empty();
        state.asking = again;
        again
    }

    // Sending.

    /// Sends until it is answered for good; perhaps twice at once.
    pub(crate) fn send(self: &Arc<Self>, world: &Arc<World>, dialog: &DialogId, twice: bool) {
        let draft = {
            let mut state = self.state.lock();
            state.sent += 1;
            state.unanswered += 1 + usize::from(twice);
            // Clients choose their ids alike: only together with the user they are one.
            let id = format!("c{}-{}", self.index / world.users.len(), state.sent);
            Draft {
                dialog_id: dialog.clone(),
                client_message_id: ClientMessageId::parse(&id).unwrap(),
                body: MessageBody::new(format!("by {} {id}", self.index), Vec::new()).unwrap(),
                reply_to: None,
            }
        };
        for _ in 0..=usize::from(twice) {
            let (seat, world_there, draft) = (self.clone(), world.clone(), draft.clone());
            world.tasks.spawn(async move {
                seat.send_until_answered(&world_there, &draft).await;
                seat.state.lock().unanswered -= 1;
            });
        }
    }

    async fn send_until_answered(&self, world: &World, draft: &Draft) {
        loop {
            let place = self.state.lock().at.clone();
            if let Some(place) = place {
                match self.ask(&place, Command::Send(draft.clone())).await {
                    Some(Ok(Reply::Sent { receipt, .. })) => {
                        let stored = world.store.message_of(&self.user, &draft.client_message_id);
                        let is_it = stored.as_ref().is_some_and(|stored| {
                            stored.message_id == receipt.message_id
                                && stored.seq == receipt.seq
                                && stored.body == draft.body
                        });
                        if !is_it {
                            world.truth.wrong(format!(
                                "seat {}: {} answered with {receipt:?}, stored is {stored:?}",
                                self.index, draft.client_message_id
                            ));
                        }
                        return;
                    }
                    Some(Err(refusal)) if refusal.code == ErrorCode::Conflict => {
                        world.truth.wrong(format!("seat {}: conflict with nothing", self.index));
                        return;
                    }
                    // Perhaps it was a member when it was sent first.
                    Some(Err(refusal)) if !refusal.code.retryable() => return,
                    Some(_) | None => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(100) + world.chance.while_of(1000)).await;
        }
    }
}

fn welcome(
    state: &mut SeatState,
    world: &World,
    user: &UserId,
    reading: &Reading,
    presented: Option<Cursor>,
) -> Result<(), String> {
    state.session = Some(reading.session().id().as_str().to_owned());
    match reading.resume {
        Resume::Resumed | Resume::Rebuilt => state.view.attached(reading.resume, presented, reading.cursor),
        Resume::New | Resume::Expired => {
            let own = world.head_of(&FeedKey::User(user.clone()));
            state.view.begin(reading.cursor, own);
            state.unconfirmed = state.wanted.clone();
            if state.view.follows_all {
                state.view.feeds.retain(|feed, _| feed.dialog().is_none());
                for followed in reading.subscribed.iter().flat_map(|subscribed| &subscribed.dialogs) {
                    let (epoch, offset) = (followed.epoch.clone(), followed.offset);
                    state.view.followed(&followed.dialog_id, epoch, offset, None);
                }
            }
            Ok(())
        }
    }
}

fn kind_of(kind: &EventKind, world: &World) -> String {
    let place = |at: &LogPosition| format!("{}/{}", world.truth.name_of(&at.epoch), at.offset);
    match kind {
        EventKind::Gap { before, after } => {
            format!("a gap after {}, to {:?}", place(before), after.as_ref().map(place))
        }
        EventKind::Restored { seq, .. } => format!("message {seq}, restored"),
        other => format!("{other:?}"),
    }
}
