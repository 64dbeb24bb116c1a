//! The Store: commits, keeps its own idempotency, and publishes what it did by an outbox, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use edgeway::adapters::outbound::memory::bus::MemoryBus;
use edgeway::application::ports::bus::{BusError, EventLog};
use edgeway::application::ports::clock::Clock;
use edgeway::application::ports::store::{
    CallContext, DialogPage, HistoryPage, HistoryRange, MessageStore, ReadMark, Sent, StoreError,
};
use edgeway::domain::dialog::{DialogSummary, Membership};
use edgeway::domain::ids::{ClientMessageId, DialogId, FeedKey, MessageId, UserId};
use edgeway::domain::message::{Draft, Message};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::gate::{Chance, Gate, VirtualClock};
use super::mutant::Mutant;
use super::truth::{Entry, Said, Truth};

/// How long the outbox waits before it tries again.
const OUTBOX_PAUSE: Duration = Duration::from_millis(80);
/// How long a caller waits for a Store that has committed and says nothing.
const DEADLINE: Duration = Duration::from_millis(2000);

#[derive(Default)]
struct Dialog {
    members: BTreeMap<UserId, bool>,
    messages: Vec<Message>,
    read: BTreeMap<UserId, u64>,
}

#[derive(Default)]
struct State {
    dialogs: BTreeMap<DialogId, Dialog>,
    by_client: BTreeMap<(UserId, ClientMessageId), (u64, Message)>,
    outbox: VecDeque<Pending>,
    silent_commits: u64,
    down: bool,
    slow: Duration,
    no_history: bool,
    /// Nothing is published for now, for these reasons: one that ends does not end the others.
    held_back: BTreeSet<Hold>,
    next_id: u64,
}

/// Why nothing is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    BusDown,
    Failover,
}

struct Pending {
    feed: FeedKey,
    key: String,
    json: Bytes,
    said: Said,
}

pub(crate) struct Store {
    bus: Arc<MemoryBus>,
    clock: Arc<VirtualClock>,
    chance: Arc<Chance>,
    truth: Arc<Truth>,
    mutant: Option<Mutant>,
    state: Mutex<State>,
    woken: Notify,
}

impl Store {
    pub(crate) fn new(
        bus: Arc<MemoryBus>,
        clock: Arc<VirtualClock>,
        chance: Arc<Chance>,
        truth: Arc<Truth>,
        mutant: Option<Mutant>,
    ) -> Arc<Self> {
        Arc::new(Self { bus, clock, chance, truth, mutant, state: Mutex::default(), woken: Notify::new() })
    }

    /// Publishes for ever.
    pub(crate) async fn publish(self: Arc<Self>) {
        loop {
            let next = {
                let state = self.state.lock();
                let front = state.outbox.front().filter(|_| state.held_back.is_empty());
                front.map(|next| (next.feed.clone(), next.key.clone(), next.json.clone(), next.said.clone()))
            };
            let Some((feed, key, json, said)) = next else {
                self.woken.notified().await;
                continue;
            };
            tokio::time::sleep(self.chance.while_of(20)).await;
            match self.bus.append(&feed, &key, json).await {
                Ok(appended) => {
                    if !appended.repeated {
                        let mut position = appended.position;
                        if self.mutant == Some(Mutant::NoEpochCheck) {
                            position.epoch = "e".into();
                        }
                        self.truth.appended(&feed, &position, Entry { key, said });
                    }
                    // Now and then it does not hear that it was done.
                    if !self.chance.percent(3) {
                        self.state.lock().outbox.pop_front();
                    }
                }
                Err(_) => tokio::time::sleep(OUTBOX_PAUSE).await,
            }
        }
    }

    pub(crate) fn hold_back(&self, why: Hold, held_back: bool) {
        let reasons = &mut self.state.lock().held_back;
        if held_back {
            reasons.insert(why)
        } else {
            reasons.remove(&why)
        };
        self.woken.notify_one();
    }

    /// Whether the bus is down, for everybody.
    pub(crate) fn is_bus_down(&self) -> bool {
        self.state.lock().held_back.contains(&Hold::BusDown)
    }

    /// Whether everything is published.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state.lock().outbox.is_empty()
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.state.lock().down = down;
    }

    pub(crate) fn set_slow(&self, slow: Duration) {
        self.state.lock().slow = slow;
    }

    pub(crate) fn set_no_history(&self, no_history: bool) {
        self.state.lock().no_history = no_history;
    }

    /// The next sends are committed and not answered.
    pub(crate) fn fall_silent(&self, sends: u64) {
        self.state.lock().silent_commits += sends;
    }

    pub(crate) fn heal(&self) {
        let mut state = self.state.lock();
        state.down = false;
        state.slow = Duration::ZERO;
        state.no_history = false;
        state.held_back.clear();
        state.silent_commits = 0;
    }

    pub(crate) fn is_member(&self, dialog: &DialogId, user: &UserId) -> bool {
        self.state.lock().dialogs.get(dialog).and_then(|d| d.members.get(user)).copied().unwrap_or(false)
    }

    pub(crate) fn message_of(&self, user: &UserId, id: &ClientMessageId) -> Option<Message> {
        self.state.lock().by_client.get(&(user.clone(), id.clone())).map(|(_, message)| message.clone())
    }

    /// Adds or removes a member; published on both feeds, in either order.
    pub(crate) fn set_member(&self, dialog: &DialogId, user: &UserId, added: bool, told: bool) {
        let mut state = self.state.lock();
        let members = &mut state.dialogs.entry(dialog.clone()).or_default().members;
        if members.get(user).copied().unwrap_or(false) == added {
            return;
        }
        members.insert(user.clone(), added);
        if !told {
            return;
        }
        state.next_id += 1;
        let key = format!("p{}", state.next_id);
        let change = if added { "added" } else { "removed" };
        let json = format!(
            r#"{{"type":"membership","dialog_id":"{dialog}","user_id":"{user}","change":"{change}","role":"member"}}"#
        );
        let mut feeds = [FeedKey::Dialog(dialog.clone()), FeedKey::User(user.clone())];
        if self.chance.percent(50) {
            feeds.reverse();
        }
        for feed in feeds {
            let said = Said::Membership { dialog: dialog.clone(), user: user.clone(), added };
            let json = Bytes::from(json.clone());
            state.outbox.push_back(Pending { feed, key: key.clone(), json, said });
        }
        drop(state);
        self.truth.tell(format_args!("store: {user} {change} {dialog}"));
        self.woken.notify_one();
    }

    /// Something that no gateway can read.
    pub(crate) fn publish_garbage(&self, dialog: &DialogId) {
        let mut state = self.state.lock();
        state.next_id += 1;
        let key = format!("g{}", state.next_id);
        let feed = FeedKey::Dialog(dialog.clone());
        let json = Bytes::from_static(b"{\"type\":7}");
        state.outbox.push_back(Pending { feed, key, json, said: Said::Garbage });
        drop(state);
        self.woken.notify_one();
    }

    /// An application's own event.
    pub(crate) fn publish_other(&self, dialog: &DialogId) {
        let mut state = self.state.lock();
        state.next_id += 1;
        let key = format!("x{}", state.next_id);
        let json = format!(r#"{{"type":"x.note","dialog_id":"{dialog}","data":"{key}"}}"#);
        let feed = FeedKey::Dialog(dialog.clone());
        state.outbox.push_back(Pending { feed, key, json: json.into(), said: Said::Other });
        drop(state);
        self.woken.notify_one();
    }

    pub(crate) fn commit(&self, sender: &UserId, draft: &Draft) -> Result<Sent, StoreError> {
        let mut state = self.state.lock();
        let by_client = (sender.clone(), draft.client_message_id.clone());
        if let Some((fingerprint, message)) = state.by_client.get(&by_client) {
            if *fingerprint != draft.fingerprint() {
                return Err(StoreError::Conflict);
            }
            return Ok(Sent { message: message.clone(), duplicate: true });
        }
        let state = &mut *state;
        let dialog = state.dialogs.entry(draft.dialog_id.clone()).or_default();
        if !dialog.members.get(sender).copied().unwrap_or(false) {
            return Err(StoreError::NotMember);
        }
        state.next_id += 1;
        let key = format!("m{}", state.next_id);
        let seq = dialog.messages.len() as u64 + 1;
        let message = Message {
            message_id: MessageId::parse(&key).unwrap(),
            dialog_id: draft.dialog_id.clone(),
            seq,
            sender_id: sender.clone(),
            client_message_id: draft.client_message_id.clone(),
            body: draft.body.clone(),
            reply_to: None,
            created_at: self.clock.unix(),
        };
        dialog.messages.push(message.clone());
        state.by_client.insert(by_client, (draft.fingerprint(), message.clone()));
        let json = format!(
            r#"{{"type":"message_new","dialog_id":"{0}","message":{{"message_id":"{key}","dialog_id":"{0}","seq":{seq},"sender_id":"{sender}","client_message_id":"{1}","body":{{"text":"{2}"}}}}}}"#,
            draft.dialog_id,
            draft.client_message_id,
            draft.body.text(),
        );
        let feed = FeedKey::Dialog(draft.dialog_id.clone());
        state.outbox.push_back(Pending {
            feed,
            key: key.clone(),
            json: json.into(),
            said: Said::Message(seq),
        });
        self.truth.tell(format_args!("store: {key} by {sender} in {}", draft.dialog_id));
        self.woken.notify_one();
        Ok(Sent { message, duplicate: false })
    }

    fn falls_silent(&self) -> bool {
        let mut state = self.state.lock();
        let silent = state.silent_commits > 0;
        state.silent_commits = state.silent_commits.saturating_sub(1);
        silent
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let slow = self.state.lock().slow;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        if self.state.lock().down { Err(StoreError::Unavailable) } else { Ok(()) }
    }
}

/// The Store as one node reaches it.
pub(crate) struct NodeStore {
    pub(crate) store: Arc<Store>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) mutant: Option<Mutant>,
}

impl NodeStore {
    async fn asked<R>(&self, answer: impl Future<Output = Result<R, StoreError>>) -> Result<R, StoreError> {
        let unavailable = |_: BusError| StoreError::Unavailable;
        let ask = async {
            self.store.ready().await?;
            answer.await
        };
        self.gate.call(ask).await.map_err(unavailable)?
    }
}

#[async_trait]
impl MessageStore for NodeStore {
    async fn send(&self, call: &CallContext, draft: &Draft) -> Result<Sent, StoreError> {
        self.asked(async {
            let sent = self.store.commit(&call.user_id, draft);
            if self.store.falls_silent() {
                tokio::time::sleep(DEADLINE).await;
                return Err(StoreError::Timeout);
            }
            sent
        })
        .await
    }

    async fn read_upto(
        &self,
        call: &CallContext,
        dialog: &DialogId,
        seq: u64,
    ) -> Result<ReadMark, StoreError> {
        self.asked(async {
            let mut state = self.store.state.lock();
            let dialog = state.dialogs.entry(dialog.clone()).or_default();
            let last = dialog.messages.len() as u64;
            let mark = dialog.read.entry(call.user_id.clone()).or_default();
            let changed = seq.min(last) > *mark;
            *mark = seq.min(last).max(*mark);
            Ok(ReadMark { read_seq: *mark, unread: last - *mark, changed })
        })
        .await
    }

    async fn check_membership(
        &self,
        call: &CallContext,
        dialogs: &[DialogId],
    ) -> Result<Vec<Membership>, StoreError> {
        self.asked(async {
            let state = self.store.state.lock();
            let of = |id: &DialogId| {
                let dialog = state.dialogs.get(id)?;
                let member = dialog.members.get(&call.user_id).copied().unwrap_or(false)
                    || (self.mutant == Some(Mutant::DeafToRemovals)
                        && dialog.members.contains_key(&call.user_id));
                Some(Membership {
                    dialog_id: id.clone(),
                    member,
                    can_read: member,
                    can_write: member,
                    role: "member".into(),
                    version: 1,
                    last_message_seq: dialog.messages.len() as u64,
                    read_seq: 0,
                    member_count: dialog.members.len() as u64,
                })
            };
            Ok(dialogs.iter().filter_map(of).collect())
        })
        .await
    }

    async fn history(
        &self,
        _: &CallContext,
        dialog: &DialogId,
        range: HistoryRange,
        limit: u32,
    ) -> Result<HistoryPage, StoreError> {
        self.asked(async {
            let state = self.store.state.lock();
            if state.no_history {
                return Err(StoreError::Unimplemented);
            }
            let Some(dialog) = state.dialogs.get(dialog) else { return Err(StoreError::NotFound) };
            let HistoryRange::After(seq) = range else { return Err(StoreError::Invalid) };
            let after = dialog.messages.iter().filter(|message| message.seq > seq);
            let messages: Vec<Message> = after.clone().take(limit as usize).cloned().collect();
            let has_more = after.count() > messages.len();
            Ok(HistoryPage { messages, has_more })
        })
        .await
    }

    async fn list_dialogs(
        &self,
        call: &CallContext,
        _: u32,
        _: Option<&str>,
    ) -> Result<DialogPage, StoreError> {
        self.asked(async {
            let state = self.store.state.lock();
            let own = state
                .dialogs
                .iter()
                .filter(|(_, dialog)| dialog.members.get(&call.user_id).copied().unwrap_or(false));
            let dialogs = own
                .map(|(id, dialog)| DialogSummary {
                    dialog_id: id.clone(),
                    role: "member".into(),
                    last_message_seq: dialog.messages.len() as u64,
                    read_seq: 0,
                    unread: 0,
                })
                .collect();
            Ok(DialogPage { dialogs, next_page_token: None })
        })
        .await
    }
}
