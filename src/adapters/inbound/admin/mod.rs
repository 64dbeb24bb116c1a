//! What operators and load balancers ask, on a listener of its own: keep it private.

pub mod check;
pub mod disconnect;
pub mod profile;
pub mod routes;
