//! The one way to ask Redis something: every call ends within its time, whatever the server does.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::connection::Answer;
use super::keys::Keys;
use super::script::ScriptCall;
use super::servers::{InvalidUrl, Servers};
use super::supervisor::{Desk, Link, State, Supervisor};
use crate::application::ports::bus::BusError;
use crate::application::vital::VitalTasks;

/// Code of an error reply by which a script refuses what is over a limit.
const TOO_LARGE: &str = "TOOLARGE";

/// Where Redis is, and how long it is waited for.
#[derive(Debug, Clone)]
pub struct Config {
    /// See [`Servers::parse`].
    pub url: SecretString,
    /// What all keys and channels begin with.
    pub prefix: String,
    /// Longest wait for an answer.
    pub response_timeout: Duration,
    /// Longest TCP (and TLS) connect and greeting.
    pub connect_timeout: Duration,
}

impl Config {
    /// The defaults, for the servers of this URL.
    #[must_use]
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            prefix: "edgeway".to_owned(),
            response_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
        }
    }
}

/// Sends commands over one link that all clones share.
///
/// While the link is down, calls fail at once. While it is being renewed for the first time since it was lost, they
/// wait for that within their own time. Nothing that the server may have executed is sent twice.
#[derive(Clone)]
pub struct RedisCommands {
    shared: Arc<Shared>,
}

struct Shared {
    keys: Keys,
    response_timeout: Duration,
    desk: Arc<Desk>,
}

/// What is asked.
#[derive(Clone, Copy)]
enum Request<'a> {
    Commands(&'a [Cmd]),
    Scripts(&'a [ScriptCall<'a>]),
}

impl RedisCommands {
    /// Starts to connect, and keeps the link up in a task until it is told to stop.
    ///
    /// # Errors
    /// [`InvalidUrl`]. That Redis does not answer is no error: it may later.
    pub fn start(config: &Config, tasks: &VitalTasks, until: CancellationToken) -> Result<Self, InvalidUrl> {
        let desk = Desk::new();
        let supervisor = Supervisor {
            servers: Servers::parse(&config.url)?,
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
            desk: desk.clone(),
        };
        tasks.spawn("the link to Redis", until.clone(), supervisor.run(until));
        let keys = Keys::new(&config.prefix);
        Ok(Self { shared: Arc::new(Shared { keys, response_timeout: config.response_timeout, desk }) })
    }

    /// The names of keys and channels.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// Whether the link is up, as far as is known.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(*self.shared.desk.state.borrow(), State::Up(_))
    }

    /// Whether calls fail at once. Not while the link is renewed for the first time since it was lost.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(*self.shared.desk.state.borrow(), State::Down)
    }

    /// Returns when the link is up, or when it is not.
    pub async fn wait_until(&self, up: bool) {
        let mut state = self.shared.desk.state.subscribe();
        // Can't fail: the sender lives as long as this.
        let _ = state.wait_for(|state| matches!(state, State::Up(_)) == up).await;
    }

    /// Returns when the link comes up from now on, and never if it stays as it is.
    pub(super) async fn comes_up(&self) {
        let mut state = self.shared.desk.state.subscribe();
        // Can't fail: the sender lives as long as this.
        while state.changed().await.is_ok() {
            if matches!(*state.borrow_and_update(), State::Up(_)) {
                return;
            }
        }
    }

    /// Somebody has just reached the servers: if the link waits for its next attempt to connect, this is the moment.
    pub(super) fn hint(&self) {
        self.shared.desk.hint();
    }

    /// Sends a command. It must not be a blocking one: it would hold up all others.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] within the response timeout, whether or not the server has executed it.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, BusError> {
        only(self.ask(Request::Commands(std::slice::from_ref(command))).await?)
    }

    /// Sends commands in one round trip (in a cluster: all at the same time) and gives their answers in order.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] when any of them fails; the others may have been executed.
    pub async fn pipeline<T: FromRedisValue>(&self, commands: &[Cmd]) -> Result<Vec<T>, BusError> {
        all(self.ask(Request::Commands(commands)).await?)
    }

    /// Calls a script.
    ///
    /// # Errors
    /// [`BusError::TooLarge`] when the script replies with an error of code `TOOLARGE`; else as [`Self::query`].
    pub async fn script<T: FromRedisValue>(&self, call: &ScriptCall<'_>) -> Result<T, BusError> {
        only(self.ask(Request::Scripts(std::slice::from_ref(call))).await?)
    }

    /// Calls scripts in one round trip and gives their answers in order.
    ///
    /// # Errors
    /// As [`Self::pipeline`].
    pub async fn scripts<T: FromRedisValue>(&self, calls: &[ScriptCall<'_>]) -> Result<Vec<T>, BusError> {
        all(self.ask(Request::Scripts(calls)).await?)
    }

    async fn ask(&self, request: Request<'_>) -> Result<Vec<Answer>, BusError> {
        let asked = tokio::time::timeout(self.shared.response_timeout, self.ask_for_long(request));
        match asked.await {
            Ok(answered) => answered,
            Err(_) => {
                self.shared.desk.doubt();
                Err(BusError::Unavailable)
            }
        }
    }

    async fn ask_for_long(&self, request: Request<'_>) -> Result<Vec<Answer>, BusError> {
        let link = self.link().await?;
        let generation = link.generation;
        let answers = match send(link, request).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(why = error.category(), "Redis did not answer");
                self.shared.desk.doubt();
                return Err(BusError::Unavailable);
            }
        };
        if !answers.iter().any(|answer| answer.as_ref().is_err_and(is_wrong_server)) {
            return Ok(answers);
        }
        self.shared.desk.give_up(generation);
        if answers.iter().any(Result::is_ok) {
            return Err(BusError::Unavailable);
        }
        // None was executed: once more, where it belongs.
        let link = self.link().await?;
        send(link, request).await.map_err(|error| refusal(&error))
    }

    async fn link(&self) -> Result<Link, BusError> {
        let mut state = self.shared.desk.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match known.as_deref() {
            Ok(State::Up(link)) => Ok(link.clone()),
            _ => Err(BusError::Unavailable),
        }
    }
}

async fn send(mut link: Link, request: Request<'_>) -> RedisResult<Vec<Answer>> {
    match request {
        // Alone it needs no list of answers on the way.
        Request::Commands([command]) => match link.connection.command(command).await {
            Err(error) if is_of_the_link(&error) => Err(error),
            answer => Ok(vec![answer]),
        },
        Request::Commands(commands) => link.connection.commands(commands).await,
        Request::Scripts(calls) => link.connection.scripts(calls).await,
    }
}

fn only<T: FromRedisValue>(answers: Vec<Answer>) -> Result<T, BusError> {
    let answer = answers.into_iter().next().ok_or(BusError::Unavailable)?;
    read(answer)
}

fn all<T: FromRedisValue>(answers: Vec<Answer>) -> Result<Vec<T>, BusError> {
    answers.into_iter().map(read).collect()
}

fn read<T: FromRedisValue>(answer: Answer) -> Result<T, BusError> {
    let value = answer.map_err(|error| refusal(&error))?;
    T::from_redis_value(value).map_err(|_| {
        tracing::warn!("Redis answered with something of another type");
        BusError::Unavailable
    })
}

fn is_of_the_link(error: &RedisError) -> bool {
    !matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// The server did nothing, since it is not the one to ask: it was demoted, has given its slots away, or is loading.
fn is_wrong_server(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ReadOnly
                | ServerErrorKind::Moved
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading
        )
    )
}

fn refusal(error: &RedisError) -> BusError {
    if error.code() == Some(TOO_LARGE) {
        return BusError::TooLarge;
    }
    // Only its code: the rest may repeat what was sent.
    let code = error.code().unwrap_or_else(|| error.category());
    tracing::debug!(code, "Redis refused a command");
    BusError::Unavailable
}
