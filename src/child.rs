//! This executable as a child of itself: `ort` holds one ONNX Runtime a process, so that what trains is another process than what labels.
//!
//! A child is the same command that a user could type. Its exit code and message are those of the parent. It holds the other end of a pipe as its standard input, and ends when the
//! parent is gone, however that ended: otherwise two would train after a `kill -9` and the same command again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set for a child: its standard input ends with its parent.
const MARK: &str = "UNDERSTUDY_CHILD";

/// A child failed.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started, or not be waited for.
    #[error("cannot run `understudy {command}` as a child: {source}")]
    Start {
        /// Its subcommand.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with an error, which it has said itself.
    #[error("`understudy {command}` failed")]
    Failed {
        /// Its subcommand.
        command: String,
        /// Its exit code.
        code: u8,
    },
    /// It was killed.
    #[error("`understudy {command}` was killed: {status}")]
    Killed {
        /// Its subcommand.
        command: String,
        /// By which signal.
        status: std::process::ExitStatus,
    },
}

impl ChildError {
    /// The child's exit code, where it has one.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { code, .. } => *code,
            Self::Start { .. } | Self::Killed { .. } => 1,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Killed { .. } => {
                Some("was there enough memory? The same command goes on where it was".into())
            }
            Self::Start { .. } | Self::Failed { .. } => None,
        }
    }
}

/// The executable that runs: what children are made of.
///
/// # Errors
/// The operating system's.
pub fn this() -> Result<PathBuf, ChildError> {
    std::env::current_exe().map_err(|source| ChildError::Start {
        command: String::new(),
        source,
    })
}

/// Runs `EXECUTABLE ARGS…` ([`this`] one) and waits for its end; its output and its errors go where the parent's go. Ctrl-C reaches the child as well, which ends as it
/// would alone; the parent waits for that.
///
/// # Errors
/// [`ChildError`].
pub async fn run(executable: &Path, args: &[OsString]) -> Result<(), ChildError> {
    let name = name(args);
    let start = |source| ChildError::Start {
        command: name.clone(),
        source,
    };
    let mut command = Command::new(executable);
    command.args(args).env(MARK, "1").stdin(Stdio::piped());
    let mut child = command.spawn().map_err(start)?;
    // Kept open until the child has ended.
    let lifeline = child.stdin.take();
    let mut end = tokio::task::spawn_blocking(move || child.wait());
    let status = loop {
        tokio::select! {
            ended = &mut end => break ended.map_err(|e| start(std::io::Error::other(e)))?.map_err(start)?,
            // Taken note of, so that it does not end this process before the child.
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    drop(lifeline);
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(ChildError::Failed {
            command: name,
            code: u8::try_from(code).unwrap_or(1),
        }),
        None => Err(ChildError::Killed {
            command: name,
            status,
        }),
    }
}

/// Runs `EXECUTABLE ARGS…` and gives what it printed, or what it said of its failure. Blocks; for questions that are answered at once.
///
/// # Errors
/// The child's own words.
pub fn ask(executable: &Path, args: &[OsString]) -> Result<Vec<u8>, String> {
    let output = Command::new(executable)
        .args(args)
        .stdin(Stdio::null())
        .env_remove(MARK)
        .output()
        .map_err(|e| format!("cannot run `understudy {}`: {e}", name(args)))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let first = words.lines().find_map(|line| line.strip_prefix("error: "));
    Err(match first {
        Some(words) => words.to_owned(),
        None => format!("`understudy {}` ended with {}", name(args), output.status),
    })
}

fn name(args: &[OsString]) -> String {
    args.first()
        .map_or(String::new(), |a| a.to_string_lossy().into_owned())
}

/// Waits, in a child, until the parent is gone; elsewhere for ever.
pub async fn orphaned() {
    if std::env::var_os(MARK).is_none() {
        return std::future::pending().await;
    }
    let (gone, wait) = tokio::sync::oneshot::channel();
    // A thread of its own, since a read of standard input cannot be cancelled.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = gone.send(());
    });
    let _ = wait.await;
}
