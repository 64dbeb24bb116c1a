//! What a configuration is tested with.

use super::super::check::Mode;
use super::super::error::ConfigError;
use super::super::file::File;
use super::super::load::assemble;
use super::super::settings::Settings;

/// The least a production gateway needs.
pub(super) const LEAST: &str = "\
auth:
  jwks_file: /etc/edgeway/jwks.json
  issuer: https://id.example.com
  audience: edgeway
store: { endpoint: \"http://store:50051\" }
bus: { url: \"redis://redis:6379\" }
";

pub(super) fn owned(env: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

pub(super) fn load(yaml: &str, env: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let file = File { name: "config.yaml".to_owned(), text: yaml.to_owned() };
    assemble(Some(file), &[], owned(env), Mode::Production)
}

/// Everything that is wrong, one problem a line.
pub(super) fn problems(result: Result<Settings, ConfigError>) -> String {
    let problems = result.expect_err("it is not valid").problems;
    assert!(!problems.is_empty());
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
