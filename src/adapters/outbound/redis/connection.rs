//! An open connection, to one server or to a cluster.

use futures_util::StreamExt;
use futures_util::stream;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};

use super::script::ScriptCall;

/// Commands of one pipeline that are on their way into a cluster at the same time.
const CLUSTER_COMMANDS_AT_ONCE_MAX: usize = 128;

/// An open connection; clones share it. Commands of all clones are pipelined, so none of them may block.
#[derive(Clone)]
pub enum Connection {
    /// To the one server, or to the one that Sentinels have named.
    Server(MultiplexedConnection),
    /// To all servers of a cluster. Redirections and lost servers are its own affair.
    Cluster(ClusterConnection),
}

/// What came of one command of several.
pub type Answer = RedisResult<Value>;

impl Connection {
    /// Sends a command.
    ///
    /// # Errors
    /// Those of the link and those of the server.
    pub async fn command(&mut self, command: &Cmd) -> Answer {
        let value = match self {
            Self::Server(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        };
        value.and_then(Value::extract_error)
    }

    /// Sends commands together, and gives their answers in the same order.
    ///
    /// # Errors
    /// When the link fails, so that nothing is known of any of them.
    pub async fn commands(&mut self, commands: &[Cmd]) -> RedisResult<Vec<Answer>> {
        match (self, commands) {
            (_, []) => Ok(Vec::new()),
            (Self::Server(connection), _) => {
                let mut pipeline = Pipeline::with_capacity(commands.len());
                for command in commands {
                    pipeline.add_command(command.clone());
                }
                let values = connection.req_packed_commands(&pipeline, 0, commands.len()).await?;
                if values.len() != commands.len() {
                    return Err((ErrorKind::UnexpectedReturnType, "a pipeline was answered in part").into());
                }
                Ok(values.into_iter().map(Value::extract_error).collect())
            }
            (Self::Cluster(connection), _) => {
                // Each command its own copy: borrowed ones in a stream would keep callers from being `Send`.
                let answers = stream::iter(commands.to_vec()).map(|command| {
                    let mut connection = connection.clone();
                    async move { connection.req_packed_command(&command).await.and_then(Value::extract_error) }
                });
                Ok(answers.buffered(CLUSTER_COMMANDS_AT_ONCE_MAX).collect().await)
            }
        }
    }

    /// Calls scripts, and gives their answers in the same order. One that the server does not know is sent as text.
    ///
    /// # Errors
    /// When the link fails, so that nothing is known of any of them.
    pub async fn scripts(&mut self, calls: &[ScriptCall<'_>]) -> RedisResult<Vec<Answer>> {
        let commands: Vec<Cmd> = calls.iter().map(ScriptCall::by_hash).collect();
        let mut answers = self.commands(&commands).await?;
        let unknown: Vec<usize> = (0..answers.len())
            .filter(|index| answers[*index].as_ref().is_err_and(is_unknown_script))
            .collect();
        let commands: Vec<Cmd> = unknown.iter().map(|index| calls[*index].by_text()).collect();
        for (index, answer) in unknown.into_iter().zip(self.commands(&commands).await?) {
            answers[index] = answer;
        }
        Ok(answers)
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
