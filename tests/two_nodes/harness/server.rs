//! One gateway node.

use std::net::SocketAddr;
use std::path::Path;

use super::program::{Program, edgeway};

/// One running `edgeway serve`.
#[derive(Debug)]
pub(crate) struct Server {
    program: Program,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    /// A node with this configuration file.
    pub(crate) fn start(config: &Path, log: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = edgeway();
        command.arg("serve").arg("--config").arg(config).envs(settings.iter().copied());
        let program = Program::start(command, log);
        let [address, .., admin] = addresses(program.first_line())[..] else {
            panic!("a node tells where it is, and where its admin listener: {}", program.first_line());
        };
        Self { program, address, admin }
    }

    /// Host and port of the public listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Host and port of the admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }
}

/// Every `http://127.0.0.1:PORT` and `https://127.0.0.1:PORT` of a line.
pub(crate) fn addresses(line: &str) -> Vec<SocketAddr> {
    line.split("://")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
            rest[..end].parse().ok()
        })
        .collect()
}

/// Each program shows its own log when it ends by a failed test.
pub(crate) fn log_tails() -> String {
    String::new()
}
