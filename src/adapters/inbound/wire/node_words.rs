//! What nodes tell each other on a user's feed, as JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::replies::to_json;
use crate::domain::event::NodeWord;
use crate::domain::ids::{SessionId, UserId};

const WANTED: &str = "session_wanted";
const RELEASED: &str = "session_released";
const MOVED: &str = "session_moved";

#[derive(Serialize)]
struct Written<'a> {
    r#type: &'static str,
    user_id: &'a str,
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    session: Cow<'a, str>,
    #[serde(borrow)]
    holder: Option<Cow<'a, str>>,
    generation: Option<u32>,
}

/// The word as an event of the user's feed.
pub(super) fn written(user: &UserId, word: &NodeWord) -> Vec<u8> {
    let (kind, session, holder, generation) = match word {
        NodeWord::Wanted { session, holder } => (WANTED, session, Some(holder.as_str()), None),
        NodeWord::Released { session } => (RELEASED, session, None, None),
        NodeWord::Moved { session, generation } => (MOVED, session, None, Some(*generation)),
    };
    to_json(&Written { r#type: kind, user_id: user.as_str(), session: session.as_str(), holder, generation })
}

/// The word that an event of this type is, if it is one.
pub(super) fn read(kind: &str, json: &[u8]) -> Option<NodeWord> {
    if ![WANTED, RELEASED, MOVED].contains(&kind) {
        return None;
    }
    let read: Read<'_> = serde_json::from_slice(json).ok()?;
    let session = SessionId::parse(&read.session).ok()?;
    match kind {
        WANTED => Some(NodeWord::Wanted { session, holder: read.holder?.into_owned() }),
        RELEASED => Some(NodeWord::Released { session }),
        _ => Some(NodeWord::Moved { session, generation: read.generation? }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_written() {
        let session = SessionId::parse("s1").unwrap();
        let user = UserId::parse("ann").unwrap();
        for (kind, word) in [
            (WANTED, NodeWord::Wanted { session: session.clone(), holder: "n1".to_owned() }),
            (RELEASED, NodeWord::Released { session: session.clone() }),
            (MOVED, NodeWord::Moved { session, generation: u32::MAX }),
        ] {
            assert_eq!(read(kind, &written(&user, &word)), Some(word));
        }
    }

    #[test]
    fn what_is_no_word_is_none() {
        for (kind, json) in [
            ("session_lost", r#"{"session":"s1"}"#),
            (WANTED, r#"{"session":"s1"}"#),
            (MOVED, r#"{"session":"s1","generation":-1}"#),
            (RELEASED, r#"{"session":""}"#),
            (RELEASED, "[]"),
        ] {
            assert_eq!(read(kind, json.as_bytes()), None, "{kind} {json}");
        }
    }
}
