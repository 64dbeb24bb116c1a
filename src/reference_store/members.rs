//! Dialogs and who belongs to them: the rules, and the statements that keep them.

use rusqlite::{Row, params};

use super::events::{self, Change};
use super::failure::Failure;
use super::outbox;
use super::role::{Member, MemberChange, MemberRole};
use super::transactions::Transaction;
use crate::domain::ids::{DialogId, UserId};

/// Who belongs to a dialog that nobody has created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Every dialog exists, and every user is a member of it, from the first sight on.
    Open,
    /// There are only created dialogs.
    MembersOnly,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Dialog {
    created: bool,
    pub(super) last_seq: u64,
    pub(super) member_count: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) role: MemberRole,
    pub(super) version: u64,
    pub(super) read_seq: u64,
}

/// A user's row in a dialog, as the database has it.
struct Record {
    member: bool,
    seat: Seat,
}

/// The dialog and the user's seat in it, if they are there. In an open Store this is what "first sight" means.
pub(super) fn look(
    tx: &Transaction<'_>,
    admission: Admission,
    dialog_id: &DialogId,
    user: &UserId,
) -> Result<Option<(Dialog, Option<Seat>)>, Failure> {
    let Some((mut dialog, record)) = find_or_open(tx, admission, dialog_id, user)? else { return Ok(None) };
    if let Some(record) = record {
        return Ok(Some((dialog, record.member.then_some(record.seat))));
    }
    if admission == Admission::MembersOnly || dialog.created {
        return Ok(Some((dialog, None)));
    }
    let role = MemberRole::default();
    let version = write_seat(tx, dialog_id, user, Some(&role), true)?;
    dialog.member_count += 1;
    Ok(Some((dialog, Some(Seat { role, version, read_seq: 0 }))))
}

/// The dialog and the user's seat in it.
pub(super) fn require(
    tx: &Transaction<'_>,
    admission: Admission,
    dialog: &DialogId,
    user: &UserId,
) -> Result<(Dialog, Seat), Failure> {
    let (dialog, seat) = look(tx, admission, dialog, user)?.ok_or(Failure::NotFound)?;
    Ok((dialog, seat.ok_or(Failure::NotMember)?))
}

/// Creates a dialog, or takes over one that has only been seen so far.
pub(super) fn create(
    tx: &Transaction<'_>,
    dialog_id: &DialogId,
    members: &[Member],
    by: Option<&UserId>,
) -> Result<(), Failure> {
    let inserted = tx
        .statement("INSERT INTO dialogs (dialog_id, created) VALUES (?1, 1) ON CONFLICT DO NOTHING")?
        .execute([dialog_id.as_str()])?;
    if inserted == 0 {
        let taken = tx
            .statement("UPDATE dialogs SET created = 1 WHERE dialog_id = ?1 AND created = 0")?
            .execute([dialog_id.as_str()])?;
        if taken == 0 {
            return Err(Failure::DialogExists);
        }
        for seen in list(tx, dialog_id, None, u32::MAX)? {
            if !members.iter().any(|member| member.user_id == seen.user_id) {
                change_seat(tx, dialog_id, &seen.user_id, None, by)?;
            }
        }
    }
    for member in members {
        change_seat(tx, dialog_id, &member.user_id, Some(&member.role), by)?;
    }
    Ok(())
}

/// Gives a user a role in a dialog (`None`: none, any more), and publishes it if that is news.
pub(super) fn change(
    tx: &Transaction<'_>,
    admission: Admission,
    dialog: &DialogId,
    user: &UserId,
    role: Option<&MemberRole>,
    by: Option<&UserId>,
) -> Result<MemberChange, Failure> {
    find_or_open(tx, admission, dialog, user)?.ok_or(Failure::NotFound)?;
    if role.is_none() {
        // In an open Store whom nobody has seen yet is a member, too, and can be shown the door.
        look(tx, admission, dialog, user)?;
    }
    change_seat(tx, dialog, user, role, by)
}

fn change_seat(
    tx: &Transaction<'_>,
    dialog: &DialogId,
    user: &UserId,
    role: Option<&MemberRole>,
    by: Option<&UserId>,
) -> Result<MemberChange, Failure> {
    let record = find(tx, dialog, user)?.and_then(|(_, record)| record);
    let was = record.as_ref().and_then(|record| record.member.then_some(&record.seat.role));
    if was == role {
        return Ok(MemberChange { changed: false, version: record.map_or(0, |record| record.seat.version) });
    }
    let version = write_seat(tx, dialog, user, role, was.is_none() != role.is_none())?;
    let change = role.map_or(Change::Removed, |role| Change::Added(role.as_str()));
    for publication in events::membership(dialog, user, version, change, by)? {
        outbox::enqueue(tx, &publication)?;
    }
    Ok(MemberChange { changed: true, version })
}

/// Members in the order of their ids, those after `after`.
pub(super) fn list(
    tx: &Transaction<'_>,
    dialog: &DialogId,
    after: Option<&UserId>,
    limit: u32,
) -> Result<Vec<Member>, Failure> {
    let mut statement = tx.statement(
        "SELECT user_id, role FROM members WHERE dialog_id = ?1 AND user_id > ?2 AND member = 1
         ORDER BY user_id LIMIT ?3",
    )?;
    // No id sorts before the empty text.
    let after = after.map_or("", UserId::as_str);
    let mut rows = statement.query(params![dialog.as_str(), after, limit])?;
    let mut members = Vec::new();
    while let Some(row) = rows.next()? {
        let user_id = UserId::parse(&row.get::<_, String>(0)?).map_err(|_| Failure::Internal)?;
        members.push(Member { user_id, role: role(row, 1)? });
    }
    Ok(members)
}

/// Whether there is such a dialog.
pub(super) fn exists(tx: &Transaction<'_>, admission: Admission, dialog: &DialogId) -> Result<bool, Failure> {
    Ok(admission == Admission::Open
        || tx.statement("SELECT 1 FROM dialogs WHERE dialog_id = ?1")?.exists([dialog.as_str()])?)
}

/// A dialog of a user's list.
pub(super) struct Listed {
    pub(super) dialog_id: String,
    pub(super) last_seq: u64,
    pub(super) seat: Seat,
}

/// A user's dialogs, the last joined (or changed) last: what is joined while pages are read comes on a later page.
pub(super) fn dialogs_of(
    tx: &Transaction<'_>,
    user: &UserId,
    after_version: u64,
    limit: u32,
) -> Result<Vec<Listed>, Failure> {
    let mut statement = tx.statement(
        "SELECT m.dialog_id, d.last_seq, m.role, m.version, m.read_seq
         FROM members m JOIN dialogs d ON d.dialog_id = m.dialog_id
         WHERE m.user_id = ?1 AND m.version > ?2 AND m.member = 1 ORDER BY m.version LIMIT ?3",
    )?;
    let mut rows = statement.query(params![user.as_str(), sql_number(after_version), limit])?;
    let mut dialogs = Vec::new();
    while let Some(row) = rows.next()? {
        let seat = Seat { role: role(row, 2)?, version: number(row, 3)?, read_seq: number(row, 4)? };
        dialogs.push(Listed { dialog_id: row.get(0)?, last_seq: number(row, 1)?, seat });
    }
    Ok(dialogs)
}

/// Moves a member's read mark.
pub(super) fn set_read_seq(
    tx: &Transaction<'_>,
    dialog: &DialogId,
    user: &UserId,
    read_seq: u64,
) -> Result<(), Failure> {
    tx.statement("UPDATE members SET read_seq = ?3 WHERE dialog_id = ?1 AND user_id = ?2")?
        .execute(params![dialog.as_str(), user.as_str(), sql_number(read_seq)])?;
    Ok(())
}

fn find_or_open(
    tx: &Transaction<'_>,
    admission: Admission,
    dialog: &DialogId,
    user: &UserId,
) -> Result<Option<(Dialog, Option<Record>)>, Failure> {
    let found = find(tx, dialog, user)?;
    if found.is_some() || admission == Admission::MembersOnly {
        return Ok(found);
    }
    tx.statement("INSERT INTO dialogs (dialog_id, created) VALUES (?1, 0)")?.execute([dialog.as_str()])?;
    Ok(Some((Dialog { created: false, last_seq: 0, member_count: 0 }, None)))
}

fn find(
    tx: &Transaction<'_>,
    dialog: &DialogId,
    user: &UserId,
) -> Result<Option<(Dialog, Option<Record>)>, Failure> {
    let mut statement = tx.statement(
        "SELECT d.created, d.last_seq, d.member_count, m.member, m.role, m.version, m.read_seq
         FROM dialogs d LEFT JOIN members m ON m.dialog_id = d.dialog_id AND m.user_id = ?2
         WHERE d.dialog_id = ?1",
    )?;
    let mut rows = statement.query([dialog.as_str(), user.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let dialog = Dialog { created: row.get(0)?, last_seq: number(row, 1)?, member_count: number(row, 2)? };
    let record = match row.get(3)? {
        Some(member) => {
            let seat = Seat { role: role(row, 4)?, version: number(row, 5)?, read_seq: number(row, 6)? };
            Some(Record { member, seat })
        }
        None => None,
    };
    Ok(Some((dialog, record)))
}

/// Writes a membership under the user's next version, which it answers.
fn write_seat(
    tx: &Transaction<'_>,
    dialog: &DialogId,
    user: &UserId,
    role: Option<&MemberRole>,
    count_changes: bool,
) -> Result<u64, Failure> {
    let version: i64 = tx
        .statement(
            "INSERT INTO members (dialog_id, user_id, member, role, version)
             VALUES (?1, ?2, ?3, ?4, (SELECT COALESCE(MAX(version), 0) + 1 FROM members WHERE user_id = ?2))
             ON CONFLICT (dialog_id, user_id) DO UPDATE
             SET member = excluded.member, role = excluded.role, version = excluded.version
             RETURNING version",
        )?
        .query_row(
            params![dialog.as_str(), user.as_str(), role.is_some(), role.map_or("", MemberRole::as_str)],
            |row| row.get(0),
        )?;
    if count_changes {
        let sql = "UPDATE dialogs SET member_count = member_count + ?2 WHERE dialog_id = ?1";
        let difference: i64 = if role.is_some() { 1 } else { -1 };
        tx.statement(sql)?.execute(params![dialog.as_str(), difference])?;
    }
    u64::try_from(version).map_err(|_| Failure::Internal)
}

fn role(row: &Row<'_>, column: usize) -> Result<MemberRole, Failure> {
    MemberRole::parse(&row.get::<_, String>(column)?).map_err(|_| Failure::Internal)
}

/// A count from the database.
pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64, Failure> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| Failure::Internal)
}

/// A number as SQLite holds it: what is above its largest is above everything that is there, too.
pub(super) fn sql_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
