//! What every bus must do: one suite, run against each implementation.
//!
//! `contract` says what a bus under test must offer, `suite` holds the tests, and each further module runs them
//! against one implementation and adds what only that one can show.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod recorder;
#[cfg(test)]
mod suite;
