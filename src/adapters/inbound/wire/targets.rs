//! Which dialogs a client wants to follow, as it writes them.

use serde_json::Value;

use super::fields::{Fields, bad};
use crate::application::command::{DialogTarget, Failed, Since, Targets};
use crate::domain::error::{ErrorCode, Refusal};
use crate::domain::event::LogPosition;
use crate::domain::ids::{DialogId, ID_MAX_BYTES};

/// Most dialogs that `dialogs=` of an attach may name.
pub const ATTACH_DIALOGS_MAX: usize = 50;
/// Longest log epoch a client may present, in bytes.
const EPOCH_MAX_BYTES: usize = 128;

/// Parses `dialogs=` of an attach: `all`, or ids with commas between them.
///
/// # Errors
/// A [`Refusal`] for too many; a malformed id becomes an entry of `failed`.
pub fn parse_dialogs_parameter(text: &str) -> Result<Option<Targets>, Refusal> {
    if text == "all" {
        return Ok(Some(Targets::All));
    }
    let names: Vec<&str> = text.split(',').filter(|name| !name.is_empty()).collect();
    if names.len() > ATTACH_DIALOGS_MAX {
        return Err(too_many());
    }
    if names.is_empty() {
        return Ok(None);
    }
    let (targets, failed) = collect_targets(names.into_iter().map(Value::from));
    Ok(Some(Targets::Dialogs(targets, failed)))
}

/// The same in a `hello`, where it may be an array, too.
pub(super) fn parse_hello_dialogs(value: Option<Value>) -> Result<Option<Targets>, Refusal> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => parse_dialogs_parameter(&text),
        Some(Value::Array(names)) if names.len() > ATTACH_DIALOGS_MAX => Err(too_many()),
        Some(Value::Array(names)) => {
            let (targets, failed) = collect_targets(names);
            Ok(Some(Targets::Dialogs(targets, failed)))
        }
        Some(_) => Err(bad("dialogs is neither a string nor an array")),
    }
}

fn too_many() -> Refusal {
    bad("dialogs names more than 50 dialogs")
}

/// Reads dialogs; a malformed one fails alone.
pub(super) fn collect_targets(values: impl IntoIterator<Item = Value>) -> (Vec<DialogTarget>, Vec<Failed>) {
    let (mut targets, mut failed): (Vec<DialogTarget>, _) = (Vec::new(), Vec::new());
    for value in values {
        match parse_target(value) {
            // The same dialog twice is one dialog.
            Ok(target) if targets.iter().any(|known| known.dialog_id == target.dialog_id) => {}
            Ok(target) => targets.push(target),
            Err(name) => failed.push(Failed { dialog_id: shorten(&name), code: ErrorCode::BadRequest }),
        }
    }
    (targets, failed)
}

/// `"d1"`, or `{"dialog_id","since":{"epoch","offset","message_seq"?}?}`. Fails with the name, as far as there is one.
fn parse_target(value: Value) -> Result<DialogTarget, String> {
    match value {
        Value::String(name) => match DialogId::parse(&name) {
            Ok(dialog_id) => Ok(DialogTarget { dialog_id, since: None }),
            Err(_) => Err(name),
        },
        Value::Object(fields) => {
            let mut fields = Fields(fields);
            let name = fields.string("dialog_id").ok().flatten().unwrap_or_default();
            let parsed = DialogId::parse(&name).ok().zip(parse_since(fields.take("since")).ok());
            parsed.map(|(dialog_id, since)| DialogTarget { dialog_id, since }).ok_or(name)
        }
        _ => Err(String::new()),
    }
}

fn parse_since(value: Option<Value>) -> Result<Option<Since>, Refusal> {
    let fields = match value {
        None => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(bad("since is not an object")),
    };
    let mut fields = Fields(fields);
    let epoch = fields.required("epoch")?;
    if epoch.len() > EPOCH_MAX_BYTES {
        return Err(bad("epoch is too long"));
    }
    let offset = fields.integer("offset")?.ok_or_else(|| bad("offset is missing"))?;
    let message_seq = fields.integer("message_seq")?;
    Ok(Some(Since { position: LogPosition { epoch: epoch.into(), offset }, message_seq }))
}

fn shorten(name: &str) -> String {
    name.chars().take(ID_MAX_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::inbound::wire::strict;

    #[test]
    fn a_malformed_dialog_fails_alone() {
        let long = "x".repeat(200);
        let text = format!(
            r#"["a","{{}}",{{"dialog_id":"b","since":{{"epoch":"e","offset":3}}}},
               {{"dialog_id":"c","since":{{"offset":3}}}},"a",7,"{long}"]"#
        );
        let Ok(Value::Array(values)) = strict::parse(text.as_bytes()) else { panic!("not an array") };
        let (targets, failed) = collect_targets(values);
        let names: Vec<_> = targets.iter().map(|target| target.dialog_id.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(targets[1].since.as_ref().unwrap().position.offset, 3);
        let failed: Vec<_> = failed.iter().map(|failed| failed.dialog_id.as_str()).collect();
        assert_eq!(failed, ["{}", "c", "", &long[..ID_MAX_BYTES]]);
    }
}
