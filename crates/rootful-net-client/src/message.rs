//! How an error is said to a person: in one line, and safe for a terminal and a log.

use std::error::Error;

/// The error and its sources in one line. A source that the text before it repeats, as zbus does it, is
/// left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = error.source();
    }
    text
}

/// `text` with everything escaped that could steer a terminal: control characters, line breaks, bidirectional
/// overrides.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => out.push(character),
            other => out.extend(other.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write")]
    struct Plain(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect: {0}")]
    struct Repeating(#[source] io::Error);

    #[test]
    fn a_chain_names_each_cause_once() {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        assert_eq!(chain(&Plain(gone())), "cannot write: no such file");
        assert_eq!(chain(&Repeating(gone())), "cannot connect: no such file");
    }

    #[test]
    fn terminal_controls_are_escaped() {
        let cases = [
            ("web \"a\" it's \\", "web \"a\" it's \\"),
            ("größe → 日本", "größe → 日本"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("two\nlines\r\t", "two\\nlines\\r\\t"),
            ("\u{9b}31m\u{202e}\u{200b}", "\\u{9b}31m\\u{202e}\\u{200b}"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
    }
}
