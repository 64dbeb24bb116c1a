//! The one crypto backend of the process.

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// Makes aws-lc-rs the process's default for TLS, which the HTTP client needs since it brings no backend of its own.
///
/// Harmless when called again, and when another default was there first.
pub fn install_default_provider() {
    if CryptoProvider::get_default().is_none() {
        // Fails only if another thread was quicker, which comes to the same.
        let _ = aws_lc_rs::default_provider().install_default();
    }
}
