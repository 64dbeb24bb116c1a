//! File, environment and defaults, one over the other.

use std::collections::BTreeMap;
use std::path::Path;

use confique::{Config, Layer};
use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::check::Mode;
use super::env;
use super::error::{ConfigError, Problem};
use super::file::File;
use super::raw::RawSettings;
use super::settings::Settings;
use super::validate::validate;

type RawLayer = <RawSettings as Config>::Layer;

/// What `edgeway dev` sets where nothing else is said.
const DEVELOPMENT: [(&str, &str); 6] = [
    ("listen", "127.0.0.1:8080"),
    ("auth.issuer", "edgeway-dev"),
    ("auth.audience", "edgeway-dev"),
    ("bus.kind", "memory"),
    // All clients come from this machine.
    ("limits.connects_per_second_per_ip", "10000"),
    ("telemetry.log", "text"),
];

impl Settings {
    /// The configuration of a production gateway: the file's, overridden by `EDGEWAY__…` variables; defaults for the
    /// rest. Of a variable that comes twice the last one counts, so arguments can be appended as variables.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong with it.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let file = file.map(read).transpose()?;
        assemble(file, &[], env, Mode::Production)
    }

    /// The configuration of `edgeway dev`: everything in one process, on loopback; overridden by `EDGEWAY__…` variables
    /// as in [`load`](Self::load).
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong with it, an address that is not loopback among it.
    pub fn development(env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        assemble(None, &DEVELOPMENT, env, Mode::Development)
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(File { name, text }),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            let problem = Problem { place: Some(name), key: String::new(), message };
            Err(ConfigError { problems: vec![problem] })
        }
    }
}

/// What was set, and by what.
pub(super) struct Sources {
    file: Option<File>,
    set_by: BTreeMap<String, SetBy>,
}

#[derive(Debug, Clone, Copy)]
enum SetBy {
    Base,
    File,
    Variable,
}

impl Sources {
    /// Where a key was set; `None` if nowhere.
    fn place(&self, key: &str) -> Option<String> {
        match self.set_by.get(key)? {
            SetBy::Base => None,
            SetBy::File => self.file.as_ref().map(|file| file.place(key)),
            SetBy::Variable => Some(env::variable(key)),
        }
    }

    pub(super) fn problem(&self, key: &str, message: String) -> Problem {
        Problem { place: self.place(key), key: key.to_owned(), message }
    }
}

pub(super) fn assemble(
    file: Option<File>,
    base: &[(&str, &str)],
    env: impl Iterator<Item = (String, String)>,
    mode: Mode,
) -> Result<Settings, ConfigError> {
    let mut problems = Vec::new();
    let mut values = BTreeMap::new();
    let mut set_by = BTreeMap::new();
    let value = |text: &str| text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
    let from_base = base.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect();
    let from_file = file.as_ref().map_or_else(Vec::new, |file| file.values(&mut problems));
    let from_env = env::values(env, &mut problems);
    for (source, layer) in [(SetBy::Base, from_base), (SetBy::File, from_file), (SetBy::Variable, from_env)] {
        for (key, value) in layer {
            set_by.insert(key.clone(), source);
            values.insert(key, value);
        }
    }
    let sources = Sources { file, set_by };

    let mut all = RawLayer::empty();
    // A null is as if nothing had been said.
    for (key, value) in values.into_iter().filter(|(_, value)| !value.is_null()) {
        // One value at a time, so that each problem has its key and none hides another.
        match RawLayer::deserialize(nested(&key, value)) {
            Ok(layer) => all = layer.with_fallback(all),
            Err(error) => problems.push(sources.problem(&key, error.to_string())),
        }
    }
    // Checking values against each other makes no sense while some of them are missing.
    let raw = match RawSettings::from_layer(all.with_fallback(RawLayer::default_values())) {
        Ok(raw) if problems.is_empty() => raw,
        Ok(_) => return Err(ConfigError { problems }),
        Err(error) => {
            problems.push(Problem { place: None, key: String::new(), message: error.to_string() });
            return Err(ConfigError { problems });
        }
    };
    validate(raw, mode, &sources)
}

/// A document with one value: `a.b` and 1 make `a: { b: 1 }`.
fn nested(key: &str, value: Value) -> Value {
    key.rsplit('.')
        .fold(value, |inner, name| Value::Mapping(Mapping::from_iter([(Value::from(name), inner)])))
}
