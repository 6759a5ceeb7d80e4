//! Lines for people. Names and reasons in them come from dead letters, files and services, and are not trusted.

use std::fmt::Display;

/// Returns the text with its control characters and other invisible characters escaped as in Rust, so that it can
/// neither start another line nor control the terminal.
pub(super) fn printable(text: impl Display) -> String {
    let text = text.to_string();
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' => printable.push(character),
            _ => printable.extend(character.escape_debug()),
        }
    }
    printable
}

/// Prints one line to standard error.
pub(super) fn report(line: impl Display) {
    eprintln!("{}", printable(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_starts_a_line_or_controls_the_terminal() {
        assert_eq!(printable(r#"Größe "a/b" isn't 7"#), r#"Größe "a/b" isn't 7"#);
        assert_eq!(
            printable("a\x1b[2J\x1b]0;title\x07\nfinished 999\r\u{9b}m\u{202e}\x7f\\"),
            r"a\u{1b}[2J\u{1b}]0;title\u{7}\nfinished 999\r\u{9b}m\u{202e}\u{7f}\\"
        );
    }
}
