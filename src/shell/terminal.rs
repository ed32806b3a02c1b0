//! A session at a terminal, with `rustyline`: history, lines until `;`, completion, Ctrl-C.

use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Editor, Helper, Highlighter, Hinter};

use super::complete::Vocabulary;
use super::{Shell, commands, say, statements};
use crate::error::Error;

/// Statements that are remembered.
const HISTORY: usize = 1000;
const PROMPT: &str = "understudy> ";

/// What the editor asks while a line is typed.
#[derive(Helper, Highlighter, Hinter)]
struct Asked {
    vocabulary: Vocabulary,
}

impl Completer for Asked {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.vocabulary.complete(&line[..cursor]))
    }
}

impl Validator for Asked {
    fn validate(&self, typed: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let text = typed.input();
        let mut rest = text.to_owned();
        statements::take_whole(&mut rest);
        let whole = commands::is_command(text) || statements::is_blank(&rest);
        Ok(if whole {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

/// Reads and answers until the session is left.
///
/// # Errors
/// [`Error::Output`] where the terminal is gone.
pub(super) async fn run(shell: &mut Shell) -> Result<(), Error> {
    let terminal = |e: ReadlineError| Error::Output(std::io::Error::other(e));
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY)
        .map_err(terminal)?
        .build();
    let mut editor: Editor<Asked, FileHistory> = Editor::with_config(config).map_err(terminal)?;
    editor.set_helper(Some(Asked {
        vocabulary: Vocabulary::of(&shell.context),
    }));
    let history = history_file();
    if let Some(file) = &history {
        // There is none before the first session.
        let _ = editor.load_history(file);
    }
    say(format!(
        "understudy {} on {}\nend a query with `;`, `\\?` lists the commands, `\\q` leaves",
        env!("CARGO_PKG_VERSION"),
        shell.workspace.at.url()
    ));
    loop {
        let typed = match tokio::task::block_in_place(|| editor.readline(PROMPT)) {
            Ok(typed) => typed,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(e) => return Err(terminal(e)),
        };
        if typed.trim().is_empty() {
            continue;
        }
        let _ = editor.add_history_entry(typed.trim_end());
        if let Some(file) = &history {
            // A history that cannot be written is none: the session goes on.
            let _ = editor.append_history(file);
        }
        if commands::is_command(&typed) {
            match shell.command(&typed).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(e) => said(e)?,
            }
            continue;
        }
        let mut text = typed;
        for statement in statements::take_whole(&mut text) {
            if let Err(e) = shell.answer(&statement).await {
                said(e)?;
            }
        }
    }
}

/// Says an error and goes on, unless nobody can read any more.
fn said(error: Error) -> Result<(), Error> {
    match error {
        Error::Output(_) => return Err(error),
        Error::Interrupted => say("stopped"),
        other => say(other.text().trim_end()),
    }
    Ok(())
}

/// `$XDG_STATE_HOME/understudy/sql_history`, or below `~/.local/state`; none where the folder cannot be made.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.filter(|folder| folder.is_absolute()).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".local/state"))
    })?;
    let folder = state.join("understudy");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("sql_history"))
}
