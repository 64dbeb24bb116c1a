//! What each client did last, for failure messages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

/// Most lines that are kept of each.
const LINES: usize = 40;

/// The clients' last steps, by name. Shown when it is dropped by a failed test.
#[derive(Clone)]
pub(crate) struct Diary {
    began: Instant,
    lines: Arc<Mutex<BTreeMap<String, VecDeque<String>>>>,
}

impl Default for Diary {
    fn default() -> Self {
        Self { began: Instant::now(), lines: Arc::default() }
    }
}

impl Diary {
    pub(crate) fn note(&self, name: &str, what: &str) {
        let mut all = self.lines.lock().unwrap();
        let lines = all.entry(name.to_owned()).or_default();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(format!("{:?} {what}", self.began.elapsed()));
    }

    /// Everything that is kept.
    pub(crate) fn show(&self) {
        for (name, lines) in &*self.lines.lock().unwrap() {
            eprintln!("{name}");
            lines.iter().for_each(|line| eprintln!("    {line}"));
        }
    }
}
