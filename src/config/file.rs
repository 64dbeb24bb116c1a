//! The YAML file.

use confique::meta::Field;
use serde_yaml::{Mapping, Value};

use super::error::Problem;
use super::locate::line_of;
use super::nearest::nearest;
use super::schema::{Entry, TOP, all_keys, entry, join};

/// A file as it was read.
#[derive(Debug)]
pub(super) struct File {
    /// What it is called in messages: its path.
    pub(super) name: String,
    /// What is in it.
    pub(super) text: String,
}

impl File {
    /// Where a key stands: `name:line`.
    pub(super) fn place(&self, key: &str) -> String {
        match line_of(&self.text, key) {
            Some(line) => format!("{}:{line}", self.name),
            None => self.name.clone(),
        }
    }

    /// The values of the file by dotted key. What is no valid key is a problem, not a value.
    pub(super) fn values(&self, problems: &mut Vec<Problem>) -> Vec<(String, Value)> {
        let mut reader = Reader { file: self, problems, values: Vec::new() };
        match serde_yaml::from_str(&self.text) {
            Ok(Value::Mapping(top)) => reader.section(TOP, "", &top),
            Ok(Value::Null) => {}
            Ok(_) => {
                reader.problem("", &self.name, "expected sections and keys, as in `listen: \"0.0.0.0:8080\"`")
            }
            // The library's message tells the line.
            Err(error) => reader.problem("", &self.name, &format!("not valid YAML: {error}")),
        }
        reader.values
    }
}

struct Reader<'a> {
    file: &'a File,
    problems: &'a mut Vec<Problem>,
    values: Vec<(String, Value)>,
}

impl Reader<'_> {
    fn section(&mut self, fields: &'static [Field], prefix: &str, mapping: &Mapping) {
        for (name, value) in mapping {
            let Some(name) = name.as_str() else {
                self.problem(prefix, &self.file.place(prefix), "a key that is not text");
                continue;
            };
            let key = join(prefix, name);
            match (entry(fields, name), value) {
                (Some(Entry::Value(_)), _) => self.values.push((key, value.clone())),
                (Some(Entry::Section(inner)), Value::Mapping(mapping)) => self.section(inner, &key, mapping),
                // A section of which everything is commented out.
                (Some(Entry::Section(_)), Value::Null) => {}
                (Some(Entry::Section(inner)), _) => {
                    let names: Vec<_> = inner.iter().map(|field| field.name).collect();
                    let message = format!("a section, not a value: its keys are {}", names.join(", "));
                    self.problem(&key, &self.file.place(&key), &message);
                }
                (None, _) => {
                    let keys = all_keys();
                    let meant =
                        nearest(&key, &keys).map_or_else(String::new, |m| format!("; did you mean {m}?"));
                    self.problem(&key, &self.file.place(&key), &format!("unknown key{meant}"));
                }
            }
        }
    }

    fn problem(&mut self, key: &str, place: &str, message: &str) {
        self.problems.push(Problem {
            place: Some(place.to_owned()),
            key: key.to_owned(),
            message: message.to_owned(),
        });
    }
}
