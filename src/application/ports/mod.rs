//! What the application needs from outside, as traits. Adapters implement them; `app` puts the two together.

pub mod auth;
pub mod bus;
pub mod clock;
pub mod codec;
pub mod idempotency;
pub mod lifecycle;
pub mod nodes;
pub mod presence;
pub mod records;
pub mod roster;
pub mod store;
pub mod telemetry;
pub mod throttle;
