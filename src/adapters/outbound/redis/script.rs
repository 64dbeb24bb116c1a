//! Lua scripts: sent by their hash, with their text only to a server that does not know them.

use redis::{Cmd, ToRedisArgs};
use sha1::{Digest, Sha1};

/// A script and its hash.
#[derive(Debug)]
pub struct Script {
    code: &'static str,
    sha1_hex: String,
}

impl Script {
    /// A script with this text.
    #[must_use]
    pub fn new(code: &'static str) -> Self {
        let sha1_hex = Sha1::digest(code).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { code, sha1_hex }
    }

    /// A call without keys and arguments yet.
    #[must_use]
    pub fn call(&self) -> ScriptCall<'_> {
        ScriptCall { script: self, keys: Vec::new(), arguments: Vec::new() }
    }
}

/// A script with its `KEYS` and `ARGV`. All keys must lie in one hash slot.
#[derive(Debug, Clone)]
pub struct ScriptCall<'s> {
    script: &'s Script,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl ScriptCall<'_> {
    /// The same with one more of `KEYS`.
    #[must_use]
    pub fn key(mut self, key: impl ToRedisArgs) -> Self {
        key.write_redis_args(&mut self.keys);
        self
    }

    /// The same with one more of `ARGV`, or several when the value is a list.
    #[must_use]
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        argument.write_redis_args(&mut self.arguments);
        self
    }

    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.sha1_hex)
    }

    /// `EVAL` also makes the server know the script, where `SCRIPT LOAD` would ask every server of a cluster.
    pub(super) fn by_text(&self) -> Cmd {
        self.command("EVAL", self.script.code)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_an_evalsha_with_its_keys_and_arguments() {
        let script = Script::new("return KEYS[1]");
        let call = script.call().key("dummy").arg(7).arg(&["a", "b"]);
        assert_eq!(
            String::from_utf8(call.by_hash().get_packed_command()).unwrap(),
            "*7\r\n$7\r\nEVALSHA\r\n$40\r\n4a2267357833227dd98abdedb8cf24b15a986445\r\n$1\r\n1\r\n$5\r\ndummy\r\n\
             $1\r\n7\r\n$1\r\na\r\n$1\r\nb\r\n"
        );
    }
}
