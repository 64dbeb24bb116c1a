//! Where the data lies, and how it is opened.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

/// How long a statement waits while somebody else (a person with a shell, say) holds the file's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements that are kept: more than there are different ones.
const CACHED_STATEMENTS_MAX: usize = 64;
const SCHEMA: &str = include_str!("schema.sql");
const SCHEMA_VERSION: i64 = 1;

/// Where the data lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// In memory: gone when the Store ends.
    Memory,
    /// In a file, created when it is not there.
    File(PathBuf),
}

/// The database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite says so.
    #[error("the database can't be opened: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// It was made by another version of this program.
    #[error("the database has schema version {0}; this program knows version {SCHEMA_VERSION}")]
    Schema(i64),
    /// No thread for it.
    #[error("the database's thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl Database {
    /// Opens the database and creates its tables when it is new.
    pub(super) fn open(&self) -> Result<Connection, OpenError> {
        let mut connection = match self {
            Self::Memory => Connection::open_in_memory()?,
            Self::File(path) => Connection::open(path)?,
        };
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS_MAX);
        connection.pragma_update(None, "foreign_keys", true)?;
        if matches!(self, Self::File(_)) {
            // WAL: whoever looks into the file with a shell disturbs nobody. FULL: an answered send survives a power
            // cut; the group commit shares the price of the sync.
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
        }
        let transaction = connection.transaction()?;
        match transaction.pragma_query_value(None, "user_version", |row| row.get(0))? {
            0 => transaction.execute_batch(SCHEMA)?,
            SCHEMA_VERSION => {}
            other => return Err(OpenError::Schema(other)),
        }
        transaction.commit()?;
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_created_once_and_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::File(folder.path().join("store.db"));
        database
            .open()
            .unwrap()
            .execute("INSERT INTO dialogs (dialog_id, created) VALUES ('d1', 1)", [])
            .unwrap();
        let found: String = database
            .open()
            .unwrap()
            .query_row("SELECT dialog_id FROM dialogs", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, "d1");
    }

    #[test]
    fn a_database_of_another_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::File(folder.path().join("store.db"));
        database.open().unwrap().pragma_update(None, "user_version", 2).unwrap();
        assert!(matches!(database.open(), Err(OpenError::Schema(2))));
    }
}
