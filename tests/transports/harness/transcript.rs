//! What a client said and heard, for failure messages.

use std::collections::VecDeque;
use std::fmt;

/// Most lines that are kept.
const LINES: usize = 40;
/// Most characters of a line that are kept.
const LINE_CHARS: usize = 400;

/// The last lines of a client's conversation.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    lines: VecDeque<String>,
    dropped: usize,
}

impl Transcript {
    pub(crate) fn sent(&mut self, what: &impl fmt::Display) {
        self.push("→", &what.to_string());
    }

    pub(crate) fn heard(&mut self, what: &impl fmt::Display) {
        self.push("←", &what.to_string());
    }

    pub(crate) fn note(&mut self, what: &impl fmt::Display) {
        self.push("·", &what.to_string());
    }

    fn push(&mut self, arrow: &str, text: &str) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
        let mut line: String = text.chars().take(LINE_CHARS).collect();
        if line.len() < text.len() {
            line.push('…');
        }
        self.lines.push_back(format!("{arrow} {line}"));
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dropped > 0 {
            writeln!(f, "  ({} earlier lines)", self.dropped)?;
        }
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
