//! A job's command as a child of the worker: what it says of its progress, what it prints, why it failed.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::command::Command;
use super::record::{Failure, JobProgress};
use crate::child::{self, Lifeline};
use crate::fence::Fence;

/// What is kept of what a command prints: the confusion matrix of 400 classes fits. What is longer is no result.
const LONGEST_RESULT: u64 = 1024 * 1024;
/// Lines that are kept of what a command says beside its progress.
const LAST_LINES: usize = 50;
/// Bytes of a line of these.
const LONGEST_LINE: usize = 4000;
/// How often is looked whether the command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a command has that was told to end at once, before it is killed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A command that runs.
pub(super) struct Running {
    child: Child,
    lifeline: Option<Lifeline>,
    said: Arc<Mutex<Said>>,
    ears: Vec<JoinHandle<()>>,
    _command: Command,
}

#[derive(Default)]
struct Said {
    progress: Option<JobProgress>,
    lines: VecDeque<String>,
    output: Vec<u8>,
}

/// How a command ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// What it printed, where that is JSON.
    pub(super) result: Option<Value>,
    pub(super) failure: Failure,
}

impl Running {
    /// Starts it behind a fence.
    pub(super) fn start(
        executable: &Path,
        command: Command,
        fence: &Fence,
    ) -> std::io::Result<Self> {
        let mut process = Process::new(executable);
        process
            .args(&command.args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        child::prepare(&mut process, Some(fence));
        let mut child = process.spawn()?;
        let said = Arc::new(Mutex::new(Said::default()));
        let (prints, says) = (child.stdout.take(), child.stderr.take());
        let ears = vec![
            std::thread::spawn({
                let said = Arc::clone(&said);
                move || prints.into_iter().for_each(|p| take_in(p, &said))
            }),
            std::thread::spawn({
                let said = Arc::clone(&said);
                move || says.into_iter().for_each(|s| listen(s, &said))
            }),
        ];
        let pipe = child.stdin.take();
        Ok(Self {
            lifeline: pipe.map(|pipe| Lifeline::new(pipe, Some(fence.clone()))),
            child,
            said,
            ears,
            _command: command,
        })
    }

    /// How far it said it is.
    pub(super) fn progress(&self) -> Option<JobProgress> {
        lock(&self.said).progress.clone()
    }

    /// Bytes of memory that it and its own children hold.
    pub(super) fn memory(&self) -> u64 {
        held(self.child.id())
    }

    /// Lets it stop in good order.
    pub(super) fn stop(&self) {
        self.lifeline.iter().for_each(Lifeline::stop);
    }

    /// Waits for its end. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends it now, wherever it is.
    pub(super) async fn end(&mut self) -> std::io::Result<ExitStatus> {
        // Its own children end as well when it does.
        self.lifeline = None;
        if let Ok(ended) = tokio::time::timeout(END_WITHIN, self.ended()).await {
            return ended;
        }
        self.child.kill()?;
        self.ended().await
    }

    /// What it came to, after its end.
    pub(super) async fn close(mut self, status: ExitStatus) -> Ended {
        let ears = std::mem::take(&mut self.ears);
        let heard = tokio::task::spawn_blocking(move || {
            ears.into_iter().for_each(|ear| drop(ear.join()));
        });
        // Its own children may live on for a moment, and hold the pipes open.
        let _ = tokio::time::timeout(END_WITHIN, heard).await;
        let said = lock(&self.said);
        Ended {
            status,
            result: serde_json::from_slice(&said.output).ok(),
            failure: said.failure(status),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A worker that is given up leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes in memory of a process and of those that it started, as far as the system tells; nothing where it has ended.
fn held(process: u32) -> u64 {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}"));
    // A line such as `VmRSS:     1234 kB`.
    let status = read("status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    // Each thread's children.
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let children: u64 = threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|ids| {
            ids.split_whitespace()
                .map(str::parse::<u32>)
                .collect::<Vec<_>>()
        })
        .flatten()
        .map(held)
        .sum();
    kib.unwrap_or(0) * 1024 + children
}

fn lock(said: &Mutex<Said>) -> std::sync::MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_in(prints: impl Read, said: &Mutex<Said>) {
    let mut prints = BufReader::new(prints);
    let mut output = Vec::new();
    let read = prints
        .by_ref()
        .take(LONGEST_RESULT + 1)
        .read_to_end(&mut output);
    if read.is_ok() && output.len() as u64 <= LONGEST_RESULT {
        lock(said).output = output;
    }
    // So that it can go on printing.
    let _ = std::io::copy(&mut prints, &mut std::io::sink());
}

/// A line of progress, as labelling, relabelling and training write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Images { done: u64, total: u64 },
    Steps { step: u64, steps: u64 },
}

fn listen(says: impl Read, said: &Mutex<Said>) {
    let mut says = BufReader::new(says);
    let mut line = Vec::new();
    loop {
        line.clear();
        match says.read_until(b'\n', &mut line) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        line.truncate(LONGEST_LINE);
        let text = String::from_utf8_lossy(&line);
        let progress = match serde_json::from_str(&text) {
            Ok(Line::Images { done, total }) => ("images", done, total),
            Ok(Line::Steps { step, steps }) => ("steps", step, steps),
            Err(_) => {
                let mut said = lock(said);
                if said.lines.len() == LAST_LINES {
                    said.lines.pop_front();
                }
                said.lines.push_back(text.trim_end().to_owned());
                continue;
            }
        };
        let (unit, done, total) = progress;
        lock(said).progress = Some(JobProgress {
            unit: unit.to_owned(),
            done,
            total,
        });
    }
}

impl Said {
    /// The command's own words on why it failed, or its last ones.
    fn failure(&self, status: ExitStatus) -> Failure {
        let after = |word: &str| {
            let mut lines = self.lines.iter().rev();
            lines.find_map(|line| line.strip_prefix(word).map(str::to_owned))
        };
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        match after("error: ") {
            Some(message) => Failure {
                message,
                hint: after("hint: "),
                code,
            },
            None => Failure {
                message: match self.lines.back() {
                    Some(last) => format!("it ended with {status}, after `{last}`"),
                    None => format!("it ended with {status}"),
                },
                hint: code.is_none().then(|| {
                    "was there enough memory? Submitted again, it goes on where it was".into()
                }),
                code,
            },
        }
    }
}
