//! The command line.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

use super::lifecycle::Ending;
use super::{dev, dev_routes, health, serve, store};
use crate::adapters::outbound::auth::config::ScopeNames;
use crate::adapters::outbound::auth::issuer::{self, TokenIssuer};
use crate::adapters::outbound::clock::SystemClock;
use crate::adapters::outbound::redis::commands;
use crate::application::ports::auth::Scopes;
use crate::config::redact::SecretUrl;
use crate::config::settings::Settings;
use crate::config::text;
use crate::domain::ids::UserId;
use crate::reference_store::database::Database;

/// An edge gateway for chat: WebSocket, server-sent events and long-poll from one session core.
#[derive(Debug, Parser)]
#[command(name = "edgeway", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: DevArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process, with nothing installed: the default
    Dev(DevArguments),
    /// A gateway node for production
    Serve {
        /// The configuration, YAML
        #[arg(long)]
        config: PathBuf,
    },
    /// The reference Store alone
    Store(StoreArguments),
    /// Validate a configuration and print what is in effect, without secrets
    CheckConfig {
        /// The configuration, YAML
        #[arg(long)]
        config: PathBuf,
    },
    /// Mint a token, signed with a key file of your own
    Token(TokenArguments),
    /// Ask the node on this machine whether it answers; ends with 0 if it does
    Health {
        /// Its admin listener
        #[arg(long, env = "EDGEWAY__ADMIN_LISTEN", default_value = "127.0.0.1:9090")]
        admin: SocketAddr,
        /// Ask whether it is ready for traffic, instead
        #[arg(long)]
        ready: bool,
    },
}

#[derive(Debug, clap::Args)]
struct DevArguments {
    /// Where to listen; loopback only
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Where messages are kept: `sqlite:PATH` or `sqlite::memory:`
    #[arg(long, default_value = "sqlite::memory:")]
    db: String,
}

#[derive(Debug, clap::Args)]
struct StoreArguments {
    /// Where messages are kept: `sqlite:PATH` or `sqlite::memory:`
    #[arg(long)]
    db: String,
    /// Redis, where events go: `redis://[user:password@]host:port[/db]`
    #[arg(long, env = "EDGEWAY_STORE_BUS", hide_env_values = true)]
    bus: SecretUrl,
    /// Where gateways call it (gRPC without TLS): keep it private
    #[arg(long, default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    /// Every dialog exists and every user is a member of it, but for dialogs that were created
    #[arg(long)]
    open: bool,
    /// What keys and channels begin with, as in the gateways' `bus.prefix`
    #[arg(long, default_value = "edgeway")]
    prefix: String,
}

#[derive(Debug, clap::Args)]
struct TokenArguments {
    /// Whom the token is for
    #[arg(long)]
    user: String,
    /// Ed25519 private key, PKCS#8 PEM; made if it is not there
    #[arg(long)]
    key_file: PathBuf,
    /// Write the key's JWK set here, for `auth.jwks_file`
    #[arg(long)]
    jwks_file: Option<PathBuf>,
    /// How long it is good, in seconds
    #[arg(long, default_value_t = dev_routes::TOKEN_TTL.as_secs())]
    ttl: u64,
    /// `iss`
    #[arg(long)]
    issuer: Option<String>,
    /// `aud`
    #[arg(long)]
    audience: Option<String>,
    /// Without the scope to write
    #[arg(long)]
    read_only: bool,
}

/// Does what the command line asks for.
///
/// # Errors
/// Whatever went wrong, in words for the person who called.
pub async fn run(cli: Cli) -> anyhow::Result<Ending> {
    match cli.command {
        None => develop(cli.dev).await,
        Some(Command::Dev(arguments)) => develop(arguments).await,
        Some(Command::Serve { config }) => serve::run(Settings::load(Some(&config), std::env::vars())?).await,
        Some(Command::Store(arguments)) => keep_messages(arguments).await,
        Some(Command::CheckConfig { config }) => {
            let settings = Settings::load(Some(&config), std::env::vars())?;
            print(settings.effective_yaml())?;
            Ok(Ending::Done)
        }
        Some(Command::Token(arguments)) => mint(&arguments).map(|()| Ending::Done),
        Some(Command::Health { admin, ready }) => {
            health::ask(admin, if ready { "/readyz" } else { "/livez" }).await?;
            Ok(Ending::Done)
        }
    }
}

async fn develop(arguments: DevArguments) -> anyhow::Result<Ending> {
    let listen = arguments.listen.map(|address| ("EDGEWAY__LISTEN".to_owned(), address.to_string()));
    let settings = Settings::development(std::env::vars().chain(listen))?;
    dev::run(settings, database(&arguments.db)?).await
}

async fn keep_messages(arguments: StoreArguments) -> anyhow::Result<Ending> {
    anyhow::ensure!(text::is_prefix(&arguments.prefix), "--prefix takes 1 to 64 of A-Z a-z 0-9 _ . : -");
    let bus = commands::Config {
        prefix: arguments.prefix,
        ..commands::Config::new(arguments.bus.expose().clone())
    };
    let database = database(&arguments.db)?;
    store::run(store::Config { database, open: arguments.open, bus, listen: arguments.listen }).await
}

fn database(text: &str) -> anyhow::Result<Database> {
    match text.strip_prefix("sqlite:") {
        Some(":memory:") => Ok(Database::Memory),
        Some(path) if !path.is_empty() => Ok(Database::File(path.into())),
        _ => anyhow::bail!("--db takes sqlite:PATH or sqlite::memory:"),
    }
}

fn mint(arguments: &TokenArguments) -> anyhow::Result<()> {
    let user = UserId::parse(&arguments.user)?;
    let config = issuer::Config {
        issuer: arguments.issuer.clone(),
        audience: arguments.audience.clone(),
        scopes: ScopeNames::default(),
    };
    let clock = Arc::new(SystemClock::start());
    let issuer = if arguments.key_file.exists() {
        TokenIssuer::load(&arguments.key_file, config, clock)?
    } else {
        let issuer = TokenIssuer::generate(config, clock)?;
        issuer.save(&arguments.key_file)?;
        issuer
    };
    if let Some(path) = &arguments.jwks_file {
        std::fs::write(path, serde_json::to_vec_pretty(&issuer.jwks())?)?;
    }
    let scopes = Scopes { read: true, write: !arguments.read_only };
    let issued = issuer.issue(&user, Duration::from_secs(arguments.ttl), scopes)?;
    print(&issued.token)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    Ok(())
}
