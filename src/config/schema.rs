//! What keys there are.

use confique::Config;
use confique::meta::{Expr, Field, FieldKind, LeafKind};

use super::raw::RawSettings;

/// What a value looks like, as far as text from the environment must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A string, also a duration or a size.
    Text,
    /// The same, or nothing.
    OptionalText,
    /// A list of strings.
    List,
    /// A whole number.
    Number,
    /// True or false.
    Flag,
}

/// What stands at a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    /// A value.
    Value(Shape),
    /// Further keys.
    Section(&'static [Field]),
}

/// The keys at the top.
pub(super) const TOP: &[Field] = RawSettings::META.fields;

/// What stands at a name of a section; `None` if there is no such name.
pub(super) fn entry(section: &[Field], name: &str) -> Option<Entry> {
    section.iter().find(|field| field.name == name).map(entry_of)
}

/// What stands at a dotted key.
pub(super) fn entry_at(key: &str) -> Option<Entry> {
    key.split('.').try_fold(Entry::Section(TOP), |at, name| match at {
        Entry::Section(fields) => entry(fields, name),
        Entry::Value(_) => None,
    })
}

/// Every key with a value, dotted, in the order of the file.
pub(super) fn value_keys() -> Vec<String> {
    let mut keys = Vec::new();
    collect(TOP, "", &mut keys, |entry| matches!(entry, Entry::Value(_)));
    keys
}

/// Every key, sections too.
pub(super) fn all_keys() -> Vec<String> {
    let mut keys = Vec::new();
    collect(TOP, "", &mut keys, |_| true);
    keys
}

fn collect(section: &[Field], prefix: &str, keys: &mut Vec<String>, wanted: fn(&Entry) -> bool) {
    for field in section {
        let key = join(prefix, field.name);
        let entry = entry_of(field);
        if wanted(&entry) {
            keys.push(key.clone());
        }
        if let Entry::Section(fields) = entry {
            collect(fields, &key, keys, wanted);
        }
    }
}

/// A name below a dotted key.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

fn entry_of(field: &Field) -> Entry {
    match field.kind {
        FieldKind::Nested { meta } => Entry::Section(meta.fields),
        FieldKind::Leaf { kind: LeafKind::Optional, .. } => Entry::Value(Shape::OptionalText),
        FieldKind::Leaf { kind: LeafKind::Required { default }, .. } => Entry::Value(match default {
            Some(Expr::Array(_)) => Shape::List,
            Some(Expr::Integer(_)) => Shape::Number,
            Some(Expr::Bool(_)) => Shape::Flag,
            _ => Shape::Text,
        }),
    }
}
