//! The `DialogAdmin` service: [`Dialogs`] over gRPC.

use async_trait::async_trait;
use tonic::{Request, Response, Status};

use super::dialogs::Dialogs;
use super::failure::Failure;
use super::role::{Member, MemberRole};
use super::wire;
use crate::domain::ids::UserId;
use crate::proto::store::admin::v1 as proto;
use crate::proto::store::admin::v1::dialog_admin_server::DialogAdmin;

pub(super) struct DialogAdminService(pub(super) Dialogs);

#[async_trait]
impl DialogAdmin for DialogAdminService {
    async fn create_dialog(
        &self,
        request: Request<proto::CreateDialogRequest>,
    ) -> Result<Response<proto::CreateDialogResponse>, Status> {
        let request = request.into_inner();
        let dialog = wire::dialog_id(&request.dialog_id)?;
        let members =
            request.members.iter().map(|m| member(&m.user_id, &m.role)).collect::<Result<Vec<_>, _>>()?;
        self.0.create_dialog(dialog, members, optional_user(&request.by)?).await?;
        Ok(Response::new(proto::CreateDialogResponse {}))
    }

    async fn add_member(
        &self,
        request: Request<proto::AddMemberRequest>,
    ) -> Result<Response<proto::AddMemberResponse>, Status> {
        let request = request.into_inner();
        let dialog = wire::dialog_id(&request.dialog_id)?;
        let member = member(&request.user_id, &request.role)?;
        let change = self.0.add_member(dialog, member, optional_user(&request.by)?).await?;
        Ok(Response::new(proto::AddMemberResponse { changed: change.changed, version: change.version }))
    }

    async fn remove_member(
        &self,
        request: Request<proto::RemoveMemberRequest>,
    ) -> Result<Response<proto::RemoveMemberResponse>, Status> {
        let request = request.into_inner();
        let dialog = wire::dialog_id(&request.dialog_id)?;
        let user = wire::user_id(&request.user_id)?;
        let change = self.0.remove_member(dialog, user, optional_user(&request.by)?).await?;
        Ok(Response::new(proto::RemoveMemberResponse { changed: change.changed }))
    }

    async fn list_members(
        &self,
        request: Request<proto::ListMembersRequest>,
    ) -> Result<Response<proto::ListMembersResponse>, Status> {
        let request = request.into_inner();
        let dialog = wire::dialog_id(&request.dialog_id)?;
        let after = optional_user(&request.page_token)
            .map_err(|_| Failure::Invalid("page_token is not one of this Store"))?;
        let page = self.0.list_members(dialog, after, request.page_size).await?;
        Ok(Response::new(proto::ListMembersResponse {
            members: page
                .members
                .into_iter()
                .map(|m| proto::Member { user_id: m.user_id.to_string(), role: m.role.as_str().to_owned() })
                .collect(),
            next_page_token: page.next_after.map(|user| user.to_string()).unwrap_or_default(),
        }))
    }
}

fn member(user_id: &str, role: &str) -> Result<Member, Failure> {
    Ok(Member { user_id: wire::user_id(user_id)?, role: MemberRole::parse(role)? })
}

fn optional_user(text: &str) -> Result<Option<UserId>, Failure> {
    if text.is_empty() { Ok(None) } else { wire::user_id(text).map(Some) }
}
