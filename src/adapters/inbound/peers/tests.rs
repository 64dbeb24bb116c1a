//! Connections to other nodes, over real sockets.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::routing::get;
use futures_util::StreamExt;
use futures_util::future::join_all;
use http::{Request, Uri, Version};
use http_body_util::{BodyExt, Full};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::connect::RequestBody;
use super::pool::{NoAnswer, Peers, REQUESTS_PER_CONNECTION_MAX};
use super::trust::Trust;
use crate::adapters::inbound::listener::accept::{Terms, serve};
use crate::adapters::inbound::listener::bind::bind;
use crate::adapters::inbound::listener::config::Config;
use crate::adapters::inbound::listener::slot::Slots;
use crate::adapters::inbound::listener::tls::{CertificateFiles, ServerTls};

const CONNECTIONS_MAX: usize = 1000;
const DEADLINE: Duration = Duration::from_secs(20);

async fn soon<F: Future>(event: F) -> F::Output {
    tokio::time::timeout(DEADLINE, event).await.expect("it happens within the deadline")
}

/// A node's listener.
struct Node {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Node {
    fn serve(routes: Router, tls: Option<ServerTls>) -> Self {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (soft, hard) = (stop.clone(), stop.clone());
        let serving = tasks.clone();
        let terms = Terms { config: Config::default(), slots: Slots::new(CONNECTIONS_MAX), tls };
        tasks.spawn(async move { serve(listener, routes, terms, &serving, soft, hard).await });
        Self { address, _stop: stop.drop_guard() }
    }

    fn uri(&self, scheme: &str, path: &str) -> Uri {
        format!("{scheme}://{}{path}", self.address).parse().unwrap()
    }
}

fn peers(own_chain: Option<PathBuf>) -> (Peers, DropGuard) {
    trusting(Trust::System { own_chain })
}

fn trusting(trust: Trust) -> (Peers, DropGuard) {
    let stop = CancellationToken::new();
    (Peers::new(trust, TaskTracker::new(), stop.clone()), stop.drop_guard())
}

fn request(uri: Uri) -> Request<RequestBody> {
    Request::get(uri).body(Full::new(Bytes::new())).unwrap()
}

async fn text(peers: &Peers, uri: Uri) -> Result<String, NoAnswer> {
    let address = format!("{}://{}", uri.scheme_str().unwrap(), uri.authority().unwrap()).parse().unwrap();
    let answer = soon(Box::pin(peers.ask(&address, &request(uri)))).await?;
    let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

fn version_route() -> Router {
    Router::new().route("/", get(|version: Version| async move { format!("{version:?}") }))
}

#[tokio::test]
async fn a_node_is_asked_by_http2_with_prior_knowledge() {
    let node = Node::serve(version_route(), None);
    let (peers, _stop) = peers(None);
    assert_eq!(text(&peers, node.uri("http", "/")).await.unwrap(), "HTTP/2.0");
}

#[tokio::test]
async fn behind_tls_a_node_is_trusted_by_the_own_chain_and_else_not() {
    let directory = TempDir::new().unwrap();
    let files = CertificateFiles {
        cert_file: directory.path().join("cert.pem"),
        key_file: directory.path().join("key.pem"),
    };
    let issued = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(&files.cert_file, issued.cert.pem()).unwrap();
    fs::write(&files.key_file, issued.signing_key.serialize_pem()).unwrap();
    let node = Node::serve(version_route(), Some(ServerTls::load(files.clone()).unwrap()));
    let (trusting, _stop) = peers(Some(files.cert_file));
    assert_eq!(text(&trusting, node.uri("https", "/")).await.unwrap(), "HTTP/2.0");
    let (distrusting, _stop) = peers(None);
    assert_eq!(text(&distrusting, node.uri("https", "/")).await, Err(NoAnswer::Unreachable));
}

#[tokio::test]
async fn a_chain_that_was_exchanged_is_trusted_and_one_that_is_broken_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let files = CertificateFiles {
        cert_file: directory.path().join("cert.pem"),
        key_file: directory.path().join("key.pem"),
    };
    let (peers, _stop) = peers(Some(files.cert_file.clone()));
    for _ in 0..2 {
        let issued = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(&files.cert_file, issued.cert.pem()).unwrap();
        fs::write(&files.key_file, issued.signing_key.serialize_pem()).unwrap();
        let tls = ServerTls::load(files.clone()).unwrap();
        let node = Node::serve(version_route(), Some(tls.clone()));
        assert_eq!(text(&peers, node.uri("https", "/")).await.unwrap(), "HTTP/2.0");
        fs::remove_file(&files.cert_file).unwrap();
        let another = Node::serve(version_route(), Some(tls));
        assert_eq!(text(&peers, another.uri("https", "/")).await.unwrap(), "HTTP/2.0");
    }
}

#[tokio::test]
async fn with_authorities_of_ones_own_nobody_else_is_trusted() {
    let directory = TempDir::new().unwrap();
    let files = CertificateFiles {
        cert_file: directory.path().join("cert.pem"),
        key_file: directory.path().join("key.pem"),
    };
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let [ours, theirs] = ["ours.pem", "theirs.pem"].map(|name| {
        let key = KeyPair::generate().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        (path, Issuer::new(params.clone(), key))
    });
    let key = KeyPair::generate().unwrap();
    let issued = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ours.1).unwrap();
    fs::write(&files.cert_file, issued.pem()).unwrap();
    fs::write(&files.key_file, key.serialize_pem()).unwrap();
    let node = Node::serve(version_route(), Some(ServerTls::load(files).unwrap()));
    let uri = node.uri("https", "/");
    let (knowing, _stop) = trusting(Trust::only(&ours.0).unwrap());
    assert_eq!(text(&knowing, uri.clone()).await.unwrap(), "HTTP/2.0");
    let (strange, _stop) = trusting(Trust::only(&theirs.0).unwrap());
    assert_eq!(text(&strange, uri).await, Err(NoAnswer::Unreachable));
}

#[test]
fn a_file_without_a_certificate_is_no_trust() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ca.pem");
    assert_eq!(Trust::only(&path).err().map(|error| error.kind()), Some(std::io::ErrorKind::NotFound));
    for garbage in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(&path, garbage).unwrap();
        assert!(Trust::only(&path).is_err(), "{garbage}");
    }
}

#[tokio::test]
async fn more_requests_than_a_connection_takes_are_on_several() {
    const REQUESTS: usize = REQUESTS_PER_CONNECTION_MAX * 2 + 1;
    let all_there = Arc::new(Barrier::new(REQUESTS));
    let waiting = get(move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
        let all_there = all_there.clone();
        async move {
            all_there.wait().await;
            peer.to_string()
        }
    });
    let node = Node::serve(Router::new().route("/", waiting), None);
    let (peers, _stop) = peers(None);
    let asking = (0..REQUESTS).map(|_| text(&peers, node.uri("http", "/")));
    let mut from: Vec<String> = join_all(asking).await.into_iter().map(Result::unwrap).collect();
    from.sort();
    from.dedup();
    assert_eq!(from.len(), 3);
}

#[tokio::test]
async fn an_answer_comes_as_it_is_written_and_its_end_is_noticed() {
    let (chunks, stream) = tokio::sync::mpsc::channel::<&'static str>(1);
    let stream = Arc::new(parking_lot::Mutex::new(Some(stream)));
    let streaming = get(move || async move {
        let chunks = ReceiverStream::new(stream.lock().take().expect("streamed once"));
        Body::from_stream(chunks.map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk))))
    });
    let node = Node::serve(Router::new().route("/", streaming), None);
    let (peers, _stop) = peers(None);
    let address = node.uri("http", "");
    let answer = soon(peers.ask(&address, &request(node.uri("http", "/")))).await.unwrap();
    let mut body = answer.into_body();
    for word in ["one", "two"] {
        chunks.send(word).await.unwrap();
        assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), word);
    }
    drop(body);
    soon(chunks.closed()).await;
}

#[tokio::test]
async fn whoever_waits_when_this_node_leaves_is_sent_away() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = asked.clone();
    let never = get(move || async move {
        counting.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<&'static str>().await
    });
    let node = Node::serve(Router::new().route("/", never), None);
    let (peers, _stop) = peers(None);
    let leaving = async {
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        peers.leave(Duration::ZERO);
    };
    let (answer, ()) = tokio::join!(text(&peers, node.uri("http", "/")), leaving);
    assert_eq!(answer, Err(NoAnswer::Leaving));
}

#[tokio::test]
async fn a_node_that_is_gone_is_unreachable_and_one_that_came_again_is_asked_anew() {
    let node = Node::serve(version_route(), None);
    let (peers, _stop) = peers(None);
    let uri = node.uri("http", "/");
    assert!(text(&peers, uri.clone()).await.is_ok());
    let address = node.address;
    drop(node);
    let gone = async {
        while text(&peers, uri.clone()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;
    // For a moment it is not even asked.
    let _listener = TcpListener::bind(address).await;
    assert_eq!(text(&peers, uri).await, Err(NoAnswer::Unreachable));
    assert!(!peers.is_reachable(&format!("http://{address}").parse().unwrap()).await);
}
