//! Text as it comes → whole statements, each up to its `;`.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Takes the statements that are whole off the front of a text, without their `;`. What is left is the beginning of the next one.
pub(super) fn take_whole(text: &mut String) -> Vec<String> {
    let ends = ends(text);
    let mut statements = Vec::new();
    let mut from = 0;
    for end in ends {
        let statement = text[from..end].trim();
        if !is_blank(statement) {
            statements.push(statement.to_owned());
        }
        from = end + 1;
    }
    text.drain(..from);
    statements
}

/// Whether there is nothing in it but spaces and comments.
pub(super) fn is_blank(text: &str) -> bool {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize();
    tokens.is_ok_and(|all| all.iter().all(|t| matches!(t, Token::Whitespace(_))))
}

/// Where the `;` are that end statements: not those in quotes or comments.
fn ends(text: &str) -> Vec<usize> {
    let mut tokens = Vec::new();
    // What stands before a quote or comment that is not closed yet has been cut into tokens when that is found.
    let _ = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    let lines: Vec<usize> = std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    tokens
        .iter()
        .filter(|t| t.token == Token::SemiColon)
        .filter_map(|t| {
            let at = t.span.start;
            let line = lines.get(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
            let before = usize::try_from(at.column).ok()?.checked_sub(1)?;
            let rest = &text[*line..];
            Some(line + rest.char_indices().nth(before)?.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(text: &str) -> (Vec<String>, String) {
        let mut rest = text.to_owned();
        let statements = take_whole(&mut rest);
        (statements, rest)
    }

    #[test]
    fn statements_end_at_a_semicolon_outside_of_quotes_and_comments() {
        let (whole, rest) = taken(
            "SELECT ';', \"a;b\" -- c;\nFROM é; /* ; */ SELECT 2 ;;\n-- only a comment;\n; SELECT 'x",
        );
        assert_eq!(
            whole,
            ["SELECT ';', \"a;b\" -- c;\nFROM é", "/* ; */ SELECT 2",]
        );
        assert_eq!(rest.trim(), "SELECT 'x");
    }

    #[test]
    fn what_is_not_closed_waits() {
        for text in ["SELECT 'a;", "SELECT \"a;", "SELECT /* ;", "SELECT 1"] {
            assert_eq!(taken(text), (Vec::new(), text.to_owned()), "{text}");
        }
        assert!(is_blank(" \n-- nothing; \n/* at all */") && !is_blank("/* open"));
    }

    proptest! {
        #[test]
        fn text_that_comes_line_by_line_gives_the_same_statements(text in "[a'\";\\-\n/* é]{0,40}") {
            let (mut buffer, mut pieces) = (String::new(), Vec::new());
            for line in text.split_inclusive('\n') {
                buffer.push_str(line);
                pieces.extend(take_whole(&mut buffer));
            }
            prop_assert_eq!((pieces, buffer), taken(&text));
        }
    }
}
