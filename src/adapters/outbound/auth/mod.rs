//! Tokens: whose word is taken for who a caller is.
//!
//! [`verifier`] judges a token, with keys from a [`keyring`] that [`source`] and [`jwks`] fill; [`tickets`] stand in
//! for a token once; [`issuer`] mints tokens for development.

pub mod config;
pub mod issuer;
pub mod jwks;
pub mod keyring;
pub mod keys;
pub mod source;
pub mod tickets;
pub mod token;
pub mod verifier;

#[cfg(test)]
mod testing;
