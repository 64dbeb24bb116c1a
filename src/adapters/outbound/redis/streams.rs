//! The logs: where they stand, and pieces of them.

use std::time::Duration;

use redis::{FromRedisValue, ParsingError, Value};

use super::commands::RedisCommands;
use super::keys::Keys;
use super::payload::{self, OFFSET_MAX};
use super::script::{Script, ScriptCall};
use super::stream_id;
use crate::application::ports::bus::{BusError, EVENT_MAX_BYTES, LogEntry, LogSlice, ReadFrom};
use crate::domain::event::{LogEpoch, LogPosition};
use crate::domain::ids::FeedKey;

/// Most bytes of events in one piece of a log; a single larger one still comes.
const PIECE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most entries in one piece of a log: more is a mistake.
const PIECE_MAX_ENTRIES: usize = 10_000;

/// A Store that appends command by command counts first and adds then. What it has counted is waited for so often, and
/// so long each time, before it counts as lost.
const TAIL_READS_MAX: usize = 6;
const TAIL_WAIT: Duration = Duration::from_millis(20);

/// Reads a piece of a log.
pub(super) const READ_SCRIPT: &str = include_str!("read.lua");

/// Reads logs.
pub(super) struct Streams {
    commands: RedisCommands,
    read: Script,
}

impl Streams {
    /// Over this link.
    pub(super) fn new(commands: RedisCommands) -> Self {
        Self { commands, read: Script::new(READ_SCRIPT) }
    }

    /// Reads a piece of a log. A log that has no epoch gets one.
    pub(super) async fn read(
        &self,
        feed: &FeedKey,
        from: ReadFrom,
        limit: usize,
    ) -> Result<LogSlice, BusError> {
        let call = self.call(feed, from, limit);
        for _ in 1..TAIL_READS_MAX {
            let Piece(slice) = self.commands.script(&call).await?;
            if limit == 0 || !lacks_its_tail(&slice, from) {
                return Ok(slice);
            }
            tokio::time::sleep(TAIL_WAIT).await;
        }
        let Piece(slice) = self.commands.script(&call).await?;
        Ok(slice)
    }

    /// Where logs stand, in one round trip; in a second one, those that have no epoch get one.
    pub(super) async fn heads(&self, feeds: &[FeedKey]) -> Result<Vec<LogPosition>, BusError> {
        let ask = |feed| {
            let mut command = redis::cmd("HMGET");
            command.arg(self.keys().meta(feed)).arg("epoch").arg("offset");
            command
        };
        let commands: Vec<_> = feeds.iter().map(ask).collect();
        let heads: Vec<(Option<String>, Option<String>)> = self.commands.pipeline(&commands).await?;
        let mut heads: Vec<Option<LogPosition>> =
            heads.into_iter().map(|(epoch, offset)| position(&epoch?, &offset?)).collect();
        let new: Vec<usize> = (0..heads.len()).filter(|index| heads[*index].is_none()).collect();
        if !new.is_empty() {
            let calls: Vec<_> =
                new.iter().map(|index| self.call(&feeds[*index], ReadFrom::Newest, 0)).collect();
            let pieces: Vec<Piece> = self.commands.scripts(&calls).await?;
            for (index, Piece(slice)) in new.into_iter().zip(pieces) {
                heads[index] = Some(slice.head);
            }
        }
        heads.into_iter().collect::<Option<Vec<_>>>().ok_or(BusError::Unavailable)
    }

    fn keys(&self) -> &Keys {
        self.commands.keys()
    }

    fn call(&self, feed: &FeedKey, from: ReadFrom, limit: usize) -> ScriptCall<'_> {
        let (mode, start) = match from {
            ReadFrom::AfterOffset(offset) => ("after", offset.min(OFFSET_MAX)),
            ReadFrom::Since(at) => ("since", at.0),
            ReadFrom::Newest => ("newest", 0),
        };
        self.read
            .call()
            .key(self.keys().log(feed))
            .key(self.keys().meta(feed))
            .arg(mode)
            .arg(start)
            .arg(limit.min(PIECE_MAX_ENTRIES))
            .arg(PIECE_MAX_BYTES)
            .arg(format!("{:016x}", fastrand::u64(..)))
            .arg(EVENT_MAX_BYTES)
    }
}

/// Whether everything after the asked offset is missing. Trimming takes the oldest and leaves the newest: either the
/// whole log is gone, or somebody is just about to add to it.
fn lacks_its_tail(slice: &LogSlice, from: ReadFrom) -> bool {
    let ReadFrom::AfterOffset(offset) = from else { return false };
    slice.entries.is_empty() && offset < slice.head.offset && slice.first_offset > slice.head.offset
}

fn position(epoch: &str, offset: &str) -> Option<LogPosition> {
    let offset = if offset == "0" { 0 } else { payload::offset(offset)? };
    payload::is_epoch(epoch).then(|| LogPosition { epoch: epoch.into(), offset })
}

/// The answer of the script that reads.
struct Piece(LogSlice);

impl FromRedisValue for Piece {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (epoch, head, first_offset, fields): (String, u64, u64, Vec<Vec<u8>>) =
            redis::from_redis_value(value)?;
        if !payload::is_epoch(&epoch) || !fields.len().is_multiple_of(3) {
            return Err(ParsingError::from("no piece of a log"));
        }
        let epoch: LogEpoch = epoch.into();
        let mut entries = Vec::with_capacity(fields.len() / 3);
        let mut fields = fields.into_iter();
        while let (Some(id), Some(offset), Some(json)) = (fields.next(), fields.next(), fields.next()) {
            let at = std::str::from_utf8(&id).ok().and_then(stream_id::time);
            let offset = std::str::from_utf8(&offset).ok().and_then(payload::offset);
            let (Some(at), Some(offset)) = (at, offset) else {
                return Err(ParsingError::from("no entry of a log"));
            };
            entries.push(LogEntry { epoch: epoch.clone(), offset, at, json: json.into() });
        }
        let head = LogPosition { epoch, offset: head };
        Ok(Self(LogSlice { head, first_offset, entries }))
    }
}
