//! SQL of people: a query of the command line, statements from standard input, or a session at the terminal.
//!
//! ```text
//! one query        `understudy sql "SELECT …"`           answered, or the error is the process's
//! standard input   `understudy sql < queries.sql`        each statement up to its `;`, errors in place, the others go on
//! a terminal       `understudy sql`                      terminal.rs: history, completion, Ctrl-C
//! ```
//! Each query is a task of its own, which is dropped when its time is over or at Ctrl-C; its operators then stop at their next batch. Results go to standard output,
//! all else to standard error.

mod commands;
mod complete;
mod statements;
mod terminal;

use std::io::{BufRead as _, IsTerminal as _};
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use self::commands::Command;
use crate::catalog::{self, CatalogError, Limits, reference};
use crate::cli::Format;
use crate::error::Error;
use crate::output::{self, Printed};
use crate::say::say;
use crate::workspace::Workspace;

/// How long a query that is stopped is waited for: operators look up at each batch, which takes milliseconds.
const STOPPING: Duration = Duration::from_secs(2);
/// Lines of standard input that are read ahead.
const LINES_AHEAD: usize = 64;

/// A session over a workspace.
pub struct Shell {
    workspace: Workspace,
    context: SessionContext,
    format: Format,
    limits: Limits,
    timing: bool,
    /// Threads of the queries alone: one that is slow to stop keeps neither the clock nor the end of the process waiting.
    threads: Option<Runtime>,
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl Shell {
    /// Reads which tables there are.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn open(
        workspace: Workspace,
        format: Format,
        limits: Limits,
    ) -> Result<Self, CatalogError> {
        Ok(Self {
            context: catalog::open(&workspace, limits.memory).await?,
            workspace,
            format,
            limits,
            timing: false,
            threads: None,
        })
    }

    /// Runs a query and prints its result.
    ///
    /// # Errors
    /// [`CatalogError`], [`Error::Interrupted`] at Ctrl-C, [`Error::Output`].
    pub async fn answer(&mut self, sql: &str) -> Result<(), Error> {
        let started = Instant::now();
        let mut work = {
            let (context, sql) = (self.context.clone(), sql.to_owned());
            let (format, rows) = (self.format, self.limits.rows);
            let threads = match &self.threads {
                Some(threads) => threads,
                None => self.threads.insert(Runtime::new()?),
            };
            threads.spawn(async move {
                let frame = catalog::query(&context, &sql).await?;
                let memory = &context.runtime_env().memory_pool;
                output::result(catalog::execute(frame).await?, format, rows, memory).await
            })
        };
        let over = async {
            match self.limits.time {
                Some(limit) => {
                    tokio::time::sleep(limit).await;
                    CatalogError::Time { limit }
                }
                None => std::future::pending().await,
            }
        };
        let stopped: Error = tokio::select! {
            done = &mut work => {
                let printed = done.map_err(CatalogError::from)??;
                self.comment(printed, started.elapsed());
                return Ok(());
            }
            over = over => over.into(),
            () = interrupt() => Error::Interrupted,
        };
        work.abort();
        let _ = tokio::time::timeout(STOPPING, work).await;
        Err(stopped)
    }

    /// Answers the statements and commands that come in, until there are no more.
    ///
    /// # Errors
    /// [`Error::Statements`] where any failed, [`Error::Output`] where the results are no longer read.
    pub async fn run(mut self) -> Result<(), Error> {
        if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            return terminal::run(&mut self).await;
        }
        let mut lines = stdin_lines();
        let (mut text, mut count, mut failed) = (String::new(), 0, None);
        let mut is_written = false;
        loop {
            let line = tokio::select! {
                line = lines.recv() => line.transpose()?,
                () = interrupt() => return Err(Error::Interrupted),
            };
            let (ended, line) = (line.is_none(), line.unwrap_or_default());
            let command = statements::is_blank(&text) && commands::is_command(&line);
            let outcomes = if command {
                vec![self.command(&line).await]
            } else {
                text.push_str(&line);
                let mut whole = statements::take_whole(&mut text);
                if ended && !statements::is_blank(&text) {
                    whole.push(std::mem::take(&mut text));
                }
                let mut outcomes = Vec::new();
                for statement in whole {
                    // Two Parquet files one after the other are none that a reader understands.
                    if self.format == Format::Parquet && std::mem::replace(&mut is_written, true) {
                        let detail = "a Parquet file holds the rows of one query: run the others by themselves";
                        outcomes.push(Err(Error::Command {
                            detail: detail.into(),
                        }));
                        continue;
                    }
                    outcomes.push(self.answer(&statement).await.map(|()| true));
                }
                outcomes
            };
            let mut leaving = ended;
            for outcome in outcomes {
                count += 1;
                match outcome {
                    Ok(goes_on) => leaving |= !goes_on,
                    Err(e @ (Error::Output(_) | Error::Interrupted)) => return Err(e),
                    Err(e) => {
                        say(e.text());
                        let (n, code) = failed.unwrap_or((0, e.exit_code()));
                        failed = Some((n + 1, code));
                    }
                }
            }
            if leaving {
                return match failed {
                    None => Ok(()),
                    Some((failed, code)) => Err(Error::Statements {
                        failed,
                        count,
                        code,
                    }),
                };
            }
        }
    }

    /// Obeys a command; `false` where the session is over.
    async fn command(&mut self, line: &str) -> Result<bool, Error> {
        let command = match commands::parse(line) {
            Ok(command) => command,
            Err(detail) => return Err(Error::Command { detail }),
        };
        match command {
            Command::Help => output::line(commands::HELP)?,
            Command::Tables => {
                for table in &reference::reference().tables {
                    output::line(&format!("{:<28}{}", table.name, table.description))?;
                }
            }
            Command::Table(name) => describe(name)?,
            Command::Functions => {
                for function in &reference::reference().functions {
                    output::line(&format!("{}\n    {}", function.name, function.description))?;
                }
                output::line(
                    "and DataFusion's, which `SELECT DISTINCT routine_name FROM information_schema.routines` lists",
                )?;
            }
            Command::Format(format) => self.format = format,
            Command::Rows(rows) => self.limits.rows = rows,
            Command::Timeout(limit) => {
                self.limits.time = (!limit.is_zero()).then_some(limit);
            }
            Command::Timing => {
                self.timing = !self.timing;
                say(if self.timing {
                    "timing is on"
                } else {
                    "timing is off"
                });
            }
            Command::Refresh => {
                self.context = catalog::open(&self.workspace, self.limits.memory).await?;
            }
            Command::Quit => return Ok(false),
        }
        Ok(true)
    }

    /// What is said of a result besides its rows.
    fn comment(&self, printed: Printed, took: Duration) {
        if printed.cut {
            say(format!(
                "there are more than these {}: --max-rows N (`\\rows N`) shows more, --format csv, json or parquet all",
                rows(printed.rows)
            ));
        }
        if self.timing {
            let seconds = took.as_secs_f64();
            say(format!("{} in {seconds:.3} s", rows(printed.rows)));
        }
    }
}

fn rows(n: usize) -> String {
    if n == 1 {
        "1 row".into()
    } else {
        format!("{n} rows")
    }
}

/// Prints a table's columns with what they say.
fn describe(name: &str) -> Result<(), Error> {
    let tables = &reference::reference().tables;
    let Some(table) = tables.iter().find(|t| t.name == name) else {
        return Err(Error::Command {
            detail: format!("there is no table `{name}`"),
        });
    };
    output::line(&table.description)?;
    let wide = |of: fn(&reference::Column) -> &str| {
        table.columns.iter().map(|c| of(c).len()).max().unwrap_or(0)
    };
    let (names, types) = (wide(|c| &c.name), wide(|c| &c.r#type));
    for column in &table.columns {
        output::line(&format!(
            "  {:<names$}  {:<types$}  {}",
            column.name, column.r#type, column.description
        ))?;
    }
    Ok(())
}

/// The lines of standard input. Their thread may wait for a line for ever; it ends with the process.
fn stdin_lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (send, lines) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let mut line = String::new();
            let read = stdin.read_line(&mut line);
            let more = match read {
                Ok(0) => return,
                Ok(_) => send.blocking_send(Ok(line)),
                Err(e) => {
                    let _ = send.blocking_send(Err(e));
                    return;
                }
            };
            if more.is_err() {
                return;
            }
        }
    });
    lines
}

/// Waits for Ctrl-C.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        // No signal can be heard here: nothing interrupts.
        std::future::pending::<()>().await;
    }
}
