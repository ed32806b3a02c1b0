//! This executable as a child of itself: `ort` holds one ONNX Runtime a process, so that what trains is another process than what labels.
//!
//! A child is the same command that a user could type. Its exit code and message are those of the parent. It holds the other end of a pipe as its standard input, and ends when the
//! parent is gone, however that ended: otherwise two would train after a `kill -9` and the same command again.
//!
//! Through the same pipe the parent says, a line each, `stop`, which means what Ctrl-C means, and, to a child that works for a job, `until MILLISECONDS`: how long its lease lasts
//! ([`crate::fence`]). A child tells its own children in turn.

use std::ffi::OsString;
use std::io::{BufRead as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::INTERRUPTED;
use crate::fence::Fence;

/// Set for a child: its standard input ends with its parent.
const MARK: &str = "UNDERSTUDY_CHILD";
/// Set for a child that works for a job: the job's id, the number with which it was taken, and until when may be written before more is said.
const FENCE: &str = "UNDERSTUDY_FENCE";
/// Lines that wait for a child which does not read: one that is stopped. What is beyond is left out; the newest word is said again.
const LINES: usize = 16;
/// After so long a child that hears Ctrl-C itself has heard it: what it is told then is not a second one.
const HEARD_WITHIN: Duration = Duration::from_millis(100);
/// How often a child is told of its lease at least, where that was renewed.
const TELL_EVERY: Duration = Duration::from_millis(200);

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
        status: ExitStatus,
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

/// Runs `EXECUTABLE ARGS…` ([`this`] one) and waits for its end; its output and its errors go where the parent's go. At Ctrl-C the child ends as it would alone, and the
/// parent waits for that.
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
    command.args(args);
    let fence = fence();
    prepare(&mut command, fence.as_ref());
    let mut child = command.spawn().map_err(start)?;
    // Kept open until the child has ended.
    let lifeline = child.stdin.take().map(|pipe| Lifeline::new(pipe, fence));
    let mut end = tokio::task::spawn_blocking(move || child.wait());
    let status = loop {
        tokio::select! {
            ended = &mut end => break ended.map_err(|e| start(std::io::Error::other(e)))?.map_err(start)?,
            // Taken note of, so that it does not end this process before the child, which a terminal has told as well, but `kill -INT` has not.
            _ = tokio::signal::ctrl_c() => {
                tokio::time::sleep(HEARD_WITHIN).await;
                lifeline.iter().for_each(Lifeline::stop);
            }
            () = stopped() => {
                lifeline.iter().for_each(Lifeline::stop);
                // Said once.
                break (&mut end).await.map_err(|e| start(std::io::Error::other(e)))?.map_err(start)?;
            }
        }
    };
    drop(lifeline);
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(ChildError::Failed {
            command: name,
            code: u8::try_from(code).unwrap_or(1),
        }),
        // By Ctrl-C, or as a service is ended, before it listened to that: nothing of it is lost.
        None if was_asked_to_end(status) => Err(ChildError::Failed {
            command: name,
            code: INTERRUPTED,
        }),
        None => Err(ChildError::Killed {
            command: name,
            status,
        }),
    }
}

/// Whether a signal ended a process that asks for its end: Ctrl-C, or as a service is ended. One that kills is another matter: too much memory, most often.
pub(crate) fn was_asked_to_end(status: ExitStatus) -> bool {
    let asking = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let signal = status.signal();
    asking
        .iter()
        .any(|kind| signal == Some(kind.as_raw_value()))
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

/// Makes a command a child: one that a [`Lifeline`] has to be made for, and that writes as long as `fence` is open.
pub fn prepare(command: &mut Command, fence: Option<&Fence>) {
    command.env(MARK, "1").stdin(Stdio::piped());
    match fence {
        Some(fence) => {
            let until = fence.until().as_millis();
            let (job, term) = (fence.job(), fence.term());
            command.env(FENCE, format!("{job}:{term}:{until}"))
        }
        None => command.env_remove(FENCE),
    };
}

/// The parent's end of a child's standard input. A thread of its own writes to it, so that a child that is stopped holds nobody up; dropped, it ends the child.
#[derive(Debug)]
pub struct Lifeline {
    say: SyncSender<&'static str>,
}

impl Lifeline {
    /// Of a child's pipe; with a fence, the child is told of its renewals.
    pub fn new(pipe: ChildStdin, fence: Option<Fence>) -> Self {
        let (say, hear) = sync_channel(LINES);
        std::thread::spawn(move || talk(pipe, fence.as_ref(), &hear));
        Self { say }
    }

    /// Lets the child stop as Ctrl-C does: what is under way is finished, or a checkpoint made.
    pub fn stop(&self) {
        let _ = self.say.try_send("stop");
    }
}

/// Writes until the parent drops its end, or the child is gone.
fn talk(mut pipe: ChildStdin, fence: Option<&Fence>, hear: &Receiver<&'static str>) {
    let mut told = Duration::ZERO;
    loop {
        let line = match hear.recv_timeout(TELL_EVERY) {
            Ok(word) => Some(word.to_owned()),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let until = fence.map(Fence::until).filter(|until| *until != told);
                until.map(|until| {
                    told = until;
                    format!("until {}", until.as_millis())
                })
            }
        };
        if let Some(line) = line
            && writeln!(pipe, "{line}").is_err()
        {
            return;
        }
    }
}

/// What a child has heard.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    stop: bool,
    gone: bool,
}

/// Listens in a child to its parent, from the first look on; nowhere else.
static HEARD: LazyLock<Option<watch::Receiver<Heard>>> = LazyLock::new(|| {
    std::env::var_os(MARK)?;
    let (tell, heard) = watch::channel(Heard::default());
    // A thread of its own, since a read of standard input cannot be cancelled.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if line == "stop" {
                tell.send_modify(|heard| heard.stop = true);
            } else if let (Some(until), Some(fence)) = (line.strip_prefix("until "), fence())
                && let Ok(until) = until.parse()
            {
                fence.extend(Duration::from_millis(until));
            }
        }
        tell.send_modify(|heard| heard.gone = true);
    });
    Some(heard)
});

static OWN: OnceLock<Option<Fence>> = OnceLock::new();

/// The fence of the job that this process works for; none elsewhere.
pub fn fence() -> Option<Fence> {
    let own = || {
        std::env::var_os(MARK)?;
        let text = std::env::var(FENCE).ok()?;
        // What cannot be read is a fence that is closed.
        let mut parts = text.split(':');
        let job = parts.next().unwrap_or_default();
        let term = parts.next().and_then(|t| t.parse().ok()).unwrap_or(0);
        let until = parts.next().and_then(|t| t.parse().ok()).unwrap_or(0);
        Some(Fence::new(job, term, Duration::from_millis(until)))
    };
    OWN.get_or_init(own).clone()
}

async fn heard(what: impl FnMut(&Heard) -> bool) {
    let Some(mut heard) = HEARD.clone() else {
        return std::future::pending().await;
    };
    if heard.wait_for(what).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits, in a child, until its parent says `stop`; elsewhere for ever.
async fn stopped() {
    heard(|heard| heard.stop).await;
}

/// Waits for Ctrl-C, or in a child for its parent's `stop`.
///
/// # Errors
/// Where no signal can be heard here, and no parent either.
pub async fn interrupted() -> std::io::Result<()> {
    tokio::select! {
        signal = tokio::signal::ctrl_c() => match signal {
            Err(_) if std::env::var_os(MARK).is_some() => {
                stopped().await;
                Ok(())
            }
            signal => signal,
        },
        () = stopped() => Ok(()),
    }
}

/// Waits for Ctrl-C, or for what a service is ended with (SIGTERM); for ever where no signal can be heard.
pub async fn terminated() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        heard = tokio::signal::ctrl_c() => if heard.is_err() {
            std::future::pending::<()>().await;
        },
    }
}

/// Waits, in a child, until the parent is gone or the lease of the job that it works for has ended; elsewhere for ever.
pub async fn orphaned() {
    let ended = async {
        match fence() {
            Some(fence) => fence.ended().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = heard(|heard| heard.gone) => {}
        () = ended => {}
    }
}
