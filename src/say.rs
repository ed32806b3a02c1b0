//! What people are told on standard error, and text of strangers, which a terminal shows and does not obey.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

/// Says something, in lines of its own.
pub(crate) fn say(text: impl AsRef<str>) {
    // Nobody reads standard error any more: the work goes on.
    let _ = writeln!(std::io::stderr(), "{}", escaped(text.as_ref()));
}

/// Whether a character steers a terminal, a line or the direction of reading.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Text in which what would steer a terminal is written out, such as `\u{1b}`; lines and tabs stay.
pub fn escaped(text: &str) -> Cow<'_, str> {
    let written_out = |c: char| steers(c) && !matches!(c, '\n' | '\t');
    if !text.contains(written_out) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if written_out(c) {
            let _ = write!(escaped, "{}", c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out_and_all_else_stays() {
        for (text, shown) in [
            ("é 中 \u{1F600}\n\ta|b", "é 中 \u{1F600}\n\ta|b"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("a\rb\u{0}\u{7f}\u{9b}", "a\\u{d}b\\u{0}\\u{7f}\\u{9b}"),
            ("a\u{202E}gpj.exe", "a\\u{202e}gpj.exe"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }
}
