//! Configurations, good and bad, as operators write them.

mod fixture;
mod valid;
mod wrong;
