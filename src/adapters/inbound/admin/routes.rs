//! The paths of the admin listener.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;

use super::check::Check;
use super::disconnect::disconnect_user;
use super::profile::profile_cpu;
use crate::adapters::inbound::http::reject::Rejection;
use crate::application::gateway::Gateway;
use crate::application::ports::telemetry::profiler::Profiler;
use crate::domain::error::{ErrorCode, Refusal};

/// Prometheus's text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all metrics; `None` if it can't.
pub type WriteMetrics = Box<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// What the admin routes tell about.
pub struct Admin {
    /// Whose sessions are counted, and users kicked.
    pub gateway: Arc<Gateway>,
    /// What readiness needs.
    pub checks: Vec<Check>,
    /// All metrics, in Prometheus's text format. Looks at every session.
    pub metrics: WriteMetrics,
    /// Takes CPU profiles.
    pub profiler: Arc<dyn Profiler>,
}

/// `/livez`, `/healthz`, `/readyz`, `/metrics`, `/debug/…`, `/admin/disconnect`.
pub fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/debug/sessions", get(sessions))
        .route("/debug/pprof/profile", get(profile_cpu))
        .route("/admin/disconnect", post(disconnect_user))
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
    // Off the threads that carry connections: with many sessions it takes some milliseconds.
    let written = tokio::task::spawn_blocking(move || (admin.metrics)()).await;
    match written.ok().flatten() {
        Some(text) => ([(CONTENT_TYPE, METRICS_TYPE), (CACHE_CONTROL, "no-store")], text).into_response(),
        None => {
            Rejection::from(Refusal::new(ErrorCode::Internal, "metrics can't be written")).into_response()
        }
    }
}

async fn sessions(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let census = admin.gateway.sessions().census();
    let attached = json!({ "ws": census.ws, "sse": census.sse, "poll": census.poll });
    ([(CACHE_CONTROL, "no-store")], Json(json!({ "attached": attached, "detached": census.detached })))
}
