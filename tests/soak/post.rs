//! Requests of clients that take it as it comes if nobody answers.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::time::timeout;

use crate::harness::names::percent;
use crate::harness::user::User;

/// Longest that an answer may take, whatever happens to the servers meanwhile.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(15);

/// The `ref` of a command that was posted, and the reply; nothing if nobody knows what came of it. An answer that takes too
/// long is an error.
pub(crate) type Posted = Result<(String, Option<Value>), String>;

/// Posts one command. No reply means that the node was not there, or not to the end.
pub(crate) async fn post(user: User, session: String, command: Value) -> Posted {
    let its_ref = command["ref"].as_str().unwrap_or_default().to_owned();
    let path = format!("/v1/commands?session={}", percent(&session));
    let answer = request(&user, Method::POST, &path, Some(command.to_string())).await?;
    let reply = answer.map(|(status, body)| if status == 200 { body["replies"][0].clone() } else { body });
    Ok((its_ref, reply))
}

/// A status and what came with it. Nothing if the connection broke.
///
/// # Errors
/// What took too long.
pub(crate) async fn request(
    user: &User,
    method: Method,
    path: &str,
    body: Option<String>,
) -> Result<Option<(u16, Value)>, String> {
    let late =
        |_| format!("{ANSWER_MAX:?} after {method} {path} of {} there is no answer: {body:?}", user.id());
    timeout(ANSWER_MAX, ask(user, &method, path, body.clone())).await.map_err(late)
}

async fn ask(user: &User, method: &Method, path: &str, body: Option<String>) -> Option<(u16, Value)> {
    let stage = user.stage();
    let mut request = stage.http().request(method.clone(), stage.url(path)).bearer_auth(user.token());
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body);
    }
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let text = response.text().await.ok()?;
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).ok()? };
    Some((status, body))
}
