//! Rust source as words and marks: comments, strings and lifetimes are gone, what is left has its line.

/// A word or a mark of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A name or a keyword.
    Word(String),
    /// `::`, or any other single character.
    Mark(&'static str),
    /// A mark that no rule looks at.
    Other,
}

impl Token {
    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        match self {
            Self::Word(word) => word == text,
            Self::Mark(mark) => *mark == text,
            Self::Other => false,
        }
    }
}

/// The tokens of a source, each with its line from 1.
pub(crate) fn tokens(source: &str) -> Vec<(Token, usize)> {
    let chars: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(&c) = chars.get(at) {
        let end = match c {
            '/' if chars.get(at + 1) == Some(&'/') => end_of_line(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => end_of_comment(&chars, at),
            '"' => end_of_string(&chars, at),
            '\'' => end_of_quote(&chars, at),
            _ if starts_word(c) => {
                let end = end_of_word(&chars, at);
                match literal_behind_prefix(&chars, at, end) {
                    Some(end) => end,
                    None => {
                        found.push((Token::Word(chars[at..end].iter().collect()), line));
                        end
                    }
                }
            }
            _ if c.is_ascii_digit() => end_of_word(&chars, at),
            _ if c.is_whitespace() => at + 1,
            ':' if chars.get(at + 1) == Some(&':') => {
                found.push((Token::Mark("::"), line));
                at + 2
            }
            _ => {
                found.push((mark(c), line));
                at + 1
            }
        };
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    found
}

fn mark(c: char) -> Token {
    const MARKS: [&str; 12] = ["{", "}", "(", ")", "[", "]", ";", ",", "*", "#", ".", "!"];
    let known = MARKS.iter().find(|mark| mark.starts_with(c));
    known.map_or(Token::Other, |mark| Token::Mark(mark))
}

fn starts_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn end_of_word(chars: &[char], at: usize) -> usize {
    let rest = chars[at..].iter().position(|c| !c.is_alphanumeric() && *c != '_');
    rest.map_or(chars.len(), |length| at + length)
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length)
}

/// Block comments nest.
fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// A character, or a lifetime.
fn end_of_quote(chars: &[char], start: usize) -> usize {
    let lifetime =
        chars.get(start + 1).is_some_and(|c| starts_word(*c)) && chars.get(start + 2) != Some(&'\'');
    if lifetime {
        return end_of_word(chars, start + 1);
    }
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '\'' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `b"…"`, `c"…"`, `r"…"`, `r#"…"#`, `b'…'`: the end of the literal, if the word is but its prefix.
fn literal_behind_prefix(chars: &[char], start: usize, end: usize) -> Option<usize> {
    let prefix: String = chars[start..end].iter().collect();
    let raw = matches!(prefix.as_str(), "r" | "br" | "cr");
    match chars.get(end)? {
        '"' if raw => Some(end_of_raw_string(chars, end, 0)),
        '"' if matches!(prefix.as_str(), "b" | "c") => Some(end_of_string(chars, end)),
        '\'' if prefix == "b" => Some(end_of_quote(chars, end)),
        '#' if raw => {
            let hashes = chars[end..].iter().take_while(|c| **c == '#').count();
            // Else it is a raw name, `r#type`: the name follows as a word of its own.
            let quoted = chars.get(end + hashes) == Some(&'"');
            Some(if quoted { end_of_raw_string(chars, end + hashes, hashes) } else { end + hashes })
        }
        _ => None,
    }
}

fn end_of_raw_string(chars: &[char], quote: usize, hashes: usize) -> usize {
    let closes = |at: usize| {
        chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (quote + 1..chars.len()).find(|at| closes(*at)).map_or(chars.len(), |at| at + 1 + hashes)
}
