//! What holds for every message about strangers' input, since it is shown on terminals and in the journal.

use std::fmt::Display;

use rootful_net_core::name::quoted;

/// The longest message that says what is wrong with an input, in characters: no input makes it longer.
const MAX_CHARS: usize = 1024;

/// Checks that a message about hostile input is one short printable line.
pub(crate) fn check_message(message: &dyn Display) {
    let text = message.to_string();
    assert!(!text.is_empty(), "an empty message");
    assert!(text.chars().count() <= MAX_CHARS, "a long message: {text:?}");
    check_printable(&text);
}

/// Checks that text from outside comes out of [`quoted`] harmless.
pub(crate) fn check_quoted(text: &str) {
    let quoted = quoted(text);
    check_printable(&quoted);
    // 64 characters, the sign that more was cut off, and the quotation marks.
    assert!(quoted.chars().count() <= 64 + 1 + 2, "{quoted:?}");
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inside = inside.expect("it is in quotation marks");
    let mut escaped = false;
    for character in inside.chars() {
        assert!(escaped || character != '"', "a quotation mark ends early: {quoted:?}");
        escaped = !escaped && character == '\\';
    }
    assert!(!escaped, "the last quotation mark is escaped: {quoted:?}");
}

fn check_printable(text: &str) {
    let harmful = |character: char| {
        character.is_control()
            // What reverses, joins or hides text on a terminal.
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || character == '\u{feff}'
    };
    assert!(!text.contains(harmful), "characters that do harm: {text:?}");
}
