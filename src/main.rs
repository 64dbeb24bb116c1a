//! The `edgeway` command.

use std::process::ExitCode;

use clap::Parser;
use edgeway::app::cli::{self, Cli};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error.into()),
    };
    let ended = runtime.block_on(cli::run(cli));
    // What is still running then was given up: nobody waits for it.
    runtime.shutdown_background();
    match ended {
        Ok(ending) => ending.exit_code(),
        Err(error) => failure(&error),
    }
}

fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("edgeway: {error:#}");
    ExitCode::FAILURE
}
