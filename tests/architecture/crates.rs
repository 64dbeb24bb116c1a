//! Which crates each part may use: what is not here, is not used there.

/// The longest name that fits a module counts. `std` is everybody's.
pub(crate) const CRATES: [(&str, &str); 17] = [
    ("domain", "bytes jiff thiserror"),
    ("session", "bytes hashbrown thiserror"),
    (
        "application",
        "async_trait bytes fastrand futures_util getrandom hashbrown hashlink parking_lot quick_cache \
         thiserror tokio tokio_util tracing",
    ),
    (
        "adapters::inbound",
        "axum axum_extra base64 bytes fastrand flate2 futures_util http http_body http_body_util httparse httpdate hyper \
         hyper_util ipnet parking_lot pin_project_lite quick_cache rustls serde serde_json sha1 socket2 thiserror tokio \
         tokio_rustls tokio_util tower tower_http tracing \
         url",
    ),
    (
        "adapters::inbound::peers",
        "bytes fastrand hashbrown http http_body http_body_util hyper hyper_util parking_lot pin_project_lite \
         rustls rustls_native_certs thiserror tokio tokio_rustls tokio_util tracing",
    ),
    (
        "adapters::outbound::auth",
        "async_trait aws_lc_rs base64 getrandom hashbrown jsonwebtoken parking_lot quick_cache \
         reqwest secrecy serde serde_json thiserror tokio tokio_util tracing",
    ),
    ("adapters::outbound::clock", "tokio"),
    ("adapters::outbound::crypto", "rustls"),
    ("adapters::outbound::memory", "async_trait bytes hashbrown hashlink parking_lot tokio"),
    (
        "adapters::outbound::redis",
        "async_trait aws_lc_rs base64 bytes crc16 fastrand futures_util getrandom hashbrown parking_lot \
         percent_encoding redis secrecy serde serde_json sha1 thiserror tokio tokio_util tracing uuid",
    ),
    (
        "adapters::outbound::store_grpc",
        "async_trait futures_util getrandom http parking_lot prost_types secrecy thiserror tokio \
         tokio_util tonic tonic_health tonic_types tracing uuid",
    ),
    (
        "adapters::outbound::telemetry",
        "async_trait opentelemetry opentelemetry_otlp opentelemetry_sdk pprof prometheus prost tokio tracing \
         tracing_opentelemetry",
    ),
    ("proto", "tonic"),
    (
        "reference_store",
        "async_trait bytes futures_util prost_types rusqlite serde serde_json thiserror tokio \
         tokio_util tonic tonic_health tracing uuid",
    ),
    ("config", "confique ipnet secrecy serde serde_yaml strsim thiserror url"),
    (
        "app",
        "anyhow axum bytes clap futures_util getrandom http rust_embed serde serde_json tokio tokio_util tracing \
         tracing_opentelemetry tracing_subscriber",
    ),
    ("main", "anyhow clap tikv_jemallocator tokio"),
];

/// The same for code that is only built for tests, beside what the part may use anyway.
pub(crate) const CRATES_IN_TESTS: [(&str, &str); 4] = [
    ("domain", "proptest"),
    ("session", "proptest"),
    ("application", "proptest"),
    (
        "",
        "axum futures_util proptest rcgen serde_json tempfile tokio tokio_stream tokio_tungstenite tokio_util",
    ),
];
