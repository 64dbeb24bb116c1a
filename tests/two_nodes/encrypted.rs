//! Nodes that reach each other by TLS.

use std::fs;
use std::process::Stdio;

use crate::authority::Authority;
use crate::harness::attach::Attach;
use crate::harness::nodes::{Nodes, is_ready};
use crate::harness::poll_line::{poll, read_answer};
use crate::harness::program::edgeway;

tests! {
    a_node_with_a_certificate_of_ones_own_authority_is_asked_by_who_trusts_that_and_nobody_else,
    a_file_without_an_authority_is_told_at_the_start,
}

async fn a_node_with_a_certificate_of_ones_own_authority_is_asked_by_who_trusts_that_and_nobody_else() {
    let (authority, nodes) = (Authority::new(), Nodes::start().await);
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| authority.file(name).to_str().unwrap().to_owned());
    let encrypted =
        nodes.another("c", &[("EDGEWAY__TLS__CERT_FILE", &cert), ("EDGEWAY__TLS__KEY_FILE", &key)]);
    let trusting = nodes.another("d", &[("EDGEWAY__PEERS__CA_FILE", &authority.ca_file())]);
    for node in [&encrypted, &trusting] {
        is_ready(node).await;
    }

    let alice = nodes.user("alice");
    let root = reqwest::Certificate::from_pem(&fs::read(authority.ca_file()).unwrap()).unwrap();
    let https = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let url = format!("https://{}/v1/poll", encrypted.server().address());
    let answer = https.get(url).bearer_auth(alice.token()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let first = read_answer(&answer.text().await.unwrap());

    let again = Attach::new().session(&first.session).cursor(&first.cursor);
    for (node, resume) in [(&trusting, "resumed"), (&nodes.b, "rebuilt")] {
        let answer = poll(&node.user(&alice), &again, Some(0)).await.unwrap();
        assert_eq!((answer.session, &*answer.resume), (first.session.clone(), resume));
    }
}

async fn a_file_without_an_authority_is_told_at_the_start() {
    let (directory, nodes) = (tempfile::tempdir().unwrap(), Nodes::start().await);
    let (missing, empty) = (directory.path().join("missing.pem"), directory.path().join("empty.pem"));
    fs::write(&empty, "").unwrap();
    for path in [missing, empty] {
        let mut command = edgeway();
        command.arg("serve").arg("--config").arg(nodes.config());
        command.env("EDGEWAY__PEERS__CA_FILE", &path).stdout(Stdio::null());
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(&format!("edgeway: peers.ca_file: {}: ", path.display())), "{told}");
    }
}
