//! What comes with the project: every crate that is built into it is from crates.io, under a licence that was looked at,
//! and with one cryptography only. `deny.toml` says the same to cargo-deny; this runs everywhere and at every change.

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::process::Command;

    /// Licences that may be in what is shipped.
    const LICENCES: [&str; 14] = [
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        // inferno, which draws the flame graphs; linked unchanged.
        "CDDL-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "Unicode-3.0",
        "Unlicense",
        "Zlib",
    ];
    /// Never in what is shipped: a second cryptography, and what is no longer cared for.
    const BANNED: [&str; 6] = ["ring", "openssl", "openssl-sys", "native-tls", "rsa", "atty"];
    /// Two versions of one of these would not understand each other, or would both have to be trusted.
    const ONCE: [&str; 12] = [
        "aws-lc-rs",
        "aws-lc-sys",
        "bytes",
        "http",
        "hyper",
        "jsonwebtoken",
        "prost",
        "redis",
        "rustls",
        "serde_json",
        "tokio",
        "tonic",
    ];

    struct Crate {
        name: String,
        version: String,
        licence: String,
        /// Where it is from, if not from crates.io.
        elsewhere: Option<String>,
    }

    /// The crates that are built into the program or build it, without those of the tests. (cargo metadata would count
    /// what only the tests' features bring in.)
    fn shipped() -> Vec<Crate> {
        let told = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"])
            .args(["--target", "x86_64-unknown-linux-gnu", "--format", "{p}\t{l}"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let lines: BTreeSet<String> = String::from_utf8(told.stdout)
            .unwrap()
            .lines()
            .map(|line| line.trim_end_matches(" (*)").to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        lines.iter().map(|line| parse(line)).collect()
    }

    /// `name v1.2.3`, perhaps with ` (proc-macro)` and where it is from, then the licence.
    fn parse(line: &str) -> Crate {
        let (package, licence) = line.split_once('\t').unwrap();
        let mut words = package.replace(" (proc-macro)", "");
        let elsewhere = words.find(" (").map(|at| words.split_off(at));
        let (name, version) = words.split_once(' ').unwrap();
        Crate { name: name.to_owned(), version: version.to_owned(), licence: licence.to_owned(), elsewhere }
    }

    /// Whether an SPDX expression can be met: every part that is bound by AND has one that is allowed.
    fn is_met(expression: &str) -> bool {
        let plain = expression.replace(['(', ')'], "").replace(" / ", " OR ").replace('/', " OR ");
        plain.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
    }

    #[test]
    fn everything_comes_from_the_registry_under_a_licence_that_was_looked_at() {
        let all = shipped();
        assert!(all.len() > 100, "cargo tells of {} crates only", all.len());
        let wrong: Vec<String> = all
            .iter()
            .filter(|one| one.name != "edgeway" && (one.elsewhere.is_some() || !is_met(&one.licence)))
            .map(|one| format!("{} {} {:?}: {}", one.name, one.version, one.elsewhere, one.licence))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn there_is_one_cryptography_and_one_of_each_that_matters() {
        let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
        for one in shipped() {
            versions.entry(one.name).or_default().insert(one.version);
        }
        let banned: Vec<_> = BANNED.iter().filter(|name| versions.contains_key(**name)).collect();
        assert!(banned.is_empty(), "{banned:?}");
        let twice: Vec<_> = ONCE
            .iter()
            .filter_map(|name| versions.get(*name).map(|found| (name, found)))
            .filter(|(_, found)| found.len() > 1)
            .collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}
