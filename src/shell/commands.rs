//! What begins with a backslash: commands to the session rather than SQL.

use std::time::Duration;

use crate::cli::Format;
use crate::error::nearest;

/// What `\?` prints.
pub(super) const HELP: &str = "\
\\d              the tables and views
\\d TABLE        its columns
\\df             the functions
\\format FORMAT  print results as table, csv or json
\\rows N         show at most N rows of a table; 0 for all
\\timeout S      stop a query after S seconds; 0 for never
\\timing         say how long each query took, or not
\\refresh        read anew which datasets, teachers and selections there are
\\q              leave, as Ctrl-D does

A query ends with `;` and may have several lines. Ctrl-C stops one that runs, or clears the line.";

/// Their names, for completion.
pub(super) const NAMES: [&str; 10] = [
    "\\?",
    "\\d",
    "\\df",
    "\\format",
    "\\help",
    "\\q",
    "\\refresh",
    "\\rows",
    "\\timeout",
    "\\timing",
];

/// Formats that a session prints: a Parquet file is one result.
pub(super) const FORMATS: [&str; 3] = ["table", "csv", "json"];

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Command<'a> {
    Help,
    Tables,
    Table(&'a str),
    Functions,
    Format(Format),
    Rows(usize),
    /// Zero for none.
    Timeout(Duration),
    Timing,
    Refresh,
    Quit,
}

/// Whether a line is a command rather than SQL.
pub(super) fn is_command(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('\\') || ["exit", "quit"].contains(&line.trim_end_matches(';'))
}

/// Parses a command.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn parse(line: &str) -> Result<Command<'_>, String> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let wants = |what: &str| format!("`{name}` wants {what}");
    let command = match name {
        "\\?" | "\\h" | "\\help" => Command::Help,
        "\\d" | "\\dt" if rest.is_empty() => Command::Tables,
        "\\d" => return Ok(Command::Table(rest)),
        "\\df" => Command::Functions,
        "\\format" => {
            return match rest {
                "table" => Ok(Command::Format(Format::Table)),
                "csv" => Ok(Command::Format(Format::Csv)),
                "json" => Ok(Command::Format(Format::Json)),
                _ => Err(wants("table, csv or json")),
            };
        }
        "\\rows" => {
            let rows = rest.parse().map_err(|_| wants("a number of rows"))?;
            return Ok(Command::Rows(rows));
        }
        "\\timeout" => {
            let seconds: Option<f64> = rest.parse().ok();
            let limit = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
            return Ok(Command::Timeout(limit.ok_or_else(|| wants("seconds"))?));
        }
        "\\timing" => Command::Timing,
        "\\refresh" => Command::Refresh,
        "\\q" | "exit" | "quit" => Command::Quit,
        _ => {
            let near = nearest(name, NAMES.into_iter());
            let near = near.map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
            return Err(format!("there is no `{name}`{near}"));
        }
    };
    if rest.is_empty() {
        Ok(command)
    } else {
        Err(wants("nothing behind it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_parsed_and_mistakes_told() {
        assert_eq!(parse("\\d labels;"), Ok(Command::Table("labels")));
        assert_eq!(parse(" \\format  csv "), Ok(Command::Format(Format::Csv)));
        let half = Duration::from_millis(500);
        assert_eq!(parse("\\timeout 0.5"), Ok(Command::Timeout(half)));
        assert_eq!(parse("quit;"), Ok(Command::Quit));
        let wrong = |line| parse(line).unwrap_err();
        assert_eq!(
            wrong("\\fromat csv"),
            "there is no `\\fromat`, did you mean `\\format`?"
        );
        assert_eq!(
            wrong("\\format parquet"),
            "`\\format` wants table, csv or json"
        );
        assert_eq!(wrong("\\rows many"), "`\\rows` wants a number of rows");
        for no_seconds in [
            "\\timeout NaN",
            "\\timeout -1",
            "\\timeout 1e300",
            "\\timeout inf",
            "\\timeout",
        ] {
            assert_eq!(wrong(no_seconds), "`\\timeout` wants seconds");
        }
        assert_eq!(wrong("\\q now"), "`\\q` wants nothing behind it");
        assert!(is_command("\\q") && is_command("exit") && !is_command("exit FROM x"));
    }

    #[test]
    fn every_command_that_is_completed_exists_and_is_in_the_help() {
        for name in NAMES {
            let said = parse(name).err().unwrap_or_default();
            assert!(!said.starts_with("there is no"), "{name}");
            assert!(
                name.len() < 3 || HELP.contains(name) || name == "\\help",
                "{name}"
            );
        }
    }
}
