//! What texts of the configuration must look like. Messages don't repeat the text: a URL may hold a password.

use std::net::IpAddr;

use url::{Host, Url};

const PREFIX_CHARS_MAX: usize = 64;

type Checked<T> = Result<T, &'static str>;

/// An http or https URL without user and password.
pub(super) fn web_url(text: &str) -> Checked<Url> {
    let url = Url::parse(text).map_err(|_| "expected a URL, such as https://host:port")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("expected an http or https URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password: it is shown in logs");
    }
    Ok(url)
}

/// An http or https URL with nothing after the host and port; given back without a slash at the end.
pub(super) fn endpoint(text: &str) -> Checked<String> {
    let url = web_url(text)?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("expected only scheme, host and port, such as http://host:port");
    }
    Ok(url.origin().ascii_serialization())
}

/// Where keys are fetched from. Over plain http anyone in between could put in keys of their own.
pub(super) fn jwks_url(text: &str) -> Checked<()> {
    let url = web_url(text)?;
    let this_machine = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        _ if this_machine => Ok(()),
        _ => Err("must be https: http is for this machine alone"),
    }
}

/// A web origin as browsers write it in `Origin` (RFC 6454 §6.2); application schemes (`capacitor://localhost`) too.
pub(super) fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    match url.scheme() {
        "http" | "https" => url.origin().ascii_serialization() == text,
        scheme => {
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            !host.is_empty() && format!("{scheme}://{host}{port}") == text && text == text.to_lowercase()
        }
    }
}

/// Redis or Valkey: one server, or with `+sentinel` or `+cluster` several with commas in between.
pub(super) fn is_redis_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (server, several) = match scheme.split_once('+') {
        Some((server, "sentinel" | "cluster")) => (server, true),
        Some(_) => return false,
        None => (scheme, false),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    matches!(server, "redis" | "rediss" | "valkey" | "valkeys")
        && (several || !hosts.contains(','))
        && hosts.split(',').all(is_host_and_port)
}

fn is_host_and_port(text: &str) -> bool {
    // An IPv6 address in brackets, or a name or IPv4 address.
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, "")) => (ip, None),
        Some((ip, port)) => match port.strip_prefix(':') {
            Some(port) => (ip, Some(port)),
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let host_fits = if text.starts_with('[') {
        host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6())
    } else {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    host_fits && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// What keys of the bus may begin with. No braces: they would change the hash slot.
#[must_use]
pub fn is_prefix(text: &str) -> bool {
    (1..=PREFIX_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b))
}

/// One scope (RFC 6749 §3.3).
pub(super) fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// The name of a cookie (RFC 6265 §4.1.1).
pub(super) fn is_cookie_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Levels for all or for parts of the program: `info`, `info,hyper=warn`.
pub(super) fn is_log_filter(text: &str) -> bool {
    text.split(',').all(|directive| {
        let (target, level) = directive.rsplit_once('=').unwrap_or(("all", directive));
        !target.is_empty()
            && target.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b))
            && matches!(level, "off" | "error" | "warn" | "info" | "debug" | "trace")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for good in [
            "https://app.example.com",
            "http://localhost:3000",
            "https://a.example:8443",
            "http://[::1]:8080",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "null",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/x",
            "https://App.example.com",
            "https://app.example.com:443",
            "https://u@app.example.com",
            "https://*.example.com/",
            "capacitor://localhost/",
            "capacitor://Host",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn redis_urls_name_a_server() {
        for good in [
            "redis://redis",
            "redis://redis:6379",
            "redis://:p@ss@127.0.0.1:6379/3",
            "rediss://user:pass@redis.example:6380",
            "valkey://[::1]:6379",
            "redis+sentinel://a:26379,b:26379/main",
            "rediss+cluster://u:p@a:1,b:2,c:3",
        ] {
            assert!(is_redis_url(good), "{good}");
        }
        for bad in [
            "",
            "redis",
            "redis:6379",
            "http://redis:6379",
            "redis://",
            "redis://:6379",
            "redis://a:0",
            "redis://a:b",
            "redis://a:70000",
            "redis://a,b",
            "redis+other://a",
            "redis+cluster://a,",
            "redis://a b",
            "redis://[::1",
            "redis://[1.2.3.4]",
        ] {
            assert!(!is_redis_url(bad), "{bad}");
        }
    }

    #[test]
    fn log_filters_name_levels() {
        for good in ["info", "off", "info,hyper=warn", "warn,edgeway::session=trace"] {
            assert!(is_log_filter(good), "{good}");
        }
        for bad in ["", "inof", "INFO", "info,", "info,hyper", "=info", "info,hyper=loud"] {
            assert!(!is_log_filter(bad), "{bad}");
        }
    }
}
