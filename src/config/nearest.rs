//! The key that was meant.

/// What it counts that a name is the beginning of another: `otlp` for `otlp_endpoint`.
const BEGINNING_BONUS: f64 = 0.5;

/// The valid key most like an unknown one. A key of the same name in another section is likely the one: people
/// remember names better than places.
pub(super) fn nearest<'a>(unknown: &str, valid: &'a [String]) -> Option<&'a str> {
    let likeness = |key: &str| {
        let bonus = if name(key).starts_with(name(unknown)) { BEGINNING_BONUS } else { 0.0 };
        strsim::normalized_damerau_levenshtein(unknown, key)
            + strsim::normalized_damerau_levenshtein(name(unknown), name(key))
            + bonus
    };
    valid.iter().map(String::as_str).max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

fn name(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;
    use crate::config::schema::all_keys;

    #[test]
    fn what_was_meant_is_found() {
        let keys = all_keys();
        for (unknown, meant) in [
            ("bus.urll", "bus.url"),
            ("lisen", "listen"),
            ("sesion", "session"),
            ("sesion.queue_events", "session.queue_events"),
            ("limits.frame_bytes", "transports.ws.frame_bytes"),
            ("auth.jwks", "auth.jwks_url"),
            ("auth.jwksUrl", "auth.jwks_url"),
            ("ws.ping", "transports.ws.ping"),
            ("transport.poll.wait", "transports.poll.wait"),
            ("store.send_time_out", "store.send_timeout"),
            ("telemetry.otlp", "telemetry.otlp_endpoint"),
            ("log", "telemetry.log"),
        ] {
            assert_eq!(nearest(unknown, &keys), Some(meant), "{unknown}");
        }
    }
}
