//! Where a JWK set is read from.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use tokio::io::AsyncReadExt as _;

use super::config::SetupError;
use crate::adapters::outbound::crypto;

/// Largest JWK set that is read.
pub const JWKS_MAX_BYTES: usize = 256 * 1024;
/// How long one fetch may take, from the name lookup to the last byte.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How many redirects within the same origin are followed.
const REDIRECTS_MAX: usize = 3;

/// Reads the issuer's JWK set, as often as it is asked to.
#[async_trait]
pub trait JwksSource: Send + Sync {
    /// The document as it is now, at most [`JWKS_MAX_BYTES`]. The caller bounds the time.
    ///
    /// # Errors
    /// [`FetchError`]
    async fn fetch(&self) -> Result<Vec<u8>, FetchError>;
}

/// Why a JWK set could not be read. Nothing of its content is repeated.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The file can't be read.
    #[error("file: {0}")]
    File(#[from] std::io::Error),
    /// No answer, or a broken one, or a redirect elsewhere.
    #[error("http: {}", in_full(.0))]
    Http(reqwest::Error),
    /// An answer that isn't 200.
    #[error("http status {0}")]
    Status(StatusCode),
    /// Larger than [`JWKS_MAX_BYTES`].
    #[error("more than {JWKS_MAX_BYTES} bytes")]
    TooLarge,
    /// It took longer than [`FETCH_TIMEOUT`].
    #[error("no answer within {} s", FETCH_TIMEOUT.as_secs())]
    Timeout,
}

/// The HTTP client's own text only says that something failed; what failed is in the causes.
fn in_full(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<reqwest::Error> for FetchError {
    /// Without the URL, whose query may hold a key.
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Http(error.without_url()) }
    }
}

/// A JWK set in a file that something else keeps up to date.
#[derive(Debug)]
pub struct FileSource {
    /// Where.
    pub path: PathBuf,
}

#[async_trait]
impl JwksSource for FileSource {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let mut document = Vec::new();
        let file = tokio::fs::File::open(&self.path).await?;
        file.take(JWKS_MAX_BYTES as u64 + 1).read_to_end(&mut document).await?;
        if document.len() > JWKS_MAX_BYTES { Err(FetchError::TooLarge) } else { Ok(document) }
    }
}

/// A JWK set that the issuer serves.
#[derive(Debug)]
pub struct UrlSource {
    client: Client,
    url: Url,
}

impl UrlSource {
    /// A client for one URL: https, or http on this machine, without a user name or password.
    ///
    /// # Errors
    /// [`SetupError::Url`] for another URL, [`SetupError::Client`] if TLS can't be set up (no root certificates).
    pub fn new(url: &str) -> Result<Self, SetupError> {
        let url = Url::parse(url).map_err(|_| SetupError::Url("not a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SetupError::Url("credentials don't belong in it"));
        }
        let builder = match url.scheme() {
            "https" => Client::builder().https_only(true),
            // Nothing on this machine needs a proxy to be reached, nor root certificates to be loaded.
            "http" if is_loopback(&url) => Client::builder().no_proxy().tls_certs_only([]),
            "http" => return Err(SetupError::Url("http is for this machine alone: use https")),
            _ => return Err(SetupError::Url("neither https nor http")),
        };
        crypto::install_default_provider();
        let client = builder
            .redirect(within_origin(url.clone()))
            .timeout(FETCH_TIMEOUT)
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self { client, url })
    }
}

/// Whoever can make the issuer redirect must not choose where keys come from.
fn within_origin(start: Url) -> Policy {
    Policy::custom(move |attempt| {
        if attempt.url().origin() != start.origin() {
            attempt.error("redirected to another origin")
        } else if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("redirected too often")
        } else {
            attempt.follow()
        }
    })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[async_trait]
impl JwksSource for UrlSource {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let mut response = self.client.get(self.url.clone()).send().await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if document.len() + chunk.len() > JWKS_MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::JwksServer;
    use super::*;

    #[test]
    fn only_https_and_this_machine_are_fetched_from() {
        for good in
            ["https://id.example.com/jwks", "http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost/"]
        {
            assert!(UrlSource::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "jwks.json",
            "ftp://id.example.com/",
            "file:///etc/passwd",
            "http://id.example.com/jwks",
            "http://127.0.0.1.example.com/",
            "https://user:secret@id.example.com/",
        ] {
            let refused = UrlSource::new(bad).err().map(|error| error.to_string());
            assert!(refused.is_some_and(|text| !text.contains("secret")), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_document_comes_by_http() {
        let server = JwksServer::start(200, b"{}".to_vec()).await;
        assert_eq!(server.source().fetch().await.unwrap(), b"{}");
        assert_eq!(server.fetches(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_or_not_200_is_refused() {
        let server = JwksServer::start(200, vec![b' '; JWKS_MAX_BYTES + 1]).await;
        assert!(matches!(server.source().fetch().await, Err(FetchError::TooLarge)));
        let server = JwksServer::start(500, b"{}".to_vec()).await;
        assert!(matches!(server.source().fetch().await, Err(FetchError::Status(_))));
    }

    #[tokio::test]
    async fn a_redirect_is_followed_within_the_origin_and_nowhere_else() {
        let elsewhere = JwksServer::start(200, b"theirs".to_vec()).await;
        let server = JwksServer::start(200, b"ours".to_vec()).await;
        server.redirect_from("/away", &elsewhere.url());
        server.redirect_from("/moved", "/");
        let fetch = async |path: &str| {
            UrlSource::new(&format!("{}{path}", server.url().trim_end_matches('/'))).unwrap().fetch().await
        };
        assert_eq!(fetch("/moved").await.unwrap(), b"ours");
        let error = fetch("/away").await.unwrap_err().to_string();
        assert!(error.contains("another origin"), "{error}");
        assert_eq!(elsewhere.fetches(), 0);
    }

    #[tokio::test]
    async fn an_error_does_not_tell_the_url() {
        let gone = UrlSource::new("http://127.0.0.1:1/?key=secret").unwrap();
        let error = gone.fetch().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }

    #[tokio::test]
    async fn a_file_is_read_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let source = FileSource { path: directory.path().join("jwks.json") };
        assert!(matches!(source.fetch().await, Err(FetchError::File(_))));
        std::fs::write(&source.path, b"{}").unwrap();
        assert_eq!(source.fetch().await.unwrap(), b"{}");
        std::fs::write(&source.path, vec![b' '; JWKS_MAX_BYTES + 1]).unwrap();
        assert!(matches!(source.fetch().await, Err(FetchError::TooLarge)));
    }
}
