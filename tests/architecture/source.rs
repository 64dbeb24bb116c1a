//! A source file, and the paths it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::tokens::{Token, tokens};

/// A module's path below the crate; the root is empty, the binary is `main`.
pub(crate) type ModulePath = Vec<String>;

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As it is told in a message.
    pub(crate) name: String,
    pub(crate) module: ModulePath,
    /// `mod.rs` or `lib.rs`: a table of contents.
    pub(crate) is_contents: bool,
    pub(crate) text: String,
}

impl Source {
    /// A file by its path below `src`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut module: ModulePath = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let last = module.last().cloned().unwrap_or_default();
        let is_contents = last == "mod" || path == "lib.rs";
        if is_contents {
            module.pop();
        }
        Self { name: format!("src/{path}"), module, is_contents, text: text.to_owned() }
    }

    /// All files below a folder.
    pub(crate) fn read_all(src: &Path) -> Vec<Self> {
        let mut found = Vec::new();
        let mut folders = vec![src.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let below = path.strip_prefix(src).unwrap().to_str().unwrap().replace('\\', "/");
                    found.push(Self::new(&below, &std::fs::read_to_string(&path).unwrap()));
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }
}

/// The names that may begin a path into another crate, as `Cargo.toml` has them.
pub(crate) fn crate_names() -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let mut within = false;
    let mut found: BTreeSet<String> = ["std", "core", "alloc"].map(str::to_owned).into();
    for line in manifest.lines() {
        if line.starts_with('[') {
            within = line.contains("dependencies]");
        } else if within && let Some((name, _)) = line.split_once('=') {
            found.insert(name.trim().replace('-', "_"));
        }
    }
    found
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Into this crate: the full path of a module or an item. An item's name may be `*`.
    Here(Vec<String>),
    /// Into another crate.
    Elsewhere(String),
}

/// A path that a file names.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) target: Target,
    pub(crate) line: usize,
    /// In code that is only built for tests.
    pub(crate) in_tests: bool,
}

/// What was read out of a file.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) named: Vec<Named>,
    /// Modules in files of their own that are only built for tests.
    pub(crate) test_children: Vec<String>,
    /// The first line that is neither documentation nor `mod`.
    pub(crate) first_code: Option<usize>,
}

/// Reads a file. `crates` are the names that may begin a path into another crate.
pub(crate) fn read(source: &Source, crates: &BTreeSet<String>) -> Reading {
    let tokens = tokens(&source.text);
    let mut reader = Reader {
        tokens: &tokens,
        crates,
        in_binary: source.module == ["main"],
        inline: Vec::new(),
        file: source.module.clone(),
        scope: BTreeMap::new(),
        reading: Reading::default(),
    };
    reader.collect_scope();
    reader.walk();
    reader.reading.first_code = reader.first_code();
    reader.reading
}

struct Reader<'a> {
    tokens: &'a [(Token, usize)],
    crates: &'a BTreeSet<String>,
    /// There `edgeway::…` is what `crate::…` is elsewhere.
    in_binary: bool,
    file: ModulePath,
    /// The modules in braces around the current token, with the depth at which each ends.
    inline: Vec<(String, usize)>,
    /// What a path's first word means in this file, by `use` and `mod`.
    scope: BTreeMap<String, Target>,
    reading: Reading,
}

impl Reader<'_> {
    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|(token, _)| token)
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.token(at).is_some_and(|token| token.is(text))
    }

    fn word(&self, at: usize) -> Option<&str> {
        self.token(at)?.word()
    }

    fn here(&self) -> ModulePath {
        self.file.iter().cloned().chain(self.inline.iter().map(|(name, _)| name.clone())).collect()
    }

    /// Names that are declared or imported anywhere in the file: `mod` first, since `use` may go through them.
    fn collect_scope(&mut self) {
        for at in 0..self.tokens.len() {
            if self.is(at, "mod")
                && self.is(at + 2, ";")
                && let Some(name) = self.word(at + 1)
            {
                let mut path = self.file.clone();
                path.push(name.to_owned());
                self.scope.insert(name.to_owned(), Target::Here(path));
            }
        }
        let mut imported = Vec::new();
        self.each_token(|reader, at, _| {
            if reader.starts_use(at) {
                reader.use_tree(at + 1, &mut Vec::new(), &mut |path, alias| {
                    let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
                    if let Some(target) = reader.resolve(&path) {
                        imported.push((name, target));
                    }
                });
            }
        });
        for (name, target) in imported {
            self.scope.entry(name).or_insert(target);
        }
    }

    fn walk(&mut self) {
        let mut named = Vec::new();
        let mut test_children = Vec::new();
        self.each_token(|reader, at, in_tests| {
            let line = reader.tokens[at].1;
            if reader.starts_use(at) {
                reader.use_tree(at + 1, &mut Vec::new(), &mut |path, _| {
                    named.extend(reader.resolve(&path).map(|target| Named { target, line, in_tests }));
                });
            } else if reader.is(at, "mod") && reader.is(at + 2, ";") && in_tests {
                test_children.extend(reader.word(at + 1).map(str::to_owned));
            } else if let Some(path) = reader.inline_path(at) {
                named.extend(reader.resolve(&path).map(|target| Named { target, line, in_tests }));
            }
        });
        self.reading.named = named;
        self.reading.test_children = test_children;
    }

    /// Calls `visit` with each token outside of `use` trees and visibilities, and whether it is only built for tests.
    fn each_token(&mut self, mut visit: impl FnMut(&Self, usize, bool)) {
        let (mut at, mut depth) = (0, 0usize);
        let mut tests_until = 0;
        self.inline.clear();
        while at < self.tokens.len() {
            if self.cfg_test_ends(at).is_some() {
                tests_until = tests_until.max(self.item_end(at));
            }
            if self.is(at, "mod") && self.is(at + 2, "{") {
                let name = self.word(at + 1).unwrap_or_default().to_owned();
                self.inline.push((name, depth));
            }
            visit(self, at, at < tests_until);
            if self.is(at, "{") {
                depth += 1;
            } else if self.is(at, "}") {
                depth = depth.saturating_sub(1);
                self.inline.pop_if(|(_, ends_at)| *ends_at == depth);
            }
            at = if self.starts_use(at) {
                self.end_of_statement(at)
            } else if self.is(at, "pub") && self.is(at + 1, "(") {
                self.closing(at + 1)
            } else {
                at + 1
            };
        }
    }

    fn starts_use(&self, at: usize) -> bool {
        // `+ use<…>` names lifetimes, not paths.
        let names_path = self.word(at + 1).is_some() || self.is(at + 1, "::") || self.is(at + 1, "{");
        self.is(at, "use") && names_path
    }

    fn end_of_statement(&self, at: usize) -> usize {
        (at..self.tokens.len()).find(|at| self.is(*at, ";")).map_or(self.tokens.len(), |end| end + 1)
    }

    /// Behind the bracket that closes the one at `at`.
    fn closing(&self, at: usize) -> usize {
        let mut depth = 0;
        for index in at..self.tokens.len() {
            if ["(", "[", "{"].iter().any(|open| self.is(index, open)) {
                depth += 1;
            } else if [")", "]", "}"].iter().any(|close| self.is(index, close)) {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
        }
        self.tokens.len()
    }

    /// Behind `#[cfg(test)]`, if that is what stands here.
    fn cfg_test_ends(&self, at: usize) -> Option<usize> {
        let words = ["#", "[", "cfg", "(", "test", ")", "]"];
        words.iter().enumerate().all(|(index, word)| self.is(at + index, word)).then(|| at + words.len())
    }

    /// Behind the item that the attribute at `at` belongs to.
    fn item_end(&self, at: usize) -> usize {
        let mut index = at;
        while self.is(index, "#") {
            index = self.closing(index + 1);
        }
        while index < self.tokens.len() {
            if self.is(index, ";") {
                return index + 1;
            }
            if self.is(index, "{") {
                return self.closing(index);
            }
            index = if self.is(index, "(") || self.is(index, "[") { self.closing(index) } else { index + 1 };
        }
        index
    }

    /// Walks a `use` tree from `at`; calls `found` with each path in it and its `as`. Returns where the tree ends.
    fn use_tree(
        &self,
        mut at: usize,
        prefix: &mut Vec<String>,
        found: &mut dyn FnMut(Vec<String>, Option<String>),
    ) -> usize {
        let length = prefix.len();
        loop {
            if self.is(at, "::") {
                at += 1;
            } else if self.is(at, "{") {
                at += 1;
                while !self.is(at, "}") && at < self.tokens.len() {
                    at = self.use_tree(at, prefix, found);
                    if self.is(at, ",") {
                        at += 1;
                    }
                }
                prefix.truncate(length);
                return at + 1;
            } else if self.is(at, "*") {
                prefix.push("*".to_owned());
                at += 1;
            } else if self.is(at, "as") {
                let alias = self.word(at + 1).map(str::to_owned);
                found(prefix.clone(), alias);
                prefix.truncate(length);
                return at + 2;
            } else if let Some(word) = self.word(at) {
                // `self` at the end of a path is the path itself.
                if word != "self" || prefix.is_empty() {
                    prefix.push(word.to_owned());
                }
                at += 1;
            } else {
                found(prefix.clone(), None);
                prefix.truncate(length);
                return at;
            }
        }
    }

    /// The path that begins at `at`, if one does.
    fn inline_path(&self, at: usize) -> Option<Vec<String>> {
        let begins = at == 0 || !["::", ".", "mod"].iter().any(|before| self.is(at - 1, before));
        // A path from the outermost: `::tokio::spawn`.
        let absolute = at >= 1 && self.is(at - 1, "::") && (at < 2 || self.word(at - 2).is_none());
        if !(begins || absolute) || !self.is(at + 1, "::") {
            return None;
        }
        let mut path = vec![self.word(at)?.to_owned()];
        let mut at = at + 1;
        while self.is(at, "::")
            && let Some(word) = self.word(at + 1)
        {
            path.push(word.to_owned());
            at += 2;
        }
        Some(path)
    }

    fn resolve(&self, path: &[String]) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "edgeway" if self.in_binary => Vec::new(),
            "self" => self.here(),
            "super" => {
                let mut base = self.here();
                base.pop();
                base
            }
            name => match self.scope.get(name) {
                Some(Target::Here(known)) => known.clone(),
                Some(elsewhere) => return Some(elsewhere.clone()),
                None => {
                    return self.crates.contains(name).then(|| Target::Elsewhere(name.to_owned()));
                }
            },
        };
        for word in rest {
            if word == "super" {
                base.pop();
            } else {
                base.push(word.clone());
            }
        }
        Some(Target::Here(base))
    }

    fn first_code(&self) -> Option<usize> {
        let mut at = 0;
        while at < self.tokens.len() {
            if self.is(at, "#") {
                let bracket = if self.is(at + 1, "!") { at + 2 } else { at + 1 };
                at = self.closing(bracket);
                continue;
            }
            let mut behind = at;
            if self.is(behind, "pub") {
                behind = if self.is(at + 1, "(") { self.closing(at + 1) } else { at + 1 };
            }
            if self.is(behind, "mod") && self.is(behind + 2, ";") {
                at = behind + 3;
            } else {
                return Some(self.tokens[at].1);
            }
        }
        None
    }
}
