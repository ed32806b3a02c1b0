//! The files of a job, and what they come to.
//!
//! ```text
//! jobs/JOB/job.json         what it does and who wants it; JOB follows from its key
//! jobs/JOB/000001.json      what happened: taken, renewed, released, done, failed, cancelled; each the next number, created once
//! jobs/JOB/cancel.json      it is not wanted any more
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Work;

/// `job.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobFile {
    /// Its id.
    pub id: String,
    /// The idempotency key; none where each submission is a job of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it does.
    pub work: Work,
    /// RFC 3339, in UTC, to the millisecond: of the clock of who submitted it. Nothing but the order of the queue depends on it.
    pub submitted: String,
    /// Who submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The understudy that submitted it.
    pub understudy: String,
}

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// Somebody works on it for the length of the lease from here on: taken, taken over or renewed.
    Lease,
    /// Its holder gave it back.
    Released,
    /// It is done.
    Done,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Images or steps.
    pub unit: String,
    /// How many are done.
    pub done: u64,
    /// Of how many.
    pub total: u64,
}

/// Why a job failed, in its command's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The message.
    pub message: String,
    /// What can be done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The exit code; none where the process was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
}

/// `000001.json`. The highest number is the state; each entry holds all that is to be known, so that earlier ones may go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1 on.
    pub number: u32,
    /// What happened.
    pub event: Event,
    /// Who wrote it, told from all others: host, process, and a number of its own.
    pub holder: String,
    /// The number with which the holder took the job.
    pub term: u32,
    /// Seconds that a lease lasts: until who sees it may take the job over, from when it was seen.
    pub length_s: f64,
    /// How often it was begun.
    pub attempt: u32,
    /// How often in a row its holders were gone without having got any further.
    #[serde(default)]
    pub lost: u32,
    /// How far it was when the holder took it, as `done` of `progress`.
    #[serde(default)]
    pub since: u64,
    /// When it was begun first; by the clock of who wrote it, as `at`. Nothing depends on either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When this was written.
    pub at: String,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<JobProgress>,
    /// What it came to: what the command prints with `--json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// `cancel.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CancelFile {
    /// Who wants it cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    pub at: String,
}

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for a worker.
    Queued,
    /// A worker has it, or had it and is gone: another one takes it over then.
    Running,
    /// It is done.
    Done,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl State {
    /// In lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing happens to it any more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Done | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl Event {
    /// The state of a job to which this happened last.
    pub fn state(self) -> State {
        match self {
            Self::Lease => State::Running,
            Self::Released => State::Queued,
            Self::Done => State::Done,
            Self::Failed => State::Failed,
            Self::Cancelled => State::Cancelled,
        }
    }
}

/// A job as its journal has it.
#[derive(Debug, Clone)]
pub struct Job {
    /// What was submitted.
    pub file: JobFile,
    /// What happened last; none where nothing did.
    pub last: Option<Entry>,
    /// Whether it is to be cancelled, or was.
    pub cancel: bool,
}

impl Job {
    /// How it is: what its highest entry says.
    pub fn state(&self) -> State {
        let last = self.last.as_ref();
        last.map_or(State::Queued, |entry| entry.event.state())
    }

    /// The number of its highest entry; 0 where it has none.
    pub fn number(&self) -> u32 {
        self.last.as_ref().map_or(0, |entry| entry.number)
    }

    /// For programs: `--json` prints it.
    pub fn view(&self) -> JobView<'_> {
        let (file, last) = (&self.file, self.last.as_ref());
        let state = self.state();
        JobView {
            id: &file.id,
            kind: file.work.kind(),
            state,
            key: file.key.as_deref(),
            by: file.by.as_deref(),
            submitted: &file.submitted,
            started: last.and_then(|e| e.started.as_deref()),
            finished: last.filter(|_| state.is_final()).map(|e| e.at.as_str()),
            attempts: last.map_or(0, |e| e.attempt),
            holder: last
                .filter(|_| state == State::Running)
                .map(|e| e.holder.as_str()),
            cancel_requested: self.cancel && !state.is_final(),
            progress: last.and_then(|e| e.progress.as_ref()),
            result: last.and_then(|e| e.result.as_ref()),
            error: last.and_then(|e| e.error.as_ref()),
            work: &file.work,
        }
    }
}

/// A job, for programs.
#[derive(Debug, Clone, Serialize)]
pub struct JobView<'a> {
    /// Its id.
    pub id: &'a str,
    /// What it does.
    pub kind: &'static str,
    /// How it is.
    pub state: State,
    /// Its idempotency key.
    pub key: Option<&'a str>,
    /// Who submitted it.
    pub by: Option<&'a str>,
    /// When.
    pub submitted: &'a str,
    /// When it was begun first.
    pub started: Option<&'a str>,
    /// When it ended.
    pub finished: Option<&'a str>,
    /// How often it was begun.
    pub attempts: u32,
    /// Who works on it.
    pub holder: Option<&'a str>,
    /// Whether it is to be cancelled and is not yet.
    pub cancel_requested: bool,
    /// How far it is.
    pub progress: Option<&'a JobProgress>,
    /// What it came to.
    pub result: Option<&'a Value>,
    /// Why it failed.
    pub error: Option<&'a Failure>,
    /// All of what it does.
    pub work: &'a Work,
}
