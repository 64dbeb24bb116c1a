//! Who lets users into dialogs and throws them out.

use edgeway::proto::store::admin::v1 as proto;
use edgeway::proto::store::admin::v1::dialog_admin_client::DialogAdminClient;
use tonic::transport::Channel;

use crate::harness::nodes::Nodes;
use crate::harness::server::addresses;
use crate::oracle::Oracle;
use crate::rng::Rng;

/// The members of the dialogs that are not open to everybody.
pub(crate) struct Steward {
    admin: DialogAdminClient<Channel>,
    oracle: Oracle,
    /// Dialog, user, and whether the user is in.
    places: Vec<(String, String, bool)>,
}

impl Steward {
    /// Creates the dialogs with all of these users, and with one who stays.
    pub(crate) async fn open(
        nodes: &Nodes,
        oracle: &Oracle,
        dialogs: &[String],
        users: &[String],
        stays: &str,
    ) -> Self {
        let store = addresses(nodes.store.first_line())[0];
        let mut admin = DialogAdminClient::connect(format!("http://{store}")).await.unwrap();
        let mut places = Vec::new();
        for dialog in dialogs {
            let member = |user_id: &String| proto::Member { user_id: user_id.clone(), role: String::new() };
            let mut members: Vec<_> = users.iter().map(member).collect();
            members.push(member(&stays.to_owned()));
            // They are told of it in the dialog's log, but for what is their own.
            users.iter().for_each(|user| oracle.will_change(user, dialog));
            let create = proto::CreateDialogRequest { dialog_id: dialog.clone(), members, by: String::new() };
            admin.create_dialog(create).await.unwrap();
            places.extend(users.iter().map(|user| (dialog.clone(), user.clone(), true)));
        }
        Self { admin, oracle: oracle.clone(), places }
    }

    /// Throws somebody out, or lets somebody in again. Returns whether somebody was thrown out.
    pub(crate) async fn changes_one(&mut self, rng: &mut Rng) -> bool {
        let at = rng.index(self.places.len());
        let (dialog_id, user_id, is_in) = &mut self.places[at];
        self.oracle.will_change(user_id, dialog_id);
        let (dialog_id, user_id) = (dialog_id.clone(), user_id.clone());
        let was_in = std::mem::replace(is_in, !*is_in);
        let by = String::new();
        let changed = if was_in {
            let remove = proto::RemoveMemberRequest { dialog_id, user_id, by };
            self.admin.remove_member(remove).await.unwrap().into_inner().changed
        } else {
            let add = proto::AddMemberRequest { dialog_id, user_id, role: String::new(), by };
            self.admin.add_member(add).await.unwrap().into_inner().changed
        };
        assert!(changed);
        was_in
    }
}
