//! The `edgeway` command.

use std::process::ExitCode;

use clap::Parser;
use edgeway::app::cli::{self, Cli};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgeway: {error:#}");
            ExitCode::FAILURE
        }
    }
}
