//! The one thread that touches the database: takes what is queued, runs it, commits it as a group, then answers.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection};
use tokio::sync::{Notify, mpsc, oneshot};

use super::failure::Failure;

/// Most jobs that wait for the database; whoever comes then waits for a place.
const QUEUE_JOBS_MAX: usize = 1024;
/// Most jobs of one commit: more would delay the first one's answer.
const GROUP_JOBS_MAX: usize = 64;

/// A transaction that a job runs in. Other jobs may share its commit; none sees another's failure.
pub(super) struct Transaction<'c> {
    connection: &'c Connection,
    outbox_filled: Cell<bool>,
}

impl Transaction<'_> {
    /// A prepared statement, from the cache.
    pub(super) fn statement(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql)
    }

    /// Says that something is to be published once this is committed.
    pub(super) fn outbox_filled(&self) {
        self.outbox_filled.set(true);
    }
}

/// Runs jobs on the database's thread. The thread ends with the last clone.
#[derive(Clone)]
pub(super) struct Transactions {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

impl Transactions {
    /// Starts the thread. `committed` is notified after each commit that put something into the outbox.
    pub(super) fn start(connection: Connection, committed: Arc<Notify>) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        std::thread::Builder::new()
            .name("reference-store-db".into())
            .spawn(move || work(&connection, queue, &committed))?;
        Ok(Self { jobs })
    }

    /// Runs `job` in a transaction of its own as far as it can tell; answers after the commit. Nothing is changed when
    /// it fails. A job whose caller has gone away may be left out.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { work: Some(job), outcome: Err(Failure::Internal), reply };
        self.jobs.send(Box::new(asked)).await.map_err(|_| Failure::Unavailable)?;
        answer.await.unwrap_or(Err(Failure::Unavailable))
    }
}

/// One job: run, then answered when it is known whether the group was committed.
trait Job: Send {
    /// Whether it succeeded: otherwise what it did is undone.
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;
    fn answer(self: Box<Self>, committed: Result<(), Failure>);
}

struct Asked<T, F> {
    work: Option<F>,
    outcome: Result<T, Failure>,
    reply: oneshot::Sender<Result<T, Failure>>,
}

impl<T, F> Job for Asked<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        // A caller that has given up will come again, and its repeat is found: work for nobody only feeds an overload.
        if let Some(work) = self.work.take()
            && !self.reply.is_closed()
        {
            self.outcome = work(transaction);
        }
        self.outcome.is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), Failure>) {
        let outcome = self.outcome.and_then(|answer| committed.map(|()| answer));
        // A caller that has gone away needs no answer.
        let _ = self.reply.send(outcome);
    }
}

fn work(connection: &Connection, mut queue: mpsc::Receiver<Box<dyn Job>>, committed: &Notify) {
    let mut group = Vec::with_capacity(GROUP_JOBS_MAX);
    while let Some(job) = queue.blocking_recv() {
        group.push(job);
        while group.len() < GROUP_JOBS_MAX
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }
        let outcome = commit(connection, &mut group);
        if outcome == Ok(true) {
            committed.notify_one();
        }
        for job in group.drain(..) {
            job.answer(outcome.map(drop));
        }
    }
}

/// Runs the jobs and commits them; `Ok(true)` when the outbox was filled. On an error nothing of any job is left.
fn commit(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<bool, Failure> {
    let outcome = run_group(connection, group);
    if outcome.is_err() && !connection.is_autocommit() {
        // SQLite has rolled back by itself after some errors; what is left is rolled back here.
        connection.execute_batch("ROLLBACK")?;
    }
    outcome
}

fn run_group(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<bool, Failure> {
    let execute = |sql| connection.prepare_cached(sql)?.execute([]);
    let transaction = Transaction { connection, outbox_filled: Cell::new(false) };
    execute("BEGIN IMMEDIATE")?;
    for job in group {
        execute("SAVEPOINT job")?;
        // A job that panics is a job that failed: the thread serves everybody else.
        let done = catch_unwind(AssertUnwindSafe(|| job.run(&transaction))).unwrap_or(false);
        if !done {
            execute("ROLLBACK TO job")?;
        }
        execute("RELEASE job")?;
    }
    execute("COMMIT")?;
    Ok(transaction.outbox_filled.get())
}

#[cfg(test)]
mod tests {
    use super::super::database::Database;
    use super::*;

    fn transactions() -> Transactions {
        Transactions::start(Database::Memory.open().unwrap(), Arc::new(Notify::new())).unwrap()
    }

    fn insert(
        id: &'static str,
        outcome: Result<(), Failure>,
    ) -> impl FnOnce(&Transaction<'_>) -> Result<(), Failure> {
        move |tx| {
            tx.statement("INSERT INTO dialogs (dialog_id, created) VALUES (?1, 1)")?.execute([id])?;
            outcome
        }
    }

    async fn dialogs(transactions: &Transactions) -> Vec<String> {
        let list = |tx: &Transaction<'_>| {
            let mut statement = tx.statement("SELECT dialog_id FROM dialogs")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        transactions.run(list).await.unwrap()
    }

    #[tokio::test]
    async fn a_job_that_fails_leaves_nothing_and_its_neighbours_alone() {
        let transactions = transactions();
        let (first, second, third) = tokio::join!(
            transactions.run(insert("d1", Ok(()))),
            transactions.run(insert("d2", Err(Failure::NotMember))),
            transactions.run(insert("d3", Ok(()))),
        );
        assert_eq!((first, second, third), (Ok(()), Err(Failure::NotMember), Ok(())));
        assert_eq!(dialogs(&transactions).await, ["d1", "d3"]);
    }

    #[tokio::test]
    async fn a_job_that_panics_fails_alone() {
        let transactions = transactions();
        let panics = |tx: &Transaction<'_>| -> Result<(), Failure> {
            insert("d1", Ok(()))(tx)?;
            panic!("on purpose")
        };
        assert_eq!(transactions.run(panics).await, Err(Failure::Internal));
        assert_eq!(transactions.run(insert("d2", Ok(()))).await, Ok(()));
        assert_eq!(dialogs(&transactions).await, ["d2"]);
    }
}
