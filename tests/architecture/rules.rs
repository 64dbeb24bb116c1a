//! The rules, and who keeps them.

use std::collections::{BTreeMap, BTreeSet};

use crate::crates::{CRATES, CRATES_IN_TESTS};
use crate::source::{ModulePath, Named, Reading, Source, Target, read};

/// From the bottom: a layer may use those below it, none above. What stands on one line is on one level.
const LAYERS: [&[&str]; 7] = [
    &["domain"],
    &["session"],
    &["application"],
    // `proto` is generated; see `PROTO_READERS`.
    &["adapters", "reference_store", "proto"],
    &["config"],
    &["app"],
    &["main"],
];

/// Parts of one level that know nothing of each other.
const STRANGERS: [&[&str]; 2] = [
    &["adapters::inbound", "adapters::outbound", "reference_store"],
    &["adapters::inbound::ws", "adapters::inbound::sse", "adapters::inbound::poll"],
];

/// Who may look at the generated code of the Store's contract.
const PROTO_READERS: [&str; 2] = ["adapters::outbound::store_grpc", "reference_store"];

/// Neighbours that know each other all the same, because they are one thing in two: a feed pushes into the sessions that
/// follow it, and a session keeps its places in feeds, so that it can give them back.
const ONE_THING: [(&str, &str); 1] = [("application::feed", "application::sessions")];

/// Everything that is wrong, in words.
pub(crate) fn violations(sources: &[Source], crates: &BTreeSet<String>) -> Vec<String> {
    Tree::read(sources, crates).violations()
}

struct Tree<'a> {
    files: Vec<(&'a Source, Reading)>,
    modules: BTreeSet<ModulePath>,
    test_modules: BTreeSet<ModulePath>,
}

impl<'a> Tree<'a> {
    fn read(sources: &'a [Source], crates: &BTreeSet<String>) -> Self {
        let files: Vec<_> = sources.iter().map(|source| (source, read(source, crates))).collect();
        let modules = sources.iter().map(|source| source.module.clone()).collect();
        let children = files.iter().flat_map(|(source, reading)| {
            reading.test_children.iter().map(|name| {
                let mut path = source.module.clone();
                path.push(name.clone());
                path
            })
        });
        Self { test_modules: children.collect(), modules, files }
    }

    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (source, reading) in &self.files {
            if source.is_contents
                && let Some(line) = reading.first_code
            {
                found.push(format!("{}:{line}: holds more than docs and mod lines", source.name));
            }
            if level(&source.module).is_none() && !source.module.is_empty() {
                found.push(format!("{}: belongs to no layer", source.name));
            }
            for named in &reading.named {
                let in_tests = named.in_tests || self.is_test(&source.module);
                let wrong = match &named.target {
                    Target::Elsewhere(name) => foreign(&source.module, name, in_tests),
                    Target::Here(path) => self.direction(source, path, in_tests),
                };
                found.extend(wrong.map(|wrong| format!("{}:{}: {wrong}", source.name, named.line)));
            }
        }
        found.extend(self.circles());
        found
    }

    fn is_test(&self, module: &[String]) -> bool {
        (1..=module.len()).any(|length| self.test_modules.contains(&module[..length]))
    }

    /// The module that a path leads into: the longest part of it that is one.
    fn module_of(&self, path: &[String]) -> ModulePath {
        let length = (0..=path.len()).rev().find(|length| self.modules.contains(&path[..*length]));
        path[..length.unwrap_or(0)].to_vec()
    }

    fn direction(&self, source: &Source, path: &[String], in_tests: bool) -> Option<String> {
        let (from, to) = (&source.module, self.module_of(path));
        let told = path.join("::");
        if !in_tests && to.len() + 1 == from.len() && from.starts_with(&to) && !source.is_contents {
            return Some(format!("takes {told} from its own parent"));
        }
        if to.first().is_some_and(|top| top == "proto")
            && !["proto", "main"].iter().any(|own| is_within(from, own))
            && !PROTO_READERS.iter().any(|reader| is_within(from, reader))
        {
            return Some(format!("uses {told}: the generated code is the Store's and its client's"));
        }
        if let (Some(mine), Some(theirs)) = (level(from), level(path))
            && mine < theirs
        {
            return Some(format!("uses {told}, which lies above"));
        }
        for group in STRANGERS {
            let mine = group.iter().find(|part| is_within(from, part));
            let theirs = group.iter().find(|part| is_within(path, part));
            if let (Some(mine), Some(theirs)) = (mine, theirs)
                && mine != theirs
            {
                return Some(format!("uses {told}: {mine} and {theirs} are strangers"));
            }
        }
        None
    }

    /// Neighbours that need each other, in a circle that a folder is part of: what lies in one folder side by side may
    /// be one thing in several files. Code for tests does not count.
    fn circles(&self) -> Vec<String> {
        let mut needs: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
        for (source, reading) in self.files.iter().filter(|(source, _)| !self.is_test(&source.module)) {
            for Named { target, in_tests, .. } in &reading.named {
                if let Target::Here(path) = target
                    && !in_tests
                    && let Some((one, other)) = neighbours(&source.module, &self.module_of(path))
                {
                    needs.entry(one).or_default().insert(other);
                }
            }
        }
        let mut pairs = Vec::new();
        for a in needs.keys() {
            let mutual = |b: &&ModulePath| a < *b && reaches(&needs, a, b) && reaches(&needs, b, a);
            for b in needs.keys().filter(mutual).filter(|b| self.is_folder(a) || self.is_folder(b)) {
                pairs.push((a.join("::"), b.join("::")));
            }
        }
        let excepted = |pair: &(String, String)| ONE_THING.contains(&(&pair.0, &pair.1));
        let needless = ONE_THING.iter().filter(|(one, other)| {
            let both = [one, other].iter().all(|name| self.modules.iter().any(|m| m.join("::") == **name));
            both && !pairs.iter().any(|pair| (&*pair.0, &*pair.1) == (*one, *other))
        });
        let needless = needless.map(|(one, other)| format!("{one} and {other} need each other no more"));
        let circles = pairs.iter().filter(|pair| !excepted(pair));
        circles.map(|(one, other)| format!("{one} and {other} need each other")).chain(needless).collect()
    }

    fn is_folder(&self, module: &[String]) -> bool {
        self.files.iter().any(|(source, _)| {
            source.module.len() > module.len()
                && source.module.starts_with(module)
                && !self.is_test(&source.module)
        })
    }
}

/// The two modules, or the folders around them, that lie side by side; none if one lies in the other.
fn neighbours(one: &[String], other: &[String]) -> Option<(ModulePath, ModulePath)> {
    let shared = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let apart = one.len() > shared && other.len() > shared;
    apart.then(|| (one[..=shared].to_vec(), other[..=shared].to_vec()))
}

fn reaches(needs: &BTreeMap<ModulePath, BTreeSet<ModulePath>>, from: &ModulePath, to: &ModulePath) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            next.extend(needs.get(at).into_iter().flatten());
        }
    }
    false
}

fn level(path: &[String]) -> Option<usize> {
    let top = path.first()?;
    LAYERS.iter().position(|layer| layer.contains(&top.as_str()))
}

fn is_within(path: &[String], part: &str) -> bool {
    part.is_empty() || {
        let mut words = path.iter();
        part.split("::").all(|word| words.next().is_some_and(|own| own == word))
    }
}

fn foreign(module: &[String], name: &str, in_tests: bool) -> Option<String> {
    let allowed = ["std", "core", "alloc"].contains(&name)
        || row(&CRATES, module).any(|own| own == name)
        || (in_tests && row(&CRATES_IN_TESTS, module).any(|own| own == name));
    (!allowed).then(|| format!("uses the crate {name}, which is not among those of its part"))
}

/// The crates of the part with the longest name that fits.
fn row(table: &[(&str, &'static str)], module: &[String]) -> impl Iterator<Item = &'static str> {
    let fitting = table.iter().filter(|(part, _)| is_within(module, part));
    fitting.max_by_key(|(part, _)| part.len()).map_or("", |(_, crates)| crates).split_whitespace()
}
