//! `edgeway-bench`: what Edgeway costs, beside a floor that holds the same sockets. See `docs/performance.md`.
//!
//! It starts the servers under test as children, plays their clients, reads their CPU time and memory from `/proc`, and
//! prints a table. Everything stays on loopback.

mod centrifugo;
mod child;
mod client;
mod clock;
mod control;
mod floor;
mod gateway;
mod parse;
mod peers;
mod plan;
mod posts;
mod process;
mod publisher;
mod redis;
mod report;
mod scenarios;
mod swarm;
mod tally;
mod tokens;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

use crate::report::Report;
use crate::scenarios::setting::Setting;
use crate::scenarios::{accept, fanout, idle, mixed, peers as peer_rows, rooms, send, storm};
use crate::tokens::Tokens;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const SCENARIOS: [&str; 11] =
    ["idle", "fanout", "growth", "deflate", "rooms", "redis", "send", "storm", "accept", "mixed", "peers"];

#[derive(Debug, Parser)]
struct Arguments {
    /// Only these, with commas in between: idle, fanout, growth, deflate, rooms, redis, send, storm, accept, mixed, peers
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Divide the number of clients by this, for a quick look
    #[arg(long, default_value_t = 1)]
    divide: usize,
    /// Write the figures here, too
    #[arg(long)]
    json: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What a child does.
#[derive(Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    Floor {
        /// Sends heartbeats as often as the gateway.
        #[arg(long)]
        pings: bool,
    },
    #[command(hide = true)]
    Gateway {
        #[arg(long)]
        keys: PathBuf,
        #[arg(long)]
        redis: Option<String>,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    process::raise_file_limit()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match &arguments.part {
            Some(Part::Floor { pings }) => floor::serve(*pings).await,
            Some(Part::Gateway { keys, redis }) => gateway::serve(keys, redis.as_deref()).await,
            None => measure(&arguments).await,
        }
    })
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let unknown = arguments.only.iter().find(|name| !SCENARIOS.contains(&name.as_str()));
    anyhow::ensure!(unknown.is_none(), "no such scenario: {unknown:?}; there are {SCENARIOS:?}");
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::generate(directory.path())?;
    let mut setting = Setting { tokens, report: Report::default(), divide: arguments.divide.max(1) };
    for name in SCENARIOS {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|only| only == name) {
            continue;
        }
        let done = match name {
            "idle" => idle::run(&mut setting).await,
            "fanout" => fanout::run(&mut setting).await,
            "growth" => fanout::growth(&mut setting).await,
            "deflate" => fanout::deflate(&mut setting).await,
            "rooms" => rooms::run(&mut setting).await,
            "redis" => rooms::on_redis(&mut setting).await,
            "send" => send::run(&mut setting).await,
            "storm" => storm::run(&mut setting).await,
            "accept" => accept::run(&mut setting).await,
            "peers" => peer_rows::run(&mut setting).await,
            _ => mixed::run(&mut setting).await,
        };
        done.with_context(|| name.to_owned())?;
    }
    setting.report.print()?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, setting.report.to_json()?)?;
    }
    Ok(())
}
