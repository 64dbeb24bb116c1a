//! What operators and load balancers ask, on a listener of its own: keep it private.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;

use super::http::reject::Rejection;
use crate::application::gateway::Gateway;
use crate::domain::error::{ErrorCode, Refusal};

/// Prometheus's text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One condition without which the node should get no traffic.
pub struct Check {
    /// Its name in the answer.
    pub name: &'static str,
    /// What is wrong, if something is. Asked often: it must not block.
    pub failing: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Check {
    /// A check by this name.
    #[must_use]
    pub fn new(name: &'static str, failing: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { name, failing: Box::new(failing) }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// Writes all metrics; `None` if it can't.
pub type WriteMetrics = Box<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// What the admin routes tell about.
pub struct Admin {
    /// Whose sessions are counted.
    pub gateway: Arc<Gateway>,
    /// What readiness needs.
    pub checks: Vec<Check>,
    /// All metrics, in Prometheus's text format.
    pub metrics: WriteMetrics,
}

/// `/livez`, `/healthz`, `/readyz`, `/metrics`, `/debug/sessions`.
pub fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/debug/sessions", get(sessions))
        .with_state(Arc::new(admin))
}

/// The process runs and answers: no more is said, so that nobody restarts it because something else is down.
async fn live() -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], "ok\n")
}

async fn ready(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let failing: Vec<_> = admin
        .checks
        .iter()
        .filter_map(|check| Some(json!({ "check": check.name, "detail": (check.failing)()? })))
        .collect();
    let ready = failing.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CACHE_CONTROL, "no-store")], Json(json!({ "ready": ready, "failing": failing })))
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    match (admin.metrics)() {
        Some(text) => ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        None => {
            Rejection::from(Refusal::new(ErrorCode::Internal, "metrics can't be written")).into_response()
        }
    }
}

async fn sessions(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let census = admin.gateway.sessions().census();
    Json(json!({
        "node": admin.gateway.config().node,
        "ws": census.ws,
        "sse": census.sse,
        "poll": census.poll,
        "detached": census.detached,
    }))
}
