//! Reading what is to be checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml::Value;

/// A file of `deployments/`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deployments").join(name)
}

pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A YAML file, its `<<` resolved.
pub(crate) fn yaml(name: &str) -> Value {
    let mut value: Value =
        serde_yaml::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    // What is merged in may have been merged itself.
    for _ in 0..3 {
        value.apply_merge().unwrap();
    }
    value
}

/// What a path of keys and numbers leads to: `a.0.b`.
pub(crate) fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(value, |value, key| {
        let inner = match key.parse::<usize>() {
            Ok(index) => value.get(index),
            Err(_) => value.get(key),
        };
        inner.unwrap_or_else(|| panic!("no {key} of {path} in {value:?}"))
    })
}

pub(crate) fn string(value: &Value, path: &str) -> String {
    let found = at(value, path);
    found.as_str().unwrap_or_else(|| panic!("{path} is no text: {found:?}")).to_owned()
}

pub(crate) fn number(value: &Value, path: &str) -> u64 {
    let found = at(value, path);
    found.as_u64().unwrap_or_else(|| panic!("{path} is no number: {found:?}"))
}

pub(crate) fn list(value: &Value, path: &str) -> Vec<Value> {
    let found = at(value, path);
    found.as_sequence().unwrap_or_else(|| panic!("{path} is no list: {found:?}")).clone()
}

/// What `edgeway check-config` makes of a configuration; with these variables and no others.
pub(crate) fn check_config(config: &str, variables: &[(&str, &str)]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EDGEWAY")) {
        command.env_remove(name);
    }
    let checked =
        command.arg("check-config").arg("--config").arg(&file).envs(variables.iter().copied()).output();
    let checked = checked.unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    serde_yaml::from_slice(&checked.stdout).unwrap()
}

/// A duration as configurations write it, in seconds.
pub(crate) fn seconds(config: &Value, path: &str) -> u64 {
    let text = string(config, path);
    text.strip_suffix('s').and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{path}: {text}"))
}
