//! `GET /debug/pprof/profile`: where the CPU time goes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::Uri;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Deserialize;

use super::routes::Admin;
use crate::adapters::inbound::http::reject::Rejection;
use crate::application::ports::telemetry::profiler::{ProfileError, ProfileFormat};
use crate::domain::error::{ErrorCode, Refusal};

/// Longest profile, in seconds.
pub const PROFILE_MAX_SECONDS: u64 = 120;
/// How long one is if nobody says.
const PROFILE_DEFAULT_SECONDS: u64 = 10;

/// As text, so that what is wrong is told in the protocol's words.
#[derive(Deserialize)]
struct Wanted {
    seconds: Option<String>,
    format: Option<String>,
}

/// Takes a profile, and answers when it is taken.
///
/// # Errors
/// A [`Rejection`]: `bad_request` for what the query must not say, `conflict` while another one is being taken.
pub(super) async fn profile_cpu(State(admin): State<Arc<Admin>>, uri: Uri) -> Result<Response, Rejection> {
    let Query(wanted) = Query::<Wanted>::try_from_uri(&uri).map_err(|_| bad("the query can't be read"))?;
    let seconds = match wanted.seconds.as_deref().map(str::parse) {
        None => PROFILE_DEFAULT_SECONDS,
        Some(Ok(seconds)) if (1..=PROFILE_MAX_SECONDS).contains(&seconds) => seconds,
        Some(_) => return Err(bad("seconds must be 1 to 120").into()),
    };
    let format = match wanted.format.as_deref() {
        None | Some("pprof") => ProfileFormat::Pprof,
        Some("flamegraph") => ProfileFormat::Flamegraph,
        Some(_) => return Err(bad("format must be pprof or flamegraph").into()),
    };
    let profile = admin.profiler.profile_cpu(Duration::from_secs(seconds), format).await;
    let profile = profile.map_err(|error| match error {
        ProfileError::Busy => Refusal::new(ErrorCode::Conflict, "another profile is being taken"),
        ProfileError::Failed => Refusal::new(ErrorCode::Internal, "no profile can be taken"),
    })?;
    let (content_type, disposition) = match format {
        ProfileFormat::Pprof => ("application/octet-stream", "attachment; filename=\"profile.pb\""),
        ProfileFormat::Flamegraph => ("image/svg+xml", "inline"),
    };
    let headers =
        [(CONTENT_TYPE, content_type), (CONTENT_DISPOSITION, disposition), (CACHE_CONTROL, "no-store")];
    Ok((headers, profile).into_response())
}

fn bad(message: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
}
