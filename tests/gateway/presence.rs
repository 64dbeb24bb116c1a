//! Who is seen in a dialog.

use edgeway::application::command::{Command, DialogTarget, Reply, Since, Targets};
use edgeway::domain::event::LogPosition;
use edgeway::domain::ids::FeedKey;
use edgeway::session::snapshot::SubscribeOptions;

use crate::node::{Client, Node, dialog};

impl Client {
    pub(crate) async fn follow_tea(&self, since: Option<LogPosition>, presence: bool) {
        let since = since.map(|position| Since { position, message_seq: None });
        let targets = Targets::Dialogs(vec![DialogTarget { dialog_id: dialog("tea"), since }], Vec::new());
        let options = SubscribeOptions { presence, typing: true };
        self.ask(Command::Subscribe { targets, options }).await.unwrap();
    }

    pub(crate) async fn sees_in_tea(&self) -> Vec<String> {
        let Reply::Presence(users) = self.who_is_in("tea").await.unwrap() else { panic!("of presence") };
        let mut names: Vec<_> = users.iter().map(|seen| seen.user_id.to_string()).collect();
        names.sort();
        names
    }
}

#[tokio::test(start_paused = true)]
async fn who_follows_a_dialog_anew_and_does_not_want_to_be_seen_is_not() {
    let node = Node::start();
    let place = node
        .append(&FeedKey::Dialog(dialog("tea")), "1", r#"{"type":"x.note","dialog_id":"tea","data":"1"}"#)
        .await;
    let (alice, bob) = (node.attach("alice").await, node.attach("bob").await);
    alice.follow_tea(None, true).await;
    bob.follow_tea(None, true).await;
    assert_eq!(alice.sees_in_tea().await, ["alice", "bob"]);
    bob.follow_tea(Some(place), false).await;
    assert_eq!(alice.sees_in_tea().await, ["alice"]);
}
